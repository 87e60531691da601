"""Text for what has to see a model at work: the ranges of its activations, say."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provence_rag.config import ProvenceConfig
from provence_rag.inference.batching import padded
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.planning import Pair, Planner

__all__ = ["sample_batches"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def sample_batches(tokenizer: PairTokenizer, config: ProvenceConfig) -> list[dict[str, NDArray[np.int64]]]:
    """A model's inputs for the questions and passages of `calibration_sample.jsonl`, which we wrote.

    They are short and long, answer and do not, are mostly in English and Japanese, with some Chinese, German,
    French and Spanish, and hold lists, tables, records, dialogues, code and figures: line breaks and blank
    lines among them, which may be tokens of their own.

    Args:
        tokenizer: The checkpoint's.
        config: The checkpoint's configuration.

    Returns:
        `input_ids`, `attention_mask` and `token_type_ids` of one window each, shape (1, T): no padding.

    Raises:
        CheckpointError: The windows are too short for the tokenizer's special tokens.
    """
    lines = Path(__file__).with_name("calibration_sample.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [
        Pair(record["question"], record["passage"], record.get("title")) for record in map(json.loads, lines)
    ]
    with warnings.catch_warnings():
        # That a question is longer than half of a short window is nothing that a caller could change.
        warnings.simplefilter("ignore")
        plans = Planner(tokenizer, config, None).plans(pairs, "auto")
    return [
        dict(zip(_INPUTS, padded([window], plans, tokenizer.layout, pad_token_id=0), strict=True))
        for plan in plans
        for window in plan.windows
    ]
