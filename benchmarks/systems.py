"""What is compared: a system says which sentences of a question's passages it keeps."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from benchmarks.processes import peak_memory
from provence_rag.chunking import MultilingualChunker, Span

__all__ = ["Kept", "Options", "Question", "System", "sentences", "split"]

Kept = list[list[bool]]
"""For each passage, whether each of its sentences stays."""


@dataclass(frozen=True)
class Question:
    """A question with its passages, all of one language."""

    query: str
    language: str
    passages: Sequence[str]


@dataclass(frozen=True)
class Options:
    """What a user has beside what is installed; None for what is not there."""

    embedding: str | None = None
    """A directory of sentence-transformers."""

    query_prefix: str = ""
    passage_prefix: str = ""
    """What it expects in front of a question, and of a passage or sentence."""

    open_provence: str | None = None
    """A checkout."""

    weights: str | None = None
    """A checkpoint directory in OpenProvence's layout."""

    peer_python: str | None = None
    peer_path: str | None = None
    """What OpenProvence runs with; see `OpenProvencePeer`."""

    remember: bool = False
    """Whether texts are embedded once only, where time does not count."""


def sentences(question: Question) -> list[list[Span]]:
    """Where the sentences of each passage are."""
    chunker = MultilingualChunker(question.language)
    return [chunker.spans(text) for text in question.passages]


def split(question: Question) -> list[list[str]]:
    """The sentences of each passage."""
    cut = zip(question.passages, sentences(question), strict=True)
    return [[text[span.start : span.end] for span in spans] for text, spans in cut]


class System(ABC):
    """Something that prunes, or at least ranks."""

    needs: ClassVar[Sequence[str]] = ()
    """Modules that must be installed."""

    wants: ClassVar[Sequence[str]] = ()
    """Options that must be given."""

    settings: ClassVar[dict[str, Any]]
    """How much is pruned, by name. The first is the one that is timed; those that begin with the same word
    make a curve."""

    @abstractmethod
    def __init__(self, options: Options) -> None: ...

    @abstractmethod
    def __call__(self, question: Question, setting: Any) -> Kept:
        """Process the passages of a question."""

    def in_all_settings(self, questions: Sequence[Question]) -> dict[str, list[Kept]]:
        """What stays of each question's passages, for all settings."""
        kept: dict[str, list[Kept]] = {label: [] for label in self.settings}
        for question in questions:
            for label, setting in self.settings.items():
                kept[label].append(self(question, setting))
        return kept

    def peak_memory(self) -> int:
        """In bytes, so far."""
        return peak_memory()

    @classmethod
    def missing(cls, options: Options) -> list[str]:
        """What is not installed or not given."""
        given = asdict(options)
        modules = [name for name in cls.needs if importlib.util.find_spec(name) is None]
        return [*modules, *(f"--{name.replace('_', '-')}" for name in cls.wants if given[name] is None)]
