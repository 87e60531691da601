"""Options that several commands have."""

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
    int, typer.Option(help="BM25 passages of the same file that a question meets beside its own.")
]
Limit = Annotated[int | None, typer.Option(help="A random sample of so many questions of each file.")]
