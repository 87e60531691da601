"""OpenProvence in a process of its own, which may have another Python and an older transformers.

Run by `benchmarks.open_provence_peer`. Reads requests, one JSON line each, and answers each with what
`process()` found. Imports nothing of this project.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

Jobs = list[tuple[str, list[list[str]]]]

_MODULE = "open_provence/modeling_open_provence_standalone.py"


def _load(checkout: str, weights: str) -> Any:
    """Their model, by the file that is published beside the weights."""
    spec = importlib.util.spec_from_file_location(
        "modeling_open_provence_standalone", Path(checkout) / _MODULE
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # their dataclasses look themselves up
    spec.loader.exec_module(module)
    return module.OpenProvenceForSequenceClassification.from_pretrained(weights, device="cpu")


def _process(model: Any, jobs: Jobs, threshold: float | None) -> list[dict[str, Any]]:
    """Call `process()` for each question, with its defaults but for what the comparison needs.

    Sentences are looked up instead of split, so that both sides judge the same ones. Titles are off, and the
    score of an empty passage is left as the model gave it.
    """
    results = []
    for question, documents in jobs:
        sentences = {"".join(parts): parts for parts in documents}
        found = model.process(
            question=question,
            context=["".join(parts) for parts in documents],
            title=None,
            threshold=threshold,
            sentence_splitter=sentences.__getitem__,
            zero_score_when_empty=False,
            show_progress=False,
            return_sentence_metrics=True,
            return_sentence_texts=True,
        )
        results.append(
            {
                "scores": found["reranking_score"],
                "kept": found["kept_sentences"],
                "probabilities": found["sentence_probabilities"],
            }
        )
    return results


def _main(checkout: str, weights: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    import torch
    import transformers

    def answer(value: Any) -> None:
        print(json.dumps(value, default=float), file=answers, flush=True)

    model = _load(checkout, weights)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__.partition("+")[0]}
    answer({"versions": versions, "parameters": sum(p.numel() for p in model.parameters())})
    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.nullcontext() if request["gradients"] else torch.inference_mode():
            answer(_process(model, request["jobs"], request["threshold"]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
