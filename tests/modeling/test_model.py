"""ProvenceModel against the stock classes of transformers and sentence-transformers."""

from __future__ import annotations

import copy
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

from provence_rag import InvalidInputError, Provence
from provence_rag.backends.torch import TorchBackend
from provence_rag.config import ProvenceConfig
from provence_rag.modeling.model import ProvenceModel, ProvenceModelOutput

PAIRS = [
    ("what is hot", "the tea is hot . the rain is cold ."),
    ("where sat the dog", "the old dog sat on a red mat"),
    ("who", "rain"),
]


def as_tensors(encoder: str, batch: Any) -> dict[str, Tensor]:
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (encoder == "bert")
    return {name: torch.from_numpy(array) for name, array in zip(names, batch, strict=False)}


def run(model: ProvenceModel, encoder: str, batch: Any) -> ProvenceModelOutput:
    with torch.inference_mode():
        output: ProvenceModelOutput = model(**as_tensors(encoder, batch))
    return output


def assert_same(one: ProvenceModelOutput, other: ProvenceModelOutput) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def edit_config(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


# The forward pass


def test_it_has_the_heads_of_its_mode(make_model: Any, make_batch: Any, encoder: str, mode: str) -> None:
    output = run(make_model(encoder, mode), encoder, make_batch(encoder, rows=3, tokens=20))
    shapes = [None if logits is None else tuple(logits.shape) for logits in output]
    assert shapes == [None if mode == "pruning" else (3,), None if mode == "ranking" else (3, 20, 2)]


def test_the_encoder_runs_once(make_model: Any, make_batch: Any, encoder: str, mode: str) -> None:
    model = make_model(encoder, mode)
    calls: list[str] = []
    for name, module in model.transformer.base_model.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    run(model, encoder, make_batch(encoder))
    assert calls.count("") == 1
    layers = [name for name in calls if re.search(r"layers?\.\d+$", name)]
    assert len(layers) == len(set(layers)) == 2


@pytest.mark.parametrize("mode", ["joint", "ranking"])
def test_ranking_is_that_of_the_stock_classifier(
    make_model: Any, make_batch: Any, encoder: str, mode: str
) -> None:
    batch = make_batch(encoder)
    model = make_model(encoder, mode)
    stock = AutoModelForSequenceClassification.from_config(model.transformer.config).eval()
    stock.load_state_dict(model.transformer.state_dict())
    with torch.inference_mode():
        expected = stock(**as_tensors(encoder, batch)).logits
    output = run(model, encoder, batch)
    assert expected.std() > 0.1  # else equality would say little
    assert output.ranking_logits.tolist() == expected[:, 0].tolist()


def test_pruning_reads_the_last_hidden_states(
    make_model: Any, make_batch: Any, checkpoint: Any, encoder: str
) -> None:
    batch = make_batch(encoder)
    model = make_model(encoder, "joint")
    stock = AutoModel.from_pretrained(checkpoint(encoder, "joint")).eval()
    with torch.inference_mode():
        hidden_states = stock(**as_tensors(encoder, batch)).last_hidden_state
        expected = model.pruning_head(hidden_states)
    torch.testing.assert_close(run(model, encoder, batch).pruning_logits, expected, rtol=0, atol=1e-6)


def test_a_pruning_only_model_is_the_stock_token_classifier(
    make_model: Any, make_batch: Any, checkpoint: Any, encoder: str
) -> None:
    batch = make_batch(encoder)
    stock = AutoModelForTokenClassification.from_pretrained(checkpoint(encoder, "pruning")).eval()
    assert stock.config.id2label == {0: "DROP", 1: "KEEP"}
    assert stock.config.label2id == {"DROP": 0, "KEEP": 1}
    with torch.inference_mode():
        expected = stock(**as_tensors(encoder, batch)).logits
    output = run(make_model(encoder, "pruning"), encoder, batch)
    torch.testing.assert_close(output.pruning_logits, expected, rtol=0, atol=1e-6)


def test_padding_changes_nothing(make_model: Any, make_batch: Any, encoder: str, mode: str) -> None:
    model = make_model(encoder, mode)
    ids, mask, types = make_batch(encoder, rows=3, tokens=20)
    together = run(model, encoder, (ids, mask, types))
    for row, length in enumerate(mask.sum(1)):
        alone = run(model, encoder, [array[row : row + 1, :length] for array in (ids, mask, types)])
        if alone.ranking_logits is not None:
            torch.testing.assert_close(
                together.ranking_logits[row : row + 1], alone.ranking_logits, rtol=0, atol=1e-5
            )
        if alone.pruning_logits is not None:
            torch.testing.assert_close(
                together.pruning_logits[row, :length], alone.pruning_logits[0], rtol=0, atol=1e-5
            )


def test_gradients_reach_both_heads_and_the_encoder(make_model: Any, make_batch: Any, encoder: str) -> None:
    model = make_model(encoder, "joint").train()
    output = model(**as_tensors(encoder, make_batch(encoder)))
    output.ranking_logits.sum().backward(retain_graph=True)
    assert model.pruning_head.weight.grad is None
    output.pruning_logits[..., 1].sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # What a key's bias adds to all scores of a query, softmax takes away.
    assert [name for name in without if not name.endswith("key.bias") and "key_proj" not in name] == []


def test_threads_may_share_a_model(make_model: Any, make_batch: Any) -> None:
    model = make_model("bert", "joint")
    batches = [make_batch("bert", rows=1 + i % 5, tokens=8 + i % 11) for i in range(64)]
    expected = [run(model, "bert", batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(pool.map(lambda b: run(model, "bert", b), batches), expected, strict=True):
            assert_same(one, other)


def test_nothing_is_left_behind_by_a_pass(make_model: Any, make_batch: Any) -> None:
    from provence_rag.modeling import model as module

    model = make_model("bert", "joint")
    model.transformer(**as_tensors("bert", make_batch("bert")))  # as a stock CrossEncoder would
    run(model, "bert", make_batch("bert"))
    with pytest.raises(IndexError):  # an id that has no embedding
        model(torch.full((1, 4), 999), torch.ones(1, 4, dtype=torch.long))
    assert module._seen.get() is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_a_model_of_its_own(make_model: Any, make_batch: Any, copied: Any) -> None:
    model = make_model("bert", "joint")
    twin = copied(model)
    batch = make_batch("bert")
    expected = run(model, "bert", batch)
    assert_same(run(twin, "bert", batch), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert_same(run(model, "bert", batch), expected)
    assert not run(twin, "bert", batch).pruning_logits.any()


def test_activation_checkpointing_gives_the_same_gradients(make_model: Any, make_batch: Any) -> None:
    grads = []
    for checkpointing in (False, True):
        model = make_model("bert", "joint")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            older = not hasattr(model.transformer, "activation_checkpointing_enable")
            getattr(model, f"{'gradient' if older else 'activation'}_checkpointing_enable")()
        output = model.train()(**as_tensors("bert", make_batch("bert")))
        (output.ranking_logits.sum() + output.pruning_logits.square().sum()).backward()
        grads.append([p.grad for p in model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_a_transformer_with_another_number_of_labels_is_refused(make_model: Any) -> None:
    classifier = make_model("bert", "pruning").transformer
    with pytest.raises(InvalidInputError) as raised:
        ProvenceModel(classifier, ProvenceConfig(mode="joint"))
    assert str(raised.value) == "transformer must have 1 label(s) in mode 'joint', got 2"


# Saving and loading


def test_save_and_load(
    make_model: Any, make_batch: Any, checkpoint: Any, tmp_path: Path, encoder: str, mode: str
) -> None:
    model = make_model(encoder, mode)
    loaded = ProvenceModel.from_pretrained(checkpoint(encoder, mode))
    assert loaded.provence_config == model.provence_config
    assert not loaded.training
    assert_same(run(loaded, encoder, make_batch(encoder)), run(model, encoder, make_batch(encoder)))
    loaded.save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (checkpoint(encoder, mode) / name).read_bytes()


def test_the_tensors_have_stock_names(make_model: Any, checkpoint: Any, encoder: str, mode: str) -> None:
    names = set(load_file(checkpoint(encoder, mode) / "model.safetensors"))
    heads = {"pruning_head.weight", "pruning_head.bias"} if mode == "joint" else set()
    assert names == set(make_model(encoder, mode).transformer.state_dict()) | heads


def test_loading_draws_no_random_numbers(checkpoint: Any, encoder: str, mode: str) -> None:
    state = torch.get_rng_state()
    model = ProvenceModel.from_pretrained(checkpoint(encoder, mode))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.nn.Linear(4, 4).weight.any()  # outside of loading, modules are made as ever


def test_saving_leaves_the_model_as_it_was(make_model: Any, tmp_path: Path) -> None:
    model = make_model("bert", "joint").train()
    before = model.transformer.config.to_dict()
    model.save_pretrained(tmp_path, dtype=torch.float16)
    assert model.transformer.config.to_dict() == before
    assert model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_as_float32(
    make_model: Any, make_batch: Any, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = make_model("bert", "joint")
    model.save_pretrained(tmp_path, dtype=dtype)
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {dtype}
    loaded = ProvenceModel.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert_same(
        run(loaded, "bert", make_batch("bert")), run(model.to(dtype).float(), "bert", make_batch("bert"))
    )


def test_shards_are_loaded(checkpoint: Any, make_batch: Any, broken: Path) -> None:
    tensors = list(load_file(broken / "model.safetensors").items())
    (broken / "model.safetensors").unlink()
    save_file(dict(tensors[:9]), broken / "model-00001-of-00002.safetensors")
    save_file(dict(tensors[9:]), broken / "model-00002-of-00002.safetensors")
    whole = ProvenceModel.from_pretrained(checkpoint("bert", "joint"))
    sharded = ProvenceModel.from_pretrained(broken)
    assert_same(run(sharded, "bert", make_batch("bert")), run(whole, "bert", make_batch("bert")))


@pytest.mark.parametrize("mode", ["joint", "pruning"])
def test_fresh_heads_on_a_pretrained_encoder(checkpoint: Any, tmp_path: Path, mode: str) -> None:
    encoder = AutoModel.from_pretrained(checkpoint("bert", "joint"))
    encoder.save_pretrained(tmp_path)
    config = ProvenceConfig(mode=mode, max_length=64)
    model = ProvenceModel.from_encoder(str(tmp_path), config, hidden_dropout_prob=0.0)
    assert model.provence_config is config
    assert model.transformer.config.hidden_dropout_prob == 0.0
    assert model.transformer.config.num_labels == (1 if mode == "joint" else 2)
    for name, parameter in model.transformer.base_model.named_parameters():
        torch.testing.assert_close(parameter, encoder.get_parameter(name))


def test_the_old_names_of_layer_normalisation(checkpoint: Any, make_batch: Any, broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    old = {
        re.sub(
            r"(?<=LayerNorm\.)(weight|bias)$", lambda m: {"weight": "gamma", "bias": "beta"}[m[0]], name
        ): t
        for name, t in tensors.items()
    }
    assert len(old.keys() - tensors.keys()) == 10
    save_file(old, broken / "model.safetensors")
    whole = ProvenceModel.from_pretrained(checkpoint("bert", "joint"))
    found = ProvenceModel.from_pretrained(broken)
    assert_same(run(found, "bert", make_batch("bert")), run(whole, "bert", make_batch("bert")))


def test_the_stored_positions_of_old_checkpoints_are_passed_over(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    positions = {"bert.embeddings.position_ids": torch.arange(66)[None]}
    save_file({**tensors, **positions}, broken / "model.safetensors")
    ProvenceModel.from_pretrained(broken)


# The facade, and sentence-transformers


@pytest.mark.parametrize("encoder", ["bert", "xlm_roberta", "modernbert"])
def test_a_stock_cross_encoder_gives_the_same_scores(checkpoint: Any, encoder: str) -> None:
    directory = checkpoint(encoder, "joint")
    ours = Provence.from_pretrained(directory, backend="torch", device="cpu")
    stock = CrossEncoder(str(directory), device="cpu")
    expected = stock.predict(PAIRS)
    assert expected.std() > 0.01
    np.testing.assert_allclose(ours.predict(PAIRS), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "ids", "types"),
    [
        ("bert", [1, 9, 2, 20, 5, 2], [0, 0, 0, 1, 1, 1]),
        ("xlm_roberta", [0, 9, 2, 2, 20, 5, 2], [0] * 7),
    ],
)
def test_special_tokens_and_types_of_a_pair(
    checkpoint: Any, monkeypatch: pytest.MonkeyPatch, encoder: str, ids: list[int], types: list[int]
) -> None:
    seen: list[list[list[int]]] = []
    original = TorchBackend.run

    def spy(self: TorchBackend, *arrays: Any) -> Any:
        seen.append([array[0].tolist() for array in arrays])
        return original(self, *arrays)

    monkeypatch.setattr(TorchBackend, "run", spy)
    directory = checkpoint(encoder, "joint")
    Provence.from_pretrained(directory, backend="torch", device="cpu").predict(("on", "tea a"))
    assert seen == [[ids, [1] * len(ids), types]]
    stock = CrossEncoder(str(directory), device="cpu").tokenizer("on", "tea a")
    assert stock["input_ids"] == ids
    assert stock.get("token_type_ids", types) == types


@pytest.mark.parametrize(
    ("settings", "activation"),
    [
        ({}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, "sigmoid"),
    ],
)
def test_a_stock_cross_encoder_is_loaded_as_ranking_only(
    broken: Path, settings: dict[str, Any], activation: str
) -> None:
    stock = AutoModelForSequenceClassification.from_pretrained(broken)
    (broken / "model.safetensors").unlink()
    stock.save_pretrained(broken)
    edit_config(broken, **{"provence": None, "sentence_transformers": None, **settings})
    ours = Provence.from_pretrained(broken, backend="torch", device="cpu")
    assert (ours.config.mode, ours.config.score_activation) == ("ranking", activation)
    expected = CrossEncoder(str(broken), device="cpu").predict(PAIRS)
    np.testing.assert_allclose(ours.predict(PAIRS), expected, rtol=0, atol=1e-6)


def test_what_a_cross_encoder_saves_is_loaded(checkpoint: Any, tmp_path: Path) -> None:
    stock = CrossEncoder(str(checkpoint("bert", "ranking")), device="cpu")
    stock.save_pretrained(str(tmp_path), create_model_card=False)
    edit_config(tmp_path, provence=None)
    ours = Provence.from_pretrained(tmp_path, backend="torch", device="cpu")
    assert ours.config.mode == "ranking"
    np.testing.assert_allclose(ours.predict(PAIRS), stock.predict(PAIRS), rtol=0, atol=1e-5)


# The backend


def test_the_backend_gives_what_the_model_gives(
    make_model: Any, make_batch: Any, encoder: str, mode: str
) -> None:
    batch = make_batch(encoder)
    expected = run(make_model(encoder, mode), encoder, batch)
    logits = TorchBackend(make_model(encoder, mode).train(), device="cpu").run(*batch)
    for array, tensor in zip((logits.ranking, logits.pruning), expected, strict=True):
        assert (array is None) == (tensor is None)
        if array is not None:
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_comes_back_as_float32(make_model: Any, make_batch: Any, dtype: str) -> None:
    batch = make_batch("bert")
    exact = run(make_model("bert", "joint"), "bert", batch)
    logits = TorchBackend(make_model("bert", "joint"), device="cpu", dtype=dtype).run(*batch)
    assert logits.ranking.dtype == logits.pruning.dtype == np.float32
    np.testing.assert_allclose(logits.ranking, exact.ranking_logits.numpy(), atol=0.2)


def test_a_device_that_is_not_there(make_model: Any) -> None:
    with pytest.raises(InvalidInputError, match="device='nonsense' cannot be used: "):
        TorchBackend(make_model("bert", "joint"), device="nonsense")


def test_an_unknown_dtype(make_model: Any) -> None:
    with pytest.raises(InvalidInputError) as raised:
        TorchBackend(make_model("bert", "joint"), device="cpu", dtype="int8")
    assert str(raised.value) == "dtype must be one of float32, float16, bfloat16, got 'int8'"
