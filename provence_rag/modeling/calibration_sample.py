"""Inputs on which to observe a model: quantization measures the ranges of its activations on them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from provence_rag.config import ProvenceConfig
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.batching import padded
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.planning import Pair, Planner

__all__ = ["sample_batches"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def sample_batches(tokenizer: PairTokenizer, config: ProvenceConfig) -> list[dict[str, IntArray]]:
    """A model's inputs for the questions and passages of `calibration_sample.jsonl`, which we wrote.

    The passages are short and long; some answer their question and some do not. Most are in English and
    Japanese, a few in Chinese, German, French and Spanish. They contain lists, tables, records, dialogues,
    code and numbers, with line breaks and blank lines, which are tokens in some vocabularies.

    Args:
        tokenizer: The checkpoint's.
        config: The checkpoint's configuration.

    Returns:
        `input_ids`, `attention_mask` and `token_type_ids` of each window, shape (1, T), without padding.

    Raises:
        CheckpointError: The windows are too short for the tokenizer's special tokens.
    """
    lines = Path(__file__).with_name("calibration_sample.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [
        Pair(record["question"], record["passage"], record.get("title")) for record in map(json.loads, lines)
    ]
    with warnings.catch_warnings():
        # The caller cannot change that a question is longer than half of a short window.
        warnings.simplefilter("ignore")
        plans = Planner(tokenizer, config, None).plans(pairs, "auto")
    return [
        dict(zip(_INPUTS, padded([window], plans, tokenizer.layout, pad_token_id=0), strict=True))
        for plan in plans
        for window in plan.windows
    ]
