"""Options shared by several commands."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Backend", "Distractors", "Dtype", "Limit"]

# Provence.from_pretrained checks these two, as it does for every caller.
Backend = Annotated[str, typer.Option(metavar="auto|onnx|openvino|torch", help="What runs the model.")]
Dtype = Annotated[
    str | None,
    typer.Option(help="int8 or float32 (onnx); int8 (openvino); float32, float16 or bfloat16 (torch)."),
]
Distractors = Annotated[
    int, typer.Option(help="Passages of the same file, found by BM25, that a question meets besides its own.")
]
Limit = Annotated[int | None, typer.Option(help="Questions of each file, at most, in a random sample.")]
