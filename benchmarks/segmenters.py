"""Sentence splitters, ours and others, as functions from a text to its sentences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from provence_rag.chunking import MultilingualChunker
from provence_rag.chunking.english import PUNKT_LANGUAGES

__all__ = ["OURS", "Segmenter", "segmenters"]

Segmenter = Callable[[str], list[str]]
"""Returns the sentences of a text, in order; white space around them does not matter."""

OURS = "provence-rag"


def _ours(language: str) -> Segmenter:
    chunker = MultilingualChunker(language)
    return lambda text: [sentence for sentence, _ in chunker.chunk(text)]


def _punkt(language: str) -> Segmenter:
    from collections import defaultdict

    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    if language not in PUNKT_LANGUAGES:
        raise ValueError(f"Punkt does not know {language}")
    learnt = punkt.load_model(PUNKT_LANGUAGES[language])
    parameters = PunktParameters()
    parameters.abbrev_types = learnt.abbrev_types
    parameters.collocations = learnt.collocations
    parameters.sent_starters = learnt.sent_starters
    parameters.ortho_context = defaultdict(int, learnt.ortho_context)
    tokenizer = PunktSentenceTokenizer(parameters)
    return lambda text: list(tokenizer.tokenize(text))


def _pysbd(language: str) -> Segmenter:
    import pysbd

    return lambda text: list(pysbd.Segmenter(language=language, clean=False).segment(text))


def _nupunkt(language: str) -> Segmenter:
    import nupunkt

    if language != "en":
        raise ValueError(f"nupunkt does not know {language}")
    return lambda text: [text[start:end] for start, end in nupunkt.sent_spans(text)]


def _sentencex(language: str) -> Segmenter:
    import sentencex

    return lambda text: list(sentencex.segment(language, text))


def _syntok(language: str) -> Segmenter:
    from syntok import segmenter

    if language not in ("de", "en", "es"):
        raise ValueError(f"syntok does not know {language}")

    def segment(text: str) -> list[str]:
        return [
            "".join(token.spacing + token.value for token in sentence)
            for paragraph in segmenter.analyze(text)
            for sentence in paragraph
        ]

    return segment


def _bunkai(language: str) -> Segmenter:
    from bunkai import Bunkai

    if language != "ja":
        raise ValueError(f"bunkai does not know {language}")
    splitter = Bunkai()
    # Bunkai takes one line at a time: it marks line breaks with a character of its own.
    return lambda text: [
        sentence for line in text.splitlines() if line.strip() for sentence in splitter(line)
    ]


_PEERS: dict[str, Callable[[str], Segmenter]] = {
    "Punkt (NLTK)": _punkt,
    "pySBD": _pysbd,
    "nupunkt": _nupunkt,
    "sentencex": _sentencex,
    "syntok": _syntok,
    "bunkai": _bunkai,
}


def segmenters(language: str) -> tuple[dict[str, Segmenter], list[str]]:
    """Return every splitter that knows a language, ours first, and the names of those not installed.

    Args:
        language: ISO 639-1 code.
    """
    found: dict[str, Segmenter] = {OURS: _ours(language)}
    missing: list[str] = []
    for name, make in _PEERS.items():
        try:
            found[name] = partial(_guarded, make(language))
        except ImportError:
            missing.append(name)
        except ValueError:  # it does not know the language
            continue
    return found, missing


def _guarded(segment: Segmenter, text: str) -> list[str]:
    """Leave out what is blank: some return the white space between sentences as well."""
    return [sentence for sentence in segment(text) if sentence.strip()]
