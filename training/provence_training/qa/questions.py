"""Questions with known answers and the passages that a retriever gives them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QAQuestion"]


@dataclass(frozen=True, kw_only=True)
class QAQuestion:
    """A question with its answers and P passages."""

    id: str

    text: str

    language: str
    """ISO 639-1 code of the passages."""

    answers: tuple[str, ...]
    """The answers that count as right, at least one."""

    passages: tuple[str, ...]
    """In the order of the retriever, best first."""

    own: int | None = None
    """Position of the passage that is known to answer, which each context of k passages has; None if it is
    not known."""

    evidence: str | None = None
    """The sentences that answer; None if they are not known."""

    def top(self, k: int) -> list[str]:
        """The first k passages. If the one that is known to answer is not among them, it is the last."""
        first = list(self.passages[:k])
        if self.own is not None and self.own >= k:
            first[-1] = self.passages[self.own]
        return first
