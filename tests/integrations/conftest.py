"""What both adapters are tested with: a model without weights, and three documents."""

from __future__ import annotations

import re
import socket
import sys
import time
from dataclasses import replace
from threading import current_thread
from types import ModuleType
from typing import Any

import pytest

from provence_rag import PrunedPassage, PruningOptions, Sentence

QUERY = "Where do penguins live?"
RELEVANT = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
PARTLY = "Music was loud. Many penguins swim."
UNRELATED = "My car has new tyres. It is red."


# --- stand-in until provence_rag.testing exists ---
class Provence:
    @classmethod
    def from_pretrained(cls, name_or_path: str | None = None, **_: Any) -> Provence:
        raise AssertionError

    def process(self, query, documents, *, titles=None, options=None, top_k=None, score_threshold=None, reorder=False, batch_size=None, show_progress=False):
        from provence_rag import InvalidInputError
        if not isinstance(query, str) or not query.strip():
            raise InvalidInputError(f"query must be a non-blank string, got {query!r}")
        words = set(re.findall(r"\w+", query.lower()))
        options = options or PruningOptions()
        out = []
        for i, text in enumerate(documents):
            spans = [m.span() for m in re.finditer(r"[^.\s][^.]*\.?", text)]
            sents = []
            for a, b in spans:
                s = len(words & set(re.findall(r"\w+", text[a:b].lower()))) / len(words)
                keep = s >= (options.threshold or 0.2) or options.mode == "off"
                sents.append(Sentence(text=text[a:b], start=a, end=b, score=s, kept=keep, token_start=0, token_end=0))
            score = max((s.score for s in sents), default=0.0)
            p = PrunedPassage(index=i, document=text, text=" ".join(s.text for s in sents if s.kept), title=titles and titles[i], score=score, logit=score, sentences=tuple(sents))
            out.append(p)
        if reorder or top_k is not None or score_threshold is not None:
            out.sort(key=lambda p: -p.score)
        if score_threshold is not None:
            out = [p for p in out if p.score >= score_threshold]
        return out[:top_k]


try:
    import provence_rag.provence
except ModuleNotFoundError:
    module = ModuleType("provence_rag.provence")
    module.Provence = Provence
    sys.modules["provence_rag.provence"] = module
fake_provence = Provence
# --- end of stand-in ---


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a test of the integrations opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def model() -> Provence:
    return fake_provence()


@pytest.fixture
def calls(model: Provence, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every `process()` call on `model`, and the thread that it ran in."""
    seen: list[dict[str, Any]] = []
    process = model.process

    def recording(query: str, documents: list[str], **options: Any) -> list[PrunedPassage]:
        seen.append({"query": query, "documents": documents, "thread": current_thread(), **options})
        return process(query, documents, **options)

    monkeypatch.setattr(model, "process", recording)
    return seen


@pytest.fixture
def unscored(model: Provence, monkeypatch: pytest.MonkeyPatch) -> Provence:
    """A model without a ranking head."""
    process = model.process

    def without_scores(query: str, documents: list[str], **options: Any) -> list[PrunedPassage]:
        passages = process(query, documents, titles=options["titles"], options=options["options"])
        return [replace(passage, score=None, logit=None) for passage in passages]

    monkeypatch.setattr(model, "process", without_scores)
    return model


@pytest.fixture
def loads(model: Provence, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every `Provence.from_pretrained()` call, which takes a moment and gives `model`."""
    seen: list[dict[str, Any]] = []

    def from_pretrained(name_or_path: str | None = None, **settings: Any) -> Provence:
        seen.append({"name_or_path": name_or_path, **settings})
        time.sleep(0.05)
        return model

    monkeypatch.setattr(Provence, "from_pretrained", from_pretrained)
    return seen
