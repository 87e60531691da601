"""From a checked request to its answer: pairs, scores, selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from provence_rag.inference.engine import Engine, Pair, ScoredPair
from provence_rag.inputs import pairs_of_query
from provence_rag.options import PruningOptions
from provence_rag.ranking import Ranking
from provence_rag.results import PrunedPassage
from provence_rag.server.failures import RequestError
from provence_rag.server.schemas import Document, Usage
from provence_rag.server.settings import ServerSettings
from provence_rag.validation import check_text

__all__ = ["Answer", "Task", "tasks_of"]


@dataclass(frozen=True)
class Answer:
    """The answer to one query."""

    passages: list[PrunedPassage]
    usage: Usage


@dataclass
class Task:
    """One query with its documents, which are scored in one or several steps."""

    pairs: list[Pair]
    options: PruningOptions
    ranking: Ranking
    scored: list[ScoredPair] = field(default_factory=list)

    @property
    def waiting(self) -> Sequence[Pair]:
        """What is not scored yet."""
        return self.pairs[len(self.scored) :]

    def answer(self, engine: Engine) -> Answer:
        """Order and prune, once all pairs are scored."""
        order = self.ranking.order(self.scored)
        passages = engine.prune([self.scored[i] for i in order], order, self.options)
        tokens = sum(int(one.document.bounds[-1] - one.document.bounds[0]) for one in self.scored)
        kept = sum(passage.num_kept_tokens for passage in passages)
        return Answer(passages, Usage(tokens_in=tokens, tokens_out=kept, tokens_saved=tokens - kept))


def tasks_of(
    groups: Sequence[tuple[str, Sequence[Document]]],
    options: PruningOptions,
    ranking: Ranking,
    *,
    engine: Engine,
    settings: ServerSettings,
    separator: str = " ",
    names: tuple[str, str] = ("query", "documents"),
) -> list[Task]:
    """A task for each query of a request.

    Args:
        groups: Queries, each with its documents.
        options: How sentences are selected.
        ranking: Which documents come back.
        engine: What will run the tasks.
        settings: The limits.
        separator: Joins the sentences of documents that are lists.
        names: What the request calls its query and its documents.

    Raises:
        RequestError: A limit is exceeded.
        ValueError: Something cannot be used; the library's own errors, as from `Provence.process`.
    """
    options.check(engine.config)
    ranking.check(engine.config)
    _check_limits(groups, settings, names)
    tasks = []
    for number, (query, documents) in enumerate(groups):
        place = f"[{number}]" if len(groups) > 1 else ""
        query = check_text(f"{names[0]}{place}", query, blank=False)
        texts = [document.text for document in documents]
        titles = [document.title for document in documents]
        pairs = pairs_of_query(query, texts, titles, separator=separator, place=place)
        tasks.append(Task(pairs, options, ranking))
    return tasks


def _check_limits(
    groups: Sequence[tuple[str, Sequence[Document]]], settings: ServerSettings, names: tuple[str, str]
) -> None:
    _check(names[0], "queries", len(groups), settings.max_queries)
    _check(names[1], "documents", sum(len(documents) for _, documents in groups), settings.max_documents)
    for number, (query, documents) in enumerate(groups):
        place = f"[{number}]" if len(groups) > 1 else ""
        _check(f"{names[0]}{place}", "characters", len(query), settings.max_query_characters)
        for position, document in enumerate(documents):
            # A list of sentences has as many characters as these, at least; separators are the caller's.
            length = sum(map(len, document.text)) + len(document.title or "")
            name = f"{names[1]}{place}[{position}]"
            _check(name, "characters", length, settings.max_document_characters)


def _check(name: str, what: str, count: int, limit: int) -> None:
    if count > limit:
        message = f"{name} has {count:,} {what}, and this server takes at most {limit:,} in a request"
        raise RequestError(413, "too_large", message, field=name)
