"""Sentences by NLTK's Punkt, for English and the other languages that Punkt has learnt."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provence_rag.chunking.base import BaseChunker, Span, cut
from provence_rag.chunking.lines import prose_blocks
from provence_rag.errors import InvalidInputError

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

__all__ = ["PUNKT_LANGUAGES", "EnglishChunker", "PunktChunker"]

PUNKT_LANGUAGES = {
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "fi": "finnish",
    "fr": "french",
    "it": "italian",
    "ml": "malayalam",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ru": "russian",
    "sl": "slovene",
    "sv": "swedish",
    "tr": "turkish",
}
"""ISO 639-1 code -> the name of the Punkt parameters."""

# Full stops and question marks of scripts that Punkt knows nothing of: they end a sentence wherever they are.
_PLAIN_ENDS = frozenset("。！？｡।॥؟۔։።។")
_ENDS = re.compile(r"[.!?…。！？｡।॥؟۔։።។]+")
_GREEK_ENDS = re.compile(r"[.!?…;\u037e。！？]+")

# Quotation marks, brackets, Markdown emphasis and footnote marks behind the end belong to the sentence.
_TAIL = re.compile(r"(?:[\"'“”‘’«»)\]}*_」』）】⁰¹²³⁴-⁹]|\[[^\[\]\s]{1,12}\]|[ \xa0\u202f]»(?=\s|$))*")
_APOSTROPHES = "'‘’‚"
_BEYOND_WORDS = r"\s\"“”„«»‹›()\[\]{}¿¡*_?!…"
_WORD_BEFORE = re.compile(rf"[^{_BEYOND_WORDS}]*$")
_NEXT_WORD = re.compile(rf"[\s\"“”„«»‹›(\[{{¿¡*_{_APOSTROPHES}]*([^{_BEYOND_WORDS}]{{0,40}})")
_LONGEST_WORD = 60

# "1." or "C." alone is no sentence: it numbers the one behind it.
_ENUMERATOR = re.compile(r"\s*\(?(?:\d{1,3}|[A-Za-z])")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")

# These end a sentence about as often as not, so that the next word's case decides.
_AMBIGUOUS = frozenset({"al", "dept", "etc"})

_tokenizers: dict[str, PunktSentenceTokenizer] = {}
_lock = threading.Lock()


class PunktChunker(BaseChunker):
    """Cuts where Punkt sees the end of a sentence, and at the borders that line breaks make.

    Punkt (Kiss & Strunk 2006, "Unsupervised Multilingual Sentence Boundary Detection") decides by its
    learnt abbreviations, collocations and sentence starters whether a full stop ends a sentence. Here it
    is asked about each full stop with the words around it, never about a whole text, so time is linear
    in the length of any text. Nothing is downloaded: the parameters are in an installed package.

    Args:
        language: ISO 639-1 code of one of Punkt's languages.

    Raises:
        InvalidInputError: Punkt has no parameters for the language.
    """

    def __init__(self, language: str) -> None:
        if language not in PUNKT_LANGUAGES:
            codes = ", ".join(sorted(PUNKT_LANGUAGES))
            raise InvalidInputError(f"language must be one of Punkt's ({codes}), got {language!r}")
        self.language = language

    def spans(self, text: str) -> list[Span]:
        """Return where the sentences of `text` are; an empty list if there is only white space."""
        found: list[Span] = []
        for block in prose_blocks(text):
            found.extend(cut(text, block.start, block.end, self._borders(text, block)))
        return found

    def _borders(self, text: str, block: Span) -> Iterator[int]:
        ends = _GREEK_ENDS if self.language == "el" else _ENDS
        begin = block.start  # of the sentence at hand
        for match in ends.finditer(text, block.start, block.end):
            tail = _TAIL.match(text, match.end(), block.end)
            border = tail.end() if tail else match.end()
            if border == block.end:
                continue
            mark = match.group()
            is_plain = not _PLAIN_ENDS.isdisjoint(mark)
            if is_plain or (
                not _ENUMERATOR.fullmatch(text, begin, match.start())
                and self._ends_sentence(text, match.start(), mark, border)
            ):
                yield border
                begin = border

    def _ends_sentence(self, text: str, position: int, mark: str, border: int) -> bool:
        if not text[border].isspace():
            return False
        word = _word_before(text, position)
        next_word = _word_behind(text, border)
        continues = next_word[:1].islower()
        if continues and (border > position + len(mark) or mark[-1] == "…" or mark.endswith("..")):
            return False  # "Why?" he asked. / Well... it depends.
        if mark == "." and not word:
            return not _is_spaced_ellipsis(text, position, border)
        if mark.strip(".…"):
            return not (continues and word[:1].isupper())  # Yahoo! is a name
        if continues and word.lower() in _AMBIGUOUS:
            return False
        context = f"{word}{mark.replace('…', '...')} {next_word}"
        return bool(_punkt(self.language).text_contains_sentbreak(context))


class EnglishChunker(PunktChunker):
    """Cuts English text into sentences; see `PunktChunker`."""

    def __init__(self) -> None:
        super().__init__("en")


def _word_before(text: str, position: int) -> str:
    match = _WORD_BEFORE.search(text[max(0, position - _LONGEST_WORD) : position])
    return match.group().lstrip(_APOSTROPHES) if match else ""


def _word_behind(text: str, border: int) -> str:
    """Return the next word without quotation marks and brackets, or the next character if it is in none."""
    match = _NEXT_WORD.match(text, border)
    return (match.group(1) or text[match.end() : match.end() + 1]) if match else ""


def _is_spaced_ellipsis(text: str, position: int, border: int) -> bool:
    before, behind = text[max(0, position - 3) : position], text[border : border + 3]
    return before.rstrip().endswith(".") or behind.lstrip().startswith(".")


def _punkt(language: str) -> PunktSentenceTokenizer:
    """Return the one tokenizer of a language; it is built when first asked for."""
    tokenizer = _tokenizers.get(language)
    if tokenizer is None:
        with _lock:
            if language not in _tokenizers:
                _tokenizers[language] = _build_punkt(PUNKT_LANGUAGES[language])
            tokenizer = _tokenizers[language]
    return tokenizer


class _Abbreviations(set[str]):
    """What Punkt has learnt, and all initials written together: J.R.R., z.B."""

    def __contains__(self, word: object) -> bool:
        return super().__contains__(word) or _INITIALS.fullmatch(str(word)) is not None


class _OrthographicContext(dict[str, int]):
    """What Punkt knows of a word type; 0 for unknown ones.

    NLTK's own defaultdict would store every word that it is asked about: a leak, and not safe with
    threads.
    """

    def __missing__(self, key: str) -> int:
        return 0


def _build_punkt(name: str) -> PunktSentenceTokenizer:
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    learnt = punkt.load_model(name)
    listed = punkt.with_nonbreaking_prefixes(learnt, name) if punkt.has_prefixes(name) else learnt
    parameters = PunktParameters()
    # Single letters are initials, which Punkt judges by the next word unless they are in this list.
    listed_words = {word for word in listed.abbrev_types if len(word) > 1}
    parameters.abbrev_types = _Abbreviations(learnt.abbrev_types | listed_words)
    # "Fig." is an abbreviation only in front of a number: for NLTK that is a collocation.
    before_numbers = {(word, "##number##") for word in listed.numeric_abbrev_types}
    parameters.collocations = learnt.collocations | before_numbers
    parameters.sent_starters = learnt.sent_starters
    parameters.ortho_context = _OrthographicContext(learnt.ortho_context)
    return PunktSentenceTokenizer(parameters)
