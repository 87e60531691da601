"""What no backend takes."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(
    params=[
        ({}, "has neither the output ranking_logits nor pruning_logits, only odd"),
        (
            {"pruning": "pruning_logits", "inputs": ("input_ids", "pixel_values")},
            "has unknown inputs: pixel_values",
        ),
    ]
)
def other_model(request: pytest.FixtureRequest) -> tuple[dict[str, Any], str]:
    """A model for `save_onnx` that is not one of ours, and the message after the file's name."""
    model: tuple[dict[str, Any], str] = request.param
    return model
