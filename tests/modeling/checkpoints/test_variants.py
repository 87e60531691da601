"""Older layouts, what the sources leave open, and heads that are not there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ModernBertConfig, ModernBertModel

from provence_rag import CheckpointError, Provence
from provence_rag.modeling.checkpoints import find_checkpoint, read_checkpoint

PAIR = ("who invented the paper filter", "The paper filter is of 1908. Tea is water. Coffee is not.")


@pytest.fixture
def copy(miniature: Any, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a family's miniature, to be changed."""
    return lambda family: Path(shutil.copytree(miniature(family).directory, tmp_path / family))


def edit(directory: Path, file: str = "config.json", **values: Any) -> None:
    """Change values of a JSON file; None takes a key away."""
    path = directory / file
    settings = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def rename(directory: Path, *rules: tuple[str, str]) -> dict[str, torch.Tensor]:
    """Put other prefixes on the names of the stored tensors."""
    tensors = load_file(directory / "model.safetensors")
    for old, new in rules:
        tensors = {re.sub(f"^{re.escape(old)}", new, name): tensor for name, tensor in tensors.items()}
    save_file(tensors, directory / "model.safetensors")
    return tensors


def load(directory: str | Path) -> Provence:
    return Provence.from_pretrained(directory, backend="torch", device="cpu")


def outcome(directory: str | Path) -> tuple[float | None, list[float | None]]:
    (passage,) = load(directory).process(PAIR[0], [PAIR[1]])
    return passage.logit, [s.score for s in passage.sentences]


def assert_same(one: Any, other: Any) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-6)
    assert one[1] == pytest.approx(other[1], abs=1e-6)


# Older layouts


def test_open_provence_without_its_prefix(copy: Any, miniature: Any) -> None:
    directory = copy("open-provence-ja")
    rename(directory, ("ranking_model.", ""))
    assert_same(outcome(directory), outcome(miniature("open-provence-ja").directory))


def test_open_provence_without_the_encoders_prefix(copy: Any, miniature: Any) -> None:
    directory = copy("open-provence-gte")
    rename(directory, ("ranking_model.model.", "ranking_model."))
    assert_same(outcome(directory), outcome(miniature("open-provence-gte").directory))


@pytest.mark.parametrize("model_type", ["pruning_encoder", "openprovence_encoder"])
@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("from_hub", [False, True])
def test_open_provence_in_folders(
    copy: Any, miniature: Any, publish: Any, model_type: str, pickled: bool, from_hub: bool
) -> None:
    directory = copy("open-provence-ja")
    settings = json.loads((directory / "config.json").read_text())
    base = settings["base_model_config"]
    edit(
        directory,
        model_type=model_type,
        architectures=["OpenProvenceEncoderForSequenceClassification"],
        base_model_config=None,
    )
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    for folder, config in (("ranking_model", base), ("pruning_head", settings["pruning_config"])):
        (directory / folder).mkdir()
        (directory / folder / "config.json").write_text(json.dumps(config))
        mine = {
            name.removeprefix(f"{folder}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{folder}.")
        }
        if pickled and folder == "pruning_head":
            torch.save(mine, directory / folder / "pytorch_model.bin")
        else:
            save_file(mine, directory / folder / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).rename(directory / "ranking_model" / name)
    if from_hub:
        publish(directory)
    found = outcome("owner/name" if from_hub else directory)
    assert_same(found, outcome(miniature("open-provence-ja").directory))


@pytest.mark.parametrize("calibrated", [False, True])
def test_an_export_does_not_tell_which_heads_a_family_has(
    family: str, calibrated: bool, copy: Any, publish: Any
) -> None:
    directory = copy(family)
    if calibrated:
        read_checkpoint(directory).config.to_directory(directory)
    (directory / "onnx").mkdir()
    (directory / "onnx" / "model.onnx").touch()
    files = publish(directory)
    found = find_checkpoint("owner/name", weights=["onnx/model.onnx"])
    assert found.config == read_checkpoint(directory).config
    assert {"onnx/model.onnx", "model.safetensors"} <= files()


