"""Questions with known answers and the passages that a retriever gives them."""

from __future__ import annotations

from dataclasses import dataclass

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_texts

__all__ = ["QAQuestion"]


@dataclass(frozen=True, kw_only=True)
class QAQuestion:
    """A question with its answers and P passages.

    Raises:
        InvalidInputError: It has no answer, or answers or passages are not strings.
    """

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

    def __post_init__(self) -> None:
        if not check_texts("answers", self.answers):
            raise InvalidInputError(f"answers of question {self.id!r} must be at least one, got none")
        check_texts("passages", self.passages)

    def top(self, k: int) -> list[str]:
        """The first k passages. If the one that is known to answer is not among them, it is the last."""
        first = list(self.passages[:k])
        if self.own is not None and self.own >= k:
            first[-1] = self.passages[self.own]
        return first
