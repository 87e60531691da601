"""A request on its way through the model."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from provence_rag.inference.engine import Engine, Pair, ScoredPair
from provence_rag.inference.notices import Notice
from provence_rag.options import PruningOptions
from provence_rag.ranking import Ranking
from provence_rag.results import PrunedPassage
from provence_rag.server.metrics import Metrics

__all__ = ["LONG", "Answer", "Job"]

LONG = 40_000
"""A pair that costs more than this is long: no other request waits until it is read."""

_OVERHEAD = 200
"""What a pair costs besides reading it, in characters."""


@dataclass(frozen=True)
class Answer:
    """The answer to one query."""

    passages: list[PrunedPassage]

    tokens_in: int
    """Tokens of all documents of the query."""

    notices: list[Notice]
    """Why the query is not read as well as others."""

    @property
    def tokens_out(self) -> int:
        """Tokens of the pruned texts that come back."""
        return sum(passage.num_kept_tokens for passage in self.passages)


class Job:
    """A request: queries with their pairs, all answered in the same way.

    It is made on the event loop, where `answers` are awaited, and worked on in another thread.

    Args:
        groups: The pairs of each query.
        options: How sentences are selected.
        ranking: Which documents come back.
    """

    def __init__(self, groups: Sequence[Sequence[Pair]], options: PruningOptions, ranking: Ranking) -> None:
        self.options = options
        self.groups = groups
        self.is_cancelled = False
        self._ranking = ranking
        self._loop = asyncio.get_running_loop()
        self.answers: list[asyncio.Future[Answer]] = [self._loop.create_future() for _ in groups]
        self.unread = sum(self.cost(pair) for group in groups for pair in group)
        """Characters that are not read yet."""
        self._pairs = deque(pair for group in groups for pair in group)
        self._scored: deque[ScoredPair] = deque()
        self._num_answered = 0
        self._submitted = time.perf_counter()
        self._has_begun = False

    @staticmethod
    def cost(pair: Pair) -> int:
        """What it takes to read a pair, in characters."""
        return len(pair.document) + len(pair.title or "") + len(pair.query) + _OVERHEAD

    @property
    def is_done(self) -> bool:
        """Whether all queries are answered."""
        return self._num_answered == len(self.groups)

    @property
    def is_next_long(self) -> bool:
        """Whether the next pair is long."""
        return bool(self._pairs) and self.cost(self._pairs[0]) > LONG

    def can_share_with(self, other: Job) -> bool:
        """Whether the model can read pairs of both in one call."""
        mine, theirs = self.options, other.options
        return (mine.language, mine.max_tokens) == (theirs.language, theirs.max_tokens)

    def next_pairs(self, room: int) -> list[Pair]:
        """Take the next pairs: at least one, and as many as fill `room` characters; a long one alone."""
        pairs: list[Pair] = []
        while self._pairs and (not pairs or (room > 0 and not self.is_next_long)):
            pair = self._pairs.popleft()
            room -= self.cost(pair)
            self.unread -= self.cost(pair)
            pairs.append(pair)
        return pairs

    def begin(self, now: float, metrics: Metrics) -> None:
        """Count how long it has waited, at its first turn."""
        if not self._has_begun:
            self._has_begun = True
            metrics.waited(now - self._submitted)

    def take(self, scored: Sequence[ScoredPair], engine: Engine) -> None:
        """Take the scores of a turn, and answer the queries that are complete with them."""
        self._scored.extend(scored)
        while not self.is_done and len(self._scored) >= len(self.groups[self._num_answered]):
            mine = [self._scored.popleft() for _ in self.groups[self._num_answered]]
            order = self._ranking.order(mine)
            passages = engine.prune([mine[i] for i in order], order, self.options)
            tokens = sum(int(one.document.bounds[-1] - one.document.bounds[0]) for one in mine)
            notices = engine.notices(mine[0].pair.query) if mine else []
            self._resolve(Answer(passages, tokens, notices))

    def fail(self, error: Exception) -> None:
        """Answer the remaining queries with an error."""
        while not self.is_done:
            self._resolve(error)

    def _resolve(self, result: Answer | Exception) -> None:
        future = self.answers[self._num_answered]
        self._num_answered += 1

        def resolve() -> None:
            if future.done():  # nobody waits for it any more
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._loop.call_soon_threadsafe(resolve)