def test_pickled_weights_that_are_nothing_but_tensors(family: str, copy: Any, miniature: Any) -> None:
    directory = copy(family)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    assert_same(outcome(directory), outcome(miniature(family).directory))


def test_half_precision(family: str, copy: Any, tmp_path: Path) -> None:
    directory = copy(family)
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(directory / "model.safetensors").items()}
    save_file(tensors, directory / "model.safetensors")
    widened = Path(shutil.copytree(directory, tmp_path / "widened"))
    save_file({name: tensor.float() for name, tensor in tensors.items()}, widened / "model.safetensors")
    assert_same(outcome(directory), outcome(widened))


def test_weights_of_a_pooling_that_nothing_uses(copy: Any, miniature: Any) -> None:
    directory = copy("open-provence-ja")
    tensors = load_file(directory / "model.safetensors")
    unused = {
        "pruning_head.pooling_weights.weight": torch.ones(1, 32),
        "pruning_head.pooling_weights.bias": torch.ones(1),
    }
    save_file({**tensors, **unused}, directory / "model.safetensors")
    assert_same(outcome(directory), outcome(miniature("open-provence-ja").directory))


# What the sources leave open: either reading loads


def test_xprovence_with_the_stock_head(copy: Any, miniature: Any) -> None:
    directory = copy("xprovence")
    rename(directory, ("classifier.", "classifier.out_proj."), ("roberta.pooler.", "classifier."))
    assert_same(outcome(directory), outcome(miniature("xprovence").directory))


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "XProvence"},
        {"architectures": ["XProvenceForSequenceClassification"]},
        {"architectures": None},
        {"architectures": ["XLMRobertaForSequenceClassification"]},
        {"auto_map": {"AutoModel": "modeling_xprovence_hf.XProvence"}},
    ],
)
def test_xprovence_by_whatever_names_it(copy: Any, miniature: Any, values: dict[str, Any]) -> None:
    directory = copy("xprovence")
    edit(directory, **values)
    assert read_checkpoint(directory).family == "xprovence"
    assert_same(outcome(directory), outcome(miniature("xprovence").directory))


@pytest.mark.parametrize(
    "values", [{"architectures": None}, {"model_type": "deberta-v2", "architectures": None}]
)
def test_provence_by_its_tensors(copy: Any, miniature: Any, values: dict[str, Any]) -> None:
    directory = copy("provence")
    edit(directory, **values)
    assert read_checkpoint(directory).family == "provence"
    assert_same(outcome(directory), outcome(miniature("provence").directory))


def test_semantic_highlight_with_the_settings_at_the_top(copy: Any, miniature: Any) -> None:
    directory = copy("zilliz")
    base = json.loads((directory / "config.json").read_text())["base_model_config"]
    settings = {**base, "default_threshold": 0.5, "max_length": 256}
    (directory / "config.json").write_text(json.dumps(settings))
    checkpoint = read_checkpoint(directory)
    assert (checkpoint.family, checkpoint.config.max_length) == ("open-provence", 256)
    assert_same(outcome(directory), outcome(miniature("zilliz").directory))


def test_a_pruning_head_without_a_layer_name(copy: Any, miniature: Any) -> None:
    directory = copy("zilliz")
    rename(directory, ("pruning_head.classifier.", "pruning_head."))
    assert_same(outcome(directory), outcome(miniature("zilliz").directory))


@pytest.mark.parametrize(
    ("family", "output"), [("provence", "classifier"), ("open-provence-ja", "ranking_model.classifier")]
)
def test_of_several_ranking_labels_the_first_counts(
    copy: Any, miniature: Any, family: str, output: str
) -> None:
    directory = copy(family)
    tensors = load_file(directory / "model.safetensors")
    for part in ("weight", "bias"):
        name = f"{output}.{part}"
        tensors[name] = torch.cat([tensors[name], torch.full_like(tensors[name], 9.0)])
    save_file(tensors, directory / "model.safetensors")
    edit(directory, id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert_same(outcome(directory), outcome(miniature(family).directory))


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        ({"default_threadshold": 0.25}, 0.25),
        ({"default_threadshold": "0.25"}, 0.25),
        ({"default_threshold": 0.25}, 0.25),
        ({"default_threadshold": 0.25, "default_threshold": 0.9}, 0.25),
        ({}, 0.1),
    ],
)
def test_the_default_threshold(copy: Any, values: dict[str, Any], threshold: float) -> None:
    directory = copy("open-provence-ja")
    edit(directory, **values)
    config = read_checkpoint(directory).config
    assert config.threshold == threshold
    assert config.dynamic_rule("ja").floor == threshold
    assert config.dynamic_rule("ja").share == 0.0


