"""How many pairs and tokens a second `provence train` learns from, on the device that is there.

python -m benchmarks.training passages.jsonl.gz
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from benchmarks.common import RESULTS, Data, Output, Runs, data_name, run
from benchmarks.report import Figure, Report
from provence_training.compute import choose_dtype, current_device
from provence_training.config import DataConfig, DataSource, StageConfig, TrainingConfig
from provence_training.config.values import Precision
from provence_training.run.training import run_training

__all__ = ["main"]

_DESCRIPTION = """Fine-tuning the bundled model on pairs of {data} on a {device} in {dtype}: {steps} steps
of {batch} tokens a run, after a warm-up of as many. All that a step takes counts: making its batch, both
passes, the optimizer."""


def main(
    data: Data,
    *,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer in a run.")] = 20,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a step, padding included.")] = 4096,
    float32: Annotated[
        bool, typer.Option("--float32", help="In float32 even where bfloat16 is fast.")
    ] = False,
    runs: Runs = 5,
    output: Output = RESULTS,
) -> None:
    """Measure the speed of training."""
    total = (1 + runs) * steps
    device = current_device()
    precision: Precision = "float32" if float32 else "auto"
    dtype = str(choose_dtype(precision, device)).removeprefix("torch.")
    stage = StageConfig(
        batch_tokens=batch_tokens,
        max_steps=total,
        precision=precision,
        save_steps=total,
    )
    with TemporaryDirectory() as directory:
        run_training(
            TrainingConfig(
                output=directory,
                data=DataConfig(train=(DataSource(path=str(data)),)),
                stages=(stage,),
                logging_steps=steps,
            )
        )
        lines = (Path(directory) / "stages" / stage.name / "log.jsonl").read_text(encoding="utf-8")
    entries = [json.loads(line) for line in lines.splitlines()]
    pairs, tokens = (
        [entry[name] for entry in entries if name in entry][1:]
        for name in ("pairs_per_second", "tokens_per_second")
    )
    Report(
        name=f"training-{data_name(data)}",
        description=_DESCRIPTION.format(
            data=data_name(data),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper(),
            dtype=dtype,
            batch=batch_tokens,
            steps=steps,
        ),
        figures=[Figure("learned", pairs, "pairs/s"), Figure("read", tokens, "tokens/s")],
    ).save(output)


if __name__ == "__main__":
    run(main)
