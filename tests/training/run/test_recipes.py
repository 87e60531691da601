"""The recipes of the bundled model, from data to checkpoint, with a tiny encoder and few pairs."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer
from transformers import XLMRobertaConfig, XLMRobertaModel

from provence_rag import Provence
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import TrainingConfig
from provence_training.config.yaml_file import read_config
from provence_training.run.training import run_training

RECIPES = Path(__file__).parents[3] / "training" / "recipes"
PAIRS = 64  # of more than a million


@pytest.fixture
def encoder(unigram: Tokenizer, tmp_path: Path) -> Path:
    """An encoder with twelve layers; the student takes six."""
    directory = tmp_path / "encoder"
    config = XLMRobertaConfig(
        vocab_size=unigram.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=12,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(directory)
    unigram.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file for each that the recipes name, with passages that all have different answers."""
    directory = tmp_path / "data"
    words = iter("".join(letters) for letters in product("bcdfghkmnp", "aeiou", "tvwxz"))
    for name in sorted({path for recipe in RECIPES.glob("*.yaml") for path in paths(recipe)}):
        records = []
        for number in range(2 if name.startswith("train") else 8):
            word = next(words)
            answer, others = f"the cat sat on {word}.", "tea is hot.\n\nrain is cold."
            if is_japanese := name.split(".")[0].endswith(("_ja", "jaquad", "jsquad_test")):
                answer, others = f"猫が{word}にいる。", "犬がいる。猫がいる。"
            marked = [{"start": 0, "end": len(answer)}]
            question = {"question": f"where {answer[:-1]}", "answers": None if number % 2 else marked}
            if "questions" in name:  # and no passages
                records.append({"lang": "en", "question": question["question"]})
                continue
            records.append(
                {
                    "id": f"{name}-{number}",
                    "lang": "ja" if is_japanese else "en",
                    "title": f"{word} mat",
                    "text": answer + (others if is_japanese else f" {others}"),
                    "questions": [] if "docs" in name else [question],
                }
            )
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        path.write_bytes(gzip.compress(lines.encode()))
    return directory


def paths(recipe: Path) -> list[str]:
    data = yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"]
    sources = [source for part in data.values() for source in part]
    found = [source if isinstance(source, str) else source["path"] for source in sources]
    return [path.removeprefix("${DATA}/") for path in found]


def made_small(config: TrainingConfig, output: Path) -> TrainingConfig:
    stages = [
        replace(stage, batch_tokens=1024, pairs=tuple(replace(pairs, count=PAIRS) for pairs in stage.pairs))
        for stage in config.stages
    ]
    assert config.release.calibration is not None
    calibration = replace(config.release.calibration, allow_few_questions=True)
    release = replace(config.release, exports=(), calibration=calibration)
    return replace(
        config, output=str(output), stages=tuple(stages), release=release, device="cpu", logging_steps=1
    )


def test_both_recipes(encoder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DATA": data, "ENCODER": encoder, "ENGLISH": encoder}.items():
        monkeypatch.setenv(name, str(value))
    base = run_training(made_small(read_config(RECIPES / "base.yaml"), tmp_path / "base"))
    monkeypatch.setenv("BASE", str(base))
    mini = run_training(made_small(read_config(RECIPES / "mini.yaml"), tmp_path / "mini"))

    layers = [
        ProvenceModel.from_pretrained(directory).transformer.config.num_hidden_layers
        for directory in (base, mini)
    ]
    assert layers == [12, 6]
    for directory in ("base/stages/base", "mini/stages/student", "mini/stages/paraphrases"):
        lines = (tmp_path / directory / "log.jsonl").read_text().splitlines()
        entries = [entry for line in lines if "ranking" in (entry := json.loads(line))]
        learned = {name for name in entries[0] if any(entry[name] > 0 for entry in entries)}
        assert {"ranking", "listwise", "pruning", "answering"} < learned
        is_guided = directory.startswith("mini")
        assert ("guide_ranking" in entries[0]) is is_guided  # it may be too small to be logged
        assert ("guide_states" in learned) is directory.endswith("student")
        assert ("ranking_teacher" in learned) is not is_guided
    model = Provence.from_pretrained(mini)
    (passage,) = model.process("where the cat sat", ["the cat sat on mat.\n\ntea is hot."])
    assert passage.score is not None