@pytest.mark.parametrize(
    ("settings", "template"),
    [
        ({"tokenizer_class": "LlamaTokenizerFast"}, ("<s>", "$A", "</s>", "<s>", "$B", "</s>")),
        # Without an end no separator comes of it, so their code puts the tokens in by hand.
        ({"add_eos_token": False}, ("<cls>", "$A", "<sep>", "$B", "<sep>")),
        ({"add_eos_token": False, "cls_token": None, "sep_token": None}, ("<s>", "$A", "</s>", "$B", "</s>")),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, ("<cls>", "$A", "<sep>", "$B", "<sep>")),
        ({"tokenizer_class": "RobertaTokenizer"}, ("<cls>", "$A", "<sep>", "<sep>", "$B", "<sep>")),
        ({"tokenizer_class": "BertTokenizer"}, ("<cls>", "$A", "<sep>", "$B:1", "<sep>:1")),
        ({"tokenizer_class": "SomeOtherTokenizer"}, None),
        ({"tokenizer_class": None}, None),
    ],
)
def test_the_pair_template_follows_the_class_of_the_tokenizer(
    copy: Any, settings: dict[str, Any], template: tuple[str, ...] | None
) -> None:
    directory = copy("open-provence-ja")
    edit(directory, "tokenizer_config.json", **settings)
    assert read_checkpoint(directory).config.pair_template == template
    load(directory)


def test_a_block_of_ours_counts_in_a_checkpoint_of_theirs(family: str, copy: Any) -> None:
    """As `provence calibrate` writes it."""
    directory = copy(family)
    expected = load(directory)
    replace(expected.config, threshold=0.77, temperature={"default": 2.0}).to_directory(directory)
    model = load(directory)
    assert (model.config.threshold, model.config.scoring) == (0.77, expected.config.scoring)
    found, plain = (m.process(PAIR[0], [PAIR[1]])[0] for m in (model, expected))
    assert found.logit == plain.logit
    assert [s.score for s in found.sentences] != [s.score for s in plain.sentences]


# ModernBERT's last normalisation


@pytest.mark.parametrize(
    ("block", "values", "expected"),
    [
        ("pruning_config", {"transformers_version": "4.57.1"}, "before_final_norm"),
        ("pruning_config", {"transformers_version": "5.4.0"}, "final"),
        ("pruning_config", {"transformers_version": None}, "before_final_norm"),
        ("base_model_config", {"tie_last_hidden_states": False}, "before_final_norm"),
        (None, {"transformers_version": "5.23.0"}, "before_final_norm"),  # saved anew, not trained anew
    ],
)
def test_which_hidden_states_the_head_was_trained_on(
    copy: Any, block: str | None, values: dict[str, Any], expected: str
) -> None:
    directory = copy("open-provence-ja")
    settings = json.loads((directory / "config.json").read_text())
    if block is None:
        edit(directory, **values)
    else:
        edit(directory, **{block: {**settings[block], **values}})
    assert read_checkpoint(directory).config.hidden_states == expected


