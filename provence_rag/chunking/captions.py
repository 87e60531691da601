"""Captions and transcripts without punctuation, cut where clauses begin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from provence_rag.chunking.base import Span, cut

__all__ = ["phrase_parser", "split_unpunctuated"]

# Longer sentences than this have a pause that is written, unless nobody has written any.
_MOST_WORDS = 40
_MOST_CHARACTERS = 120
_WORDS_A_MARK = 40
_MARKS = re.compile(r"[,;:()\[\]\"“”«»、。，；：！？.!?…–—](?:(?<![.!?…–—])|[.!?…–—]*(?=\s))")
_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*$")
_LONG_WITH_END = 2

_WORD = re.compile(r"\S+")
_WIDE_GAP = 4
_SHORTEST_CLAUSE, _CLAUSE, _LONGEST_CLAUSE = 5, 11, 16


class _Clauses(NamedTuple):
    """The words of one language that tell where a clause begins."""

    openers: tuple[str, str, str]
    """Words that clauses begin with, the surest first: they open something new, are a conjunction or a
    subject, or are any other conjunction."""

    unfinished: str
    """Nothing begins after these words: their clause has not come to its subject, verb or object yet."""


_CLAUSES = {
    "en": _Clauses(
        (
            "okay ok now then well anyway alright finally hello hi so first secondly next >>",
            "but because however although though while whereas unless until since i i'm i've i'll i'd "
            "we we're we've we'll they they're he he's she she's you you're you'll it's that's "
            "there's let's don't here's",
            "and or which when if where who after before also plus",
        ),
        "and but or so because that which when if as where what how who why than like the a an my "
        "your our their his her its of to in on at for with from by about into do did does can could "
        "will would should have has had is are was were be been think know say said see tell hope "
        "guess until while since though",
    ),
    "de": _Clauses(
        (
            "okay jetzt dann also so zuerst danach schließlich hallo",
            "aber denn weil obwohl während sondern ich wir ihr sie er du es",
            "und oder dass wenn wo als nachdem bevor",
        ),
        "und oder dass weil wenn der die das den dem ein eine einen von zu in mit für auf ist sind "
        "hat haben kann",
    ),
    "fr": _Clauses(
        (
            "bon alors maintenant ensuite puis enfin bonjour voilà donc",
            "mais car parce cependant quoique je j'ai nous vous ils elles il elle on tu c'est",
            "et ou que qui quand si où après avant",
        ),
        "et ou que qui quand si le la les un une des de du à en dans pour avec est sont a ont",
    ),
    "es": _Clauses(
        (
            "bueno ahora entonces luego después finalmente hola pues",
            "pero porque sin aunque mientras yo nosotros ellos ellas usted tú",
            "y o que cuando si donde como",
        ),
        "y o que cuando si el la los las un una de del a en con para es son ha han",
    ),
    "it": _Clauses(
        (
            "allora adesso ora poi dunque infine ciao quindi bene",
            "ma perché però sebbene mentre io noi voi loro lui lei tu",
            "e o che quando se dove come",
        ),
        "e o che quando se il lo la i gli le un una di del a in con per è sono ha hanno",
    ),
    "pt": _Clauses(
        (
            "bom agora então depois finalmente olá pois",
            "mas porque embora enquanto eu nós eles elas você ele ela",
            "e ou que quando se onde como",
        ),
        "e ou que quando se o a os as um uma de do da em com para é são tem têm",
    ),
    "ru": _Clauses(
        (
            "теперь потом затем итак привет ну наконец",
            "но потому однако хотя пока я мы вы они он она ты",
            "и или что когда если где который",
        ),
        "и или что когда если где в на с к по из для от",
    ),
}

# How a sentence of spoken Japanese ends, unless one of the last group follows; and where it pauses.
_JAPANESE_ENDS = re.compile(
    r"(?:です|ます|ました|でした|ません|ください|でしょう|ましょう)(?:よね|[ねよか])?"
    r"(?!が|けど|けれ|から|ので|のに|ら|ます|し[、て]|と[いか思言])"
)
_JAPANESE_PAUSES = re.compile(r"(?:ので|けど|けれど|が|から|たら|て|で)$")
_EAST_ASIAN = re.compile(r"[\u3041-\u30ff\u3400-\u9fff]")
_KANA = re.compile(r"[\u3041-\u30ff]")
_SHORTEST_JAPANESE, _LONGEST_JAPANESE = 8, 60


def split_unpunctuated(text: str, sentence: Span, language: str) -> list[Span]:
    """Cut a long sentence that has almost no punctuation where its clauses begin.

    Args:
        text: The whole text.
        sentence: Where the sentence is.
        language: ISO 639-1 code.

    Returns:
        The clauses, in order; the sentence itself if it has punctuation, or at most 40 words (120 characters
        of Japanese or Chinese).
    """
    start, end = sentence
    if end - start <= _MOST_CHARACTERS:
        return [sentence]
    if language in ("ja", "zh") and _EAST_ASIAN.search(text, start, end):
        borders = _east_asian_borders(text, start, end)
    else:
        borders = _word_borders(text, start, end, language)
    return cut(text, start, end, borders)


def _word_borders(text: str, start: int, end: int, language: str) -> Iterator[int]:
    n_words = len(text[start:end].split())
    limit = _MOST_WORDS * (_LONG_WITH_END if _END.search(text[end - 5 : end]) else 1)
    if n_words <= limit or len(_MARKS.findall(text, start, end)) * _WORDS_A_MARK > n_words:
        return
    found = list(_WORD.finditer(text, start, end))
    words = [match.group().lower().strip("\"'").replace("’", "'") for match in found]
    scores = [0, *_scores(words, language)]
    for number in range(1, len(found)):
        gap = text[found[number - 1].end() : found[number].start()]
        if len(gap) > 1 or "\n" in gap:
            scores[number] = _WIDE_GAP
    begin = 0
    while len(words) - begin > _LONGEST_CLAUSE:
        candidates = range(
            begin + _SHORTEST_CLAUSE, min(begin + _LONGEST_CLAUSE, len(words) - _SHORTEST_CLAUSE) + 1
        )
        best = max(candidates, key=lambda number: (scores[number], -abs(number - begin - _CLAUSE)))
        yield found[best].start()
        begin = best


def _scores(words: Sequence[str], language: str) -> Iterator[int]:
    """Yield, for each word but the first, how surely a clause begins with it."""
    clauses = _CLAUSES.get(language, _CLAUSES["en"])
    kinds = len(clauses.openers)
    ranks = {word: kinds - kind for kind, opening in enumerate(clauses.openers) for word in opening.split()}
    unfinished = frozenset(clauses.unfinished.split())
    for before, word in pairwise(words):
        # "and then you will": what opens a clause is not cut off from it.
        yield -1 if before in unfinished or before in ranks else ranks.get(word, 0)


def _east_asian_borders(text: str, start: int, end: int) -> Iterator[int]:
    if _MARKS.search(text, start, end):
        return
    begin = start
    for border in (*(match.end() for match in _JAPANESE_ENDS.finditer(text, start, end)), end):
        if border - begin >= _SHORTEST_JAPANESE:
            yield from _pauses(text, begin, border)
            yield border
            begin = border


def _pauses(text: str, start: int, end: int) -> Iterator[int]:
    """Cut what has no end of a sentence for long: after a phrase that pauses, else after any.

    BudouX reads a window at a time, since its time grows with the square of a phrase's length.
    """
    begin = window = start
    while end - window > _LONGEST_JAPANESE:
        piece = text[window : window + _LONGEST_JAPANESE]
        phrases = phrase_parser("japanese" if _KANA.search(piece) else "simplified_chinese").parse(piece)
        borders = list(accumulate(map(len, phrases[:-1]), initial=window))[1:]
        pauses = [
            border
            for phrase, border in zip(phrases, borders, strict=False)
            if _JAPANESE_PAUSES.search(phrase)
        ]
        found = [border for border in (pauses or borders)[-1:] if border - begin >= _SHORTEST_JAPANESE]
        if found:
            yield found[0]
            begin = window = found[0]
        else:
            window += len(piece)


@cache
def phrase_parser(language: str) -> Any:
    """Return BudouX's parser of "japanese", "simplified_chinese" or "traditional_chinese"."""
    import budoux

    return getattr(budoux, f"load_default_{language}_parser")()
