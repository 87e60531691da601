"""What a report says about its own figures: too few passages, and replies that were cut off or empty."""

from __future__ import annotations

from collections.abc import Sequence

from provence_training.qa.figures import Arm
from provence_training.qa.questions import QAQuestion

__all__ = ["few_passages", "poor_replies"]

_WAY_OUT = "raise max_tokens, with --llm-args or in the parameters of ChatModel"


def few_passages(questions: Sequence[QAQuestion], k: Sequence[int]) -> list[str]:
    """A notice of each k that no question has as many passages for."""
    most = max(len(question.passages) for question in questions)
    return [
        f"no question has {depth} passages, so the figures with k={depth} are those of at most {most}: "
        "give a smaller k, or more passages"
        for depth in k
        if depth > most
    ]


def poor_replies(arms: Sequence[Arm]) -> list[str]:
    """A notice of replies that were cut off, and one of strategies that most replies are empty with."""
    cut_off = [f"{arm.cut_off} with {_name(arm)}" for arm in arms if arm.cut_off]
    empty = [f"{arm.empty} with {_name(arm)}" for arm in arms if arm.empty > arm.size / 2]
    notices = []
    if cut_off:
        notices.append(f"the limit of tokens cut off replies ({', '.join(cut_off)}): {_WAY_OUT}")
    if empty:
        notices.append(
            f"more than half of the replies are empty ({', '.join(empty)}). A reasoning model may spend all "
            f"tokens on its thoughts: {_WAY_OUT}"
        )
    return notices


def _name(arm: Arm) -> str:
    return f"{arm.strategy}, k={arm.k}"