@pytest.mark.parametrize("version", ["4.57.1", "5.4.0"])
def test_both_readings_of_the_last_hidden_states(copy: Any, miniature: Any, version: str) -> None:
    directory, mini = copy("open-provence-gte"), miniature("open-provence-gte")
    settings = json.loads((directory / "config.json").read_text())
    edit(directory, pruning_config={**settings["pruning_config"], "transformers_version": version})
    model = load(directory)
    row = [mini.tokenizer.token_to_id(t) for t in ("[CLS]", "a", "[SEP]", "b", "c", "[SEP]")]
    config = ModernBertConfig.from_dict({**settings["base_model_config"]})
    encoder = ModernBertModel(config).eval()
    encoder.load_state_dict(mini.encoder.state_dict())
    if version.startswith("4"):
        encoder.final_norm = torch.nn.Identity()
    with torch.inference_mode():
        hidden = encoder(torch.tensor([row])).last_hidden_state[0]
    heads = mini.heads
    expected = hidden @ heads["pruning_head.classifier.weight"].T + heads["pruning_head.classifier.bias"]
    arrays = [torch.tensor([row]).numpy(), torch.ones(1, len(row), dtype=torch.long).numpy()]
    logits = model.backend.run(*arrays, arrays[1] * 0)
    assert logits.pruning is not None
    torch.testing.assert_close(torch.from_numpy(logits.pruning[0]), expected, rtol=0, atol=1e-5)


# Heads that are missing, or were never trained

PRUNING_HEAD = {"provence": "token_classifier.", "xprovence": "token_classifier."}
RANKING_HEAD = {
    "provence": "classifier.",
    "xprovence": "classifier.",
    "zilliz": "ranking_model.classifier.out_proj.",
}


@pytest.mark.parametrize("random", [False, True])
def test_without_a_pruning_head_it_ranks_and_does_not_prune(
    copy: Any, miniature: Any, family: str, random: bool
) -> None:
    directory = copy(family)
    head = PRUNING_HEAD.get(family, "pruning_head.")
    change(directory, head, random)
    with pytest.warns(UserWarning, match="has no trained pruning head: it is loaded for ranking only"):
        model = load(directory)
    assert model.config.mode == "ranking"
    expected = load(miniature(family).directory).process(*PAIR[:1], [PAIR[1]])[0].score
    assert model.predict(PAIR) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(CheckpointError, match="this checkpoint only ranks: it has no pruning head"):
        model.prune(*PAIR)


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("family", RANKING_HEAD)
def test_without_a_ranking_head_it_prunes_and_does_not_rank(
    copy: Any, miniature: Any, family: str, random: bool
) -> None:
    directory = copy(family)
    change(directory, RANKING_HEAD[family], random)
    with pytest.warns(UserWarning, match="has no trained ranking head: it is loaded for pruning only"):
        model = load(directory)
    assert model.config.mode == "pruning"
    expected = load(miniature(family).directory).process(PAIR[0], [PAIR[1]])[0]
    (passage,) = model.process(PAIR[0], [PAIR[1]])
    assert [s.score for s in passage.sentences] == pytest.approx(
        [s.score for s in expected.sentences], abs=1e-6
    )
    with pytest.raises(CheckpointError, match="this checkpoint only prunes"):
        model.predict(PAIR)


def test_modernbert_without_a_ranking_head(copy: Any) -> None:
    directory = copy("open-provence-ja")
    change(directory, "ranking_model.classifier.", random=False)
    with pytest.raises(
        CheckpointError, match="has no trained ranking head, and cannot be loaded for pruning only"
    ):
        load(directory)


def test_without_any_head(copy: Any) -> None:
    directory = copy("provence")
    change(directory, "token_classifier.", random=False)
    change(directory, "classifier.", random=True)
    with pytest.raises(CheckpointError, match="has no trained head: it can neither rank nor prune"):
        load(directory)


def change(directory: Path, head: str, random: bool) -> None:
    """Take a head away, or leave it as transformers makes it up: a bias of zeros."""
    tensors = load_file(directory / "model.safetensors")
    if random:
        tensors[f"{head}bias" if f"{head}bias" in tensors else f"{head}classifier.bias"].zero_()
    else:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(head)}
    save_file(tensors, directory / "model.safetensors")


def test_what_is_not_known_of_the_encoder(copy: Any) -> None:
    directory = copy("open-provence-ja")
    edit(directory, base_model_config=None)
    with pytest.raises(CheckpointError, match="has no base_model_config with a model_type"):
        load(directory)


def test_tensors_that_no_reading_explains(copy: Any) -> None:
    directory = copy("xprovence")
    rename(directory, ("roberta.encoder.", "roberta.body."))
    with pytest.raises(CheckpointError, match=r"missing roberta\.encoder\..*unexpected roberta\.body\."):
        load(directory)
