"""Which documents of a query come back, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.validation import check_count, check_number, check_share, shortened

__all__ = ["AS_GIVEN", "Ranking", "Scored"]


class Scored(Protocol):
    """What documents are ordered by."""

    @property
    def score(self) -> float | None:
        """As in `PrunedPassage`."""

    @property
    def logit(self) -> float | None:
        """As in `PrunedPassage`."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Order and choice of documents, as in `Provence.process`; by default all of them, as they were given."""

    top_k: int | None = None
    score_threshold: float | None = None
    min_documents: int = 0
    reorder: bool = False

    @property
    def _ranks(self) -> bool:
        return self.reorder or self.top_k is not None or self.score_threshold is not None

    def check(self, config: ProvenceConfig) -> None:
        """Check the values against each other and against a checkpoint.

        Raises:
            InvalidInputError: A value cannot be used.
            CheckpointError: Documents are to be ranked and the checkpoint has no ranking head.
        """
        if self.top_k is not None:
            check_count("top_k", self.top_k, 1)
        if self.score_threshold is not None:
            check = check_share if config.score_activation == "sigmoid" else check_number
            check("score_threshold", self.score_threshold)
        check_count("min_documents", self.min_documents, 0)
        if self.top_k is not None and self.min_documents > self.top_k:
            least, most = shortened(self.min_documents), shortened(self.top_k)
            raise InvalidInputError(f"min_documents={least} is more than top_k={most}")
        if self._ranks and not config.can_rank:
            raise CheckpointError("this checkpoint only prunes: it has no ranking head to order documents by")

    def order(self, scored: Sequence[Scored]) -> Sequence[int]:
        """Positions of the documents that come back, best first where they are ranked.

        Earlier ones come first among equals.
        """
        if not self._ranks:
            return range(len(scored))
        # By logits: scores near 1 are rounded to the same number.
        order = sorted(range(len(scored)), key=lambda i: scored[i].logit or 0.0, reverse=True)
        if self.score_threshold is not None:
            reached = sum((one.score or 0.0) >= self.score_threshold for one in scored)
            order = order[: max(reached, self.min_documents)]
        return order[: self.top_k]


AS_GIVEN = Ranking()
"""All documents, as they were given."""
