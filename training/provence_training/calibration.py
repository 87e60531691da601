"""Thresholds for the `dynamic` rule, chosen on development data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from provence_rag.config import DynamicRule
from provence_training.evaluation import Judged, figures

__all__ = ["calibrate"]

_FLOORS = np.round(np.concatenate([np.arange(0.01, 0.10, 0.01), np.arange(0.10, 0.62, 0.02)]), 3).tolist()
_SHARES = np.round(np.arange(0.0, 0.95, 0.05), 3).tolist()


def calibrate(judged: Sequence[Judged], *, all_kept: float, removed_off_topic: float) -> DynamicRule:
    """Choose the rule that removes the most text while it keeps the answers.

    Args:
        judged: Passages with the model's scores, answering ones and others.
        all_kept: Share of the questions of which every answering sentence must survive, in [0, 1].
        removed_off_topic: Share of the other passages' characters that must go, in [0, 1].

    Returns:
        Of all rules that reach both, the one that removes most of the answering passages; if none does, the
        one that comes nearest to both.
    """

    def merit(rule: DynamicRule) -> tuple[float, float]:
        reached = figures(judged, rule)
        missing = max(0.0, all_kept - reached.all_kept)
        missing += max(0.0, removed_off_topic - reached.removed_off_topic)
        return missing, -reached.removed

    return min((DynamicRule(floor=f, share=s) for f in _FLOORS for s in _SHARES), key=merit)
