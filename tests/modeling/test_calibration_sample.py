from __future__ import annotations

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from provence_rag import Provence, ProvenceConfig
from provence_rag.hub import BUNDLED
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.backend import Logits
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.engine import Engine
from provence_rag.modeling.calibration_sample import sample_batches


@pytest.mark.parametrize("max_length", [32, 512])
def test_one_window_a_batch_without_padding(tokenizer: PairTokenizer, max_length: int) -> None:
    batches = sample_batches(tokenizer, ProvenceConfig(max_length=max_length))
    lengths = [batch["input_ids"].shape[1] for batch in batches]
    assert max(lengths) <= max_length
    for batch, length in zip(batches, lengths, strict=True):
        assert list(batch) == ["input_ids", "attention_mask", "token_type_ids"]
        assert all(array.shape == (1, length) and array.dtype == np.int64 for array in batch.values())
        assert batch["attention_mask"].all()


def test_of_many_lengths_without_what_the_bundled_tokenizer_does_not_know() -> None:
    batches = sample_batches(PairTokenizer.from_directory(BUNDLED), ProvenceConfig(max_length=512))
    lengths = [batch["input_ids"].shape[1] for batch in batches]
    assert len(batches) >= 40
    assert min(lengths) < 20
    assert max(lengths) > 300
    unknown = 3
    assert np.mean(np.concatenate([batch["input_ids"][0] for batch in batches]) == unknown) < 0.02


def test_line_breaks_are_seen_where_they_are_tokens(raw_tokenizer: Tokenizer) -> None:
    breaks = ("\n", "\n\n")
    raw_tokenizer.add_tokens([AddedToken(lines, normalized=False) for lines in breaks])
    numbers = [raw_tokenizer.token_to_id(lines) for lines in breaks]
    batches = sample_batches(PairTokenizer(raw_tokenizer), ProvenceConfig(max_length=512))
    for number in numbers:
        assert sum(number in batch["input_ids"] for batch in batches) >= 10


def test_as_inference_makes_them(tokenizer: PairTokenizer) -> None:
    seen: list[list[int]] = []

    class Recorder:
        name, device, pad_to_multiple_of = "recorder", "cpu", 1

        def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
            seen.append(input_ids[0].tolist())
            zeros = np.zeros((*input_ids.shape, 2), dtype=np.float32)
            return Logits(zeros[:, 0, 0], zeros)

    config = ProvenceConfig(max_length=512)
    model = Provence(Engine(Recorder(), tokenizer, config, pad_token_id=0))
    model.process("boiling point of water at 3000 metres", ["About 90 °C."])
    assert seen[0] in [batch["input_ids"][0].tolist() for batch in sample_batches(tokenizer, config)]
