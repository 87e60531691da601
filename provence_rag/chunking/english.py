"""Sentences by NLTK's Punkt, for English and the other languages that Punkt has learnt."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provence_rag.chunking.abbreviations import ABBREVIATIONS, STARTERS, Abbreviations
from provence_rag.chunking.base import BaseChunker, Span, cut
from provence_rag.chunking.captions import split_unpunctuated
from provence_rag.chunking.emoji import EMOJI, FACE
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

# Full stops and question marks of scripts that Punkt does not know: they end a sentence wherever they are.
_PLAIN_ENDS = frozenset("。！？｡।॥؟۔։።။")
_SPACED_ELLIPSIS = r"\.(?:[ \xa0]\.){2,}"
_ENDS = re.compile(rf"{_SPACED_ELLIPSIS}|[.!?…。！？｡।॥؟۔։።။]+")
_GREEK_ENDS = re.compile(rf"{_SPACED_ELLIPSIS}|[.!?…;\u037e。！？]+")

# What belongs to the sentence after its end: quotation marks, brackets, Markdown emphasis, reference marks,
# inline tags, emoticons and emoji.
_TAIL = re.compile(
    r"(?:[\"'“”‘’«»)\]}*_」』）】⁰¹²³⁴-⁹†‡]|\[[^\[\]\n]{1,24}\]|\(\d{1,2}\)(?=\s)|<sup\b[^<>]{0,80}>[^<>]{0,24}</sup>|"
    r"</[a-z][a-z0-9]{0,9}>|[ \xa0\u202f]»(?=\s|$)|"
    r"[ \xa0]\[(?:\d{1,3}(?:[,–-] ?\d{1,3}){0,5}|\.\.\.|…)\](?=\s|$)|"
    rf"[ \xa0](?:['\"”■∎](?=\s|$)|{FACE}(?=\s|$)|{EMOJI}))*",
    re.IGNORECASE,
)
# "in May.2 In all": a footnote's number after a word's full stop; but "season.6 June" is a date.
_NUMBER_MARK = re.compile(r"\d{1,3}(?:[,–-] ?\d{1,3}){0,5}(?=\s+[\"“‘«(]?[^\W\d_a-zß-ÿ]|\s*$)")
_DATE = re.compile(r"\d{1,2} (?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sep|Oct|Nov|Dec)")
_APOSTROPHES = "'‘’‚"
_BEYOND_WORDS = r"\s\"“”„«»‹›()\[\]{}¿¡*_?!…<>"
_WORD_BEFORE = re.compile(rf"[^{_BEYOND_WORDS}]*$")
_NEXT_WORD = re.compile(rf"[\s\"“”„«»‹›(\[{{¿¡*_{_APOSTROPHES}]*([^{_BEYOND_WORDS}]{{0,40}})")
_LONGEST_WORD = 60

# "1." or "C." alone is no sentence: it numbers what follows. So does "• 9." and "1.)".
_ENUMERATOR = re.compile(r"[\s(\"“•⁃*·–-]{0,3}(?:\d{1,3}|[A-Za-z]|[ivxIVX]{2,4})")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
# S.Ct., Fed.R.Civ.P.
_COMPACT = re.compile(r"(?:[A-Z][^\W\d_]{0,4}\.)+[A-Z][^\W\d_]{0,4}")
# "16 Wall. 36": volume, reporter and page of a citation.
_VOLUME = re.compile(r"\d[ \xa0]$")
_SPACED_PARTS = re.compile(r"(?<![^\s(„“\"])((?:[^\W\d_]{1,2}\.[ \xa0]){1,3})$")
_SINGLE_LETTER = re.compile(r"[^\W\d_]\.|[B-HJ-Z][,;:]?|[AI][,;:]")
_LONGEST_PARTS = 12

# A full stop with no space after it: a word before, a capitalised word after, no address and no code.
_GLUED_WORD = re.compile(r"[^\W\d_][^\W\d_A-Z]{0,30}(?=[\s,;:'’!?)\"”]|\.(?:\s|$)|$)")
_STARTS_PROSE = re.compile(r"\w{4,}[ \n][^\W\dA-Z_]")
_BEFORE_GLUE = re.compile(r"(?:[^\W\d_A-Z]{2}|\d|[)\]\"”’»%])$")
_OPENERS = frozenset('("“‘«')
_UNIT = re.compile(r"\d[ \xa0]?(?:mg|ml|kg|cm|mm|km|hrs?|mins?|lbs?|oz)$")
_NO_PROSE = re.compile(r"[/@\\#=_(){}|&~^]|\.\w+\.|::|www")

# These end a sentence about as often as not, so that the next word's case decides.
_AMBIGUOUS = frozenset({"al", "dept", "etc"})
_FIRST_LETTER = re.compile(r"(?:<[^<>]{0,80}>|[\W_]){0,20}?([^\W_])")
_GOES_ON = tuple(",;:)]}")
_NUMERIC = re.compile(r"^[§#]|^\+?\w*\d")
_ORDINAL = re.compile(r"[1-9]\d?")
_ELIDING = frozenset({"fr", "it"})
_ELISION = re.compile(r"[^\W\d_]{1,5}['’]")  # "l'art." is "art."
_KNOWN_ABBREVIATION = "a.b"  # stands for those that Punkt does not know itself: initials are abbreviations
_NONE = Abbreviations()
_NO_WORDS: frozenset[str] = frozenset()

_tokenizers: dict[str, _Punkt] = {}
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
            for sentence in cut(text, block.start, block.end, self._borders(text, block)):
                found.extend(split_unpunctuated(text, sentence, self.language))
        return found

    def _borders(self, text: str, block: Span) -> Iterator[int]:
        ends = _GREEK_ENDS if self.language == "el" else _ENDS
        begin = block.start  # of the sentence at hand
        for match in ends.finditer(text, block.start, block.end):
            if match.end() == block.end:
                return
            mark = match.group()
            if " ." in mark or "\xa0." in mark:
                border = _ellipsis_border(text, match, block.end)
            else:
                border = self._border(text, begin, match.start(), match.end(), block.end)
            if begin < border < block.end:
                yield border
                begin = border

    def _border(self, text: str, begin: int, start: int, end: int, limit: int) -> int:
        """Return where the sentence ends that `text[start:end]` ends, or -1 if it does not end one."""
        tail = _TAIL.match(text, end, limit)
        border = tail.end() if tail else end
        if border >= limit:
            return -1
        mark = text[start:end]
        if not _PLAIN_ENDS.isdisjoint(mark):
            return border
        if _ENUMERATOR.fullmatch(text, begin, start):
            return -1
        if text[border].isspace():
            return border if self._ends_sentence(text, begin, start, mark, border) else -1
        word = _word_before(text, start)
        if mark == "." and word[-2:].isalpha() and word[-2:].islower() and not self._is_abbreviation(word):
            number = _NUMBER_MARK.match(text, border, limit)
            if number:
                return border if _DATE.match(text, border) else number.end()
        return border if self._is_glued(text, start, border, word) else -1

    def _ends_sentence(self, text: str, begin: int, position: int, mark: str, border: int) -> bool:
        word = _word_before(text, position)
        next_word = _word_after(text, border)
        continues = next_word[:1].islower() and next_word.islower()
        if continues and (border > position + len(mark) or mark[-1] == "…" or mark.endswith("..")):
            return False  # "Why?" he asked. / Well... it depends.
        if next_word[:1] in _GOES_ON:
            return False
        if mark == "." and not word:
            return not _is_spaced_ellipsis(text, position, border)
        if mark.strip(".…"):
            return not (continues and word[:1].isupper())  # Yahoo! is a name
        if len(mark) > 3:
            return not continues
        if continues and (word.lower() in _AMBIGUOUS or not _begins_in_lower_case(text, begin)):
            return False
        if mark != ".":
            return self._punkt_ends(word, mark, next_word)
        return self._full_stop_ends(text, position, word, next_word)

    def _full_stop_ends(self, text: str, position: int, word: str, next_word: str) -> bool:
        own = ABBREVIATIONS.get(self.language, _NONE)
        if self.language in _ELIDING:
            word = _ELISION.sub("", word)
        joined = _joined(text, position, word)
        if _has(own.before_words, word, joined):
            return False
        is_letter = len(word) == 1 and word.isalpha()
        is_initial = _SINGLE_LETTER.fullmatch(next_word) is not None
        is_compact = _COMPACT.fullmatch(word) is not None
        may_end = is_compact or _has(own.anywhere, word, joined) or _INITIALS.fullmatch(joined) is not None
        if is_initial and (is_letter or may_end):
            return False
        begin = position - len(word)
        belongs_to_numbers = (
            is_compact
            or (is_letter and word != "I")
            or _has(own.before_numbers, word, joined)
            or (word.istitle() and _VOLUME.search(text, max(0, begin - 2), begin) is not None)
        )
        if belongs_to_numbers and (is_initial or _NUMERIC.search(next_word)):
            return False
        if word.isdigit() and _has(own.anywhere, next_word.rstrip(".")) and next_word.endswith("."):
            return False  # im 3. Jh.
        if self.language == "de" and _ORDINAL.fullmatch(word) and not self._is_starter(next_word):
            return False  # der 1. FC, im 2. Stock
        if (may_end or is_letter) and self._is_starter(next_word):
            return True
        if may_end:
            return self._punkt_ends(_KNOWN_ABBREVIATION, ".", next_word)
        if not is_letter and word.isalpha() and _punkt(self.language).is_plain(word):
            return True
        return self._punkt_ends(word, ".", next_word)

    def _punkt_ends(self, word: str, mark: str, next_word: str) -> bool:
        context = f"{word}{mark.replace('…', '...')} {next_word}"
        return bool(_punkt(self.language).tokenizer.text_contains_sentbreak(context))

    def _is_abbreviation(self, word: str) -> bool:
        own = ABBREVIATIONS.get(self.language, _NONE)
        if _has(own.before_words, word) or _has(own.before_numbers, word):
            return True
        return word.lower() in _punkt(self.language).abbreviations

    def _is_glued(self, text: str, position: int, border: int, word: str) -> bool:
        """Whether a sentence ends although no white space comes after it: "morning.The"."""
        following = _GLUED_WORD.match(text, border + (text[border] in _OPENERS))
        if following is None or not following.group()[0].isupper():
            return False
        before = text[position - 1 : position]
        if not _BEFORE_GLUE.search(text[max(0, position - 2) : position]) or _NO_PROSE.search(word):
            return False
        if before.isdigit() and _INITIALS.fullmatch(following.group() + "."):
            return False
        if self._is_abbreviation(word.rpartition(".")[2]) and not (
            _UNIT.search(text[max(0, position - 10) : position]) and _STARTS_PROSE.match(text, border)
        ):
            return False
        # Node.Js and Booking.Com are names; "Paris.The city" and "Monday.Tickets cost" are not.
        return (
            not word[:1].isupper()
            or self._is_starter(following.group())
            or ("." not in word and _STARTS_PROSE.match(text, border) is not None)
        )

    def _is_starter(self, word: str) -> bool:
        starters = STARTERS.get(self.language, _NO_WORDS)
        return word[:1].isupper() and word.rstrip(",;:").lower() in starters


class EnglishChunker(PunktChunker):
    """Cuts English text into sentences; see `PunktChunker`."""

    def __init__(self) -> None:
        super().__init__("en")


def _word_before(text: str, position: int) -> str:
    match = _WORD_BEFORE.search(text[max(0, position - _LONGEST_WORD) : position])
    return match.group().lstrip(_APOSTROPHES) if match else ""


def _word_after(text: str, border: int) -> str:
    """Return the next word without quotation marks and brackets, or the next character if it is in none."""
    match = _NEXT_WORD.match(text, border)
    return (match.group(1) or text[match.end() : match.end() + 1]) if match else ""


def _joined(text: str, position: int, word: str) -> str:
    """Return the word with the parts of an abbreviation before it: "z.B" of "z. B."."""
    parts = _SPACED_PARTS.search(text[max(0, position - len(word) - _LONGEST_PARTS) : position - len(word)])
    if parts is None:
        return word
    return "".join(parts.group(1).split()) + word


def _begins_in_lower_case(text: str, begin: int) -> bool:
    """Whether the sentence at hand begins in lower case: then so may the next one."""
    first = _FIRST_LETTER.match(text, begin)
    return first is not None and first.group(1).islower()


def _has(abbreviations: frozenset[str], *words: str) -> bool:
    return any(word in abbreviations or word.lower() in abbreviations for word in words)


def _ellipsis_border(text: str, match: re.Match[str], limit: int) -> int:
    """Return where a sentence ends at full stops with spaces between them, or -1.

    Four mean a full stop and an omission: "end . . . . Next" ends after them, "end. . . . Next" after the
    first. Three are a pause.
    """
    stops = match.group().count(".")
    if stops < 4 or not _word_after(text, match.end())[:1].isupper() or match.end() >= limit:
        return -1
    if not text[max(0, match.start() - 1) : match.start()].isspace():
        return match.start() + 1
    tail = _TAIL.match(text, match.end(), limit)
    return tail.end() if tail else match.end()


def _is_spaced_ellipsis(text: str, position: int, border: int) -> bool:
    before, after = text[max(0, position - 3) : position], text[border : border + 3]
    return before.rstrip().endswith(".") or after.lstrip().startswith(".")


class _Punkt:
    """Punkt with the parameters of one language."""

    def __init__(self, name: str) -> None:
        self.tokenizer = _build_punkt(name)
        parameters = self.tokenizer._params
        self.abbreviations: set[str] = parameters.abbrev_types
        self._collocated = {first for first, _ in parameters.collocations}

    def is_plain(self, word: str) -> bool:
        """Whether Punkt ends a sentence after `word` and a full stop whatever the next word is."""
        word = word.lower()
        return word not in self.abbreviations and word not in self._collocated


def _punkt(language: str) -> _Punkt:
    """Return the one tokenizer of a language; it is built when first asked for."""
    tokenizer = _tokenizers.get(language)
    if tokenizer is None:
        with _lock:
            if language not in _tokenizers:
                _tokenizers[language] = _Punkt(PUNKT_LANGUAGES[language])
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
    # "Fig." is an abbreviation only before a number: for NLTK that is a collocation.
    before_numbers = {(word, "##number##") for word in listed.numeric_abbrev_types}
    parameters.collocations = learnt.collocations | before_numbers
    parameters.sent_starters = learnt.sent_starters
    parameters.ortho_context = _OrthographicContext(learnt.ortho_context)
    return PunktSentenceTokenizer(parameters)
