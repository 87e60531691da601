"""Checkpoints made to harm: a clear error, without running anything or filling the memory."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models

from provence_rag import CheckpointError, Provence

KILOBYTES = 300_000


@pytest.fixture
def victim(miniature: Any, tmp_path: Path) -> Path:
    """A copy of a miniature, to be tampered with."""
    return Path(shutil.copytree(miniature("xprovence").directory, tmp_path / "victim"))


@pytest.fixture(autouse=True)
def _takes_little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES


def refused(directory: Path, *parts: str) -> str:
    with pytest.raises(CheckpointError) as raised:
        Provence.from_pretrained(directory, backend="torch", device="cpu")
    for part in parts:
        assert part in str(raised.value)
    return str(raised.value)


def edit(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# Pickles


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["plain", "torch", "legacy torch", "beside tensors"])
def test_a_pickle_that_would_run_something(victim: Path, tmp_path: Path, kind: str) -> None:
    tensors: dict[str, Any] = load_file(victim / "model.safetensors")
    (victim / "model.safetensors").unlink()
    path, trace = victim / "pytorch_model.bin", tmp_path / "trace"
    if kind == "plain":
        path.write_bytes(pickle.dumps({"a": Bomb(trace)}))
    elif kind == "beside tensors":
        torch.save({**tensors, "a": Bomb(trace)}, path)
    else:
        torch.save({"a": Bomb(trace)}, path, _use_new_zipfile_serialization=kind == "torch")
    message = refused(victim, f"{path} is damaged, or holds more than named tensors; no code in it was run")
    assert "weights_only=False" not in message
    assert not trace.exists()


def test_the_pickle_would_run_something(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 not a zip"])
def test_pickled_weights_that_are_damaged(victim: Path, content: bytes) -> None:
    (victim / "model.safetensors").unlink()
    (victim / "pytorch_model.bin").write_bytes(content)
    refused(victim, "pytorch_model.bin is damaged")


@pytest.mark.parametrize("content", [[torch.ones(1)], {"step": 3}, torch.ones(1)])
def test_pickled_weights_of_another_form(victim: Path, content: Any) -> None:
    (victim / "model.safetensors").unlink()
    torch.save(content, victim / "pytorch_model.bin")
    refused(victim, "holds more than named tensors")


def test_a_pickle_beside_safetensors_is_not_opened(victim: Path, tmp_path: Path) -> None:
    (victim / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    Provence.from_pretrained(victim, backend="torch", device="cpu")
    assert not (tmp_path / "trace").exists()


def test_an_old_torch_does_not_read_pickles(victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(load_file(victim / "model.safetensors"), victim / "pytorch_model.bin")
    (victim / "model.safetensors").unlink()
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    refused(
        victim,
        "pytorch_model.bin is a pickle, which torch 2.5.1+cpu cannot read safely: use torch 2.6 or newer",
    )


# Code


def test_code_of_a_checkpoint_is_not_run(victim: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name in ("modeling_xprovence_hf.py", "configuration.py", "tokenization.py"):
        (victim / name).write_text(f"open({str(trace)!r}, 'w')")
    edit(victim, auto_map={"AutoConfig": "configuration.C", "AutoModel": "modeling_xprovence_hf.XProvence"})
    settings = json.loads((victim / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["tokenization.T", None]}
    (victim / "tokenizer_config.json").write_text(json.dumps(settings))
    Provence.from_pretrained(victim, backend="torch", device="cpu").predict(("who", "water"))
    assert not trace.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel"},
        {"_attn_implementation_internal": "somebody/kernel"},
        {"quantization_config": {"quant_method": "somebody"}},
        {"_name_or_path": "/etc"},
        {"name_or_path": "/etc"},
    ],
)
def test_settings_that_name_code_or_files_are_passed_over(victim: Path, miniature: Any, values: Any) -> None:
    edit(victim, **values)
    pair = ("who invented coffee", "The paper filter.")
    loaded = Provence.from_pretrained(victim, backend="torch", device="cpu")
    expected = Provence.from_pretrained(miniature("xprovence").directory, backend="torch", device="cpu")
    assert loaded.predict(pair) == expected.predict(pair)
    assert loaded.backend.model.transformer.config._attn_implementation == "sdpa"  # type: ignore[attr-defined]


# Sizes


@pytest.mark.parametrize("family", ["provence", "open-provence-ja"])
@pytest.mark.parametrize("value", [10**12, -5, 0.5, "many", True])
@pytest.mark.parametrize(
    "name", ["hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size"]
)
def test_sizes_that_no_weights_have(
    miniature: Any, tmp_path: Path, family: str, name: str, value: Any
) -> None:
    victim = Path(shutil.copytree(miniature(family).directory, tmp_path / "victim"))
    settings = json.loads((victim / "config.json").read_text())
    settings.get("base_model_config", settings)[name] = value
    (victim / "config.json").write_text(json.dumps(settings))
    refused(victim, str(victim), name, repr(value))


@pytest.mark.parametrize("family", ["provence", "xprovence", "open-provence-ja"])
def test_sizes_that_are_only_wrong(miniature: Any, tmp_path: Path, family: str) -> None:
    for name, value in (
        ("hidden_size", 16),
        ("intermediate_size", 24),
        ("num_hidden_layers", 1),
        ("vocab_size", 9),
    ):
        victim = Path(shutil.copytree(miniature(family).directory, tmp_path / name))
        settings = json.loads((victim / "config.json").read_text())
        settings.get("base_model_config", settings)[name] = value
        (victim / "config.json").write_text(json.dumps(settings))
        refused(victim, str(victim))


@pytest.mark.parametrize("value", [10**12, -1])
@pytest.mark.parametrize("name", ["max_position_embeddings", "type_vocab_size"])
def test_tables_that_no_weights_have(victim: Path, name: str, value: int) -> None:
    edit(victim, **{name: value})
    refused(victim, str(victim))


@pytest.mark.parametrize("name", ["position_buckets", "max_relative_positions"])
def test_relative_positions_that_no_weights_have(miniature: Any, tmp_path: Path, name: str) -> None:
    victim = Path(shutil.copytree(miniature("provence").directory, tmp_path / "victim"))
    edit(victim, **{"position_buckets": -1, name: 10**12})
    refused(victim, str(victim))


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"max_length": -3}, "max_length must be an integer >= 16, got -3"),
        ({"max_length": "long"}, "max_length 'long', which cannot be used"),
        ({"max_length": True}, "max_length True, which cannot be used"),
        ({"default_threadshold": 7}, "must be a number between 0 and 1, got 7"),
        ({"default_threadshold": "high"}, "default_threadshold 'high': not a number"),
        ({"default_threadshold": [1]}, "default_threadshold [1]: not a number"),
        ({"base_model_config": [1]}, "has no base_model_config with a model_type"),
        ({"base_model_config": {"model_type": 3}}, "has no base_model_config with a model_type"),
        ({"base_model_config": {"model_type": "no_such_model"}}, "transformers cannot build a model from"),
        ({"architectures": 3, "model_type": ["x"]}, ""),
    ],
)
def test_settings_that_cannot_be_used(miniature: Any, tmp_path: Path, values: Any, part: str) -> None:
    victim = Path(shutil.copytree(miniature("open-provence-ja").directory, tmp_path / "victim"))
    edit(victim, **values)
    if part:
        refused(victim, part)
    else:  # its tensors still say what it is
        Provence.from_pretrained(victim, backend="torch", device="cpu")


@pytest.mark.parametrize("pad", [-4, "pad", 10**9, 1.5])
def test_a_padding_token_that_is_none(victim: Path, pad: Any) -> None:
    edit(victim, pad_token_id=pad)
    refused(victim, str(victim))


# Files


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.99])
def test_truncated_weights(victim: Path, keep: float) -> None:
    path = victim / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(victim, f"{path} cannot be read")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1 << 40, 1 << 20], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [1 << 50, (1 << 50) + 4]}},
        {"a": {"dtype": "EVIL", "shape": [1], "data_offsets": [0, 4]}},
        {"a": "b"},
        [],
    ],
)
def test_a_header_that_lies(victim: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    path = victim / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    refused(victim, f"{path} cannot be read")


def test_a_header_without_end(victim: Path) -> None:
    path = victim / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    refused(victim, f"{path} cannot be read")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_a_link_out_of_the_directory(victim: Path, tmp_path: Path, name: str) -> None:
    (victim / name).rename(tmp_path / "secret")
    (victim / name).symlink_to(tmp_path / "secret")
    refused(victim, f"{victim / name} is a link out of the checkpoint: copy the file that it points to")


def test_a_link_of_a_folder(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.onnx").touch()
    (victim / "onnx").symlink_to(tmp_path / "elsewhere")
    refused(victim, f"{victim / 'onnx' / 'model.onnx'} is a link out of the checkpoint")


def test_links_of_the_hubs_cache_are_followed(victim: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    blobs = tmp_path / "models--owner--name" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in victim.iterdir():
        shutil.copyfile(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    Provence.from_pretrained(snapshot, backend="torch", device="cpu")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(victim / "config.json")
    refused(snapshot, "is a link out of the checkpoint")


def test_a_directory_that_is_itself_a_link(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(victim)
    Provence.from_pretrained(tmp_path / "link", backend="torch", device="cpu")


# Tokenizers


def test_a_tokenizer_without_the_special_tokens(victim: Path, miniature: Any) -> None:
    shutil.copyfile(miniature("provence").directory / "tokenizer.json", victim / "tokenizer.json")
    refused(
        victim, "tokenizer.json has no <s> and no </s>, which the checkpoint puts around query and passage"
    )


def test_a_tokenizer_with_more_tokens_than_embeddings(victim: Path) -> None:
    tokenizer = Tokenizer.from_file(str(victim / "tokenizer.json"))
    count = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["more"])
    tokenizer.save(str(victim / "tokenizer.json"))
    refused(victim, f"tokenizer.json has {count + 1} token ids, but the model's vocab_size is {count}:")


def test_a_tokenizer_with_an_id_of_its_own_choice(victim: Path) -> None:
    path = victim / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append({**content["added_tokens"][-1], "id": 10**6, "content": "<more>"})
    path.write_text(json.dumps(content))
    refused(victim, "tokenizer.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": {"type": "Unigram"}}', b"\xff\xfe"])
def test_a_tokenizer_that_is_none(victim: Path, content: bytes) -> None:
    (victim / "tokenizer.json").write_bytes(content)
    refused(victim, f"{victim / 'tokenizer.json'} is not a tokenizer")


def test_a_tokenizer_of_one_word(victim: Path) -> None:
    Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>")).save(str(victim / "tokenizer.json"))
    model = Provence.from_pretrained(victim, backend="torch", device="cpu")
    model.process("who", ["water. coffee."])  # nonsense, but no crash


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_tokenizer_config_that_is_none(miniature: Any, tmp_path: Path, content: str) -> None:
    victim = Path(shutil.copytree(miniature("open-provence-ja").directory, tmp_path / "victim"))
    (victim / "tokenizer_config.json").write_text(content)
    refused(victim, str(victim / "tokenizer_config.json"))


def test_messages_are_in_one_piece(victim: Path) -> None:
    edit(victim, hidden_size=10**12)
    message = refused(victim)
    expected = (
        f"{victim}/config.json has hidden_size 1000000000000, but its weights allow an integer from 0 to "
    )
    assert re.fullmatch(rf"{re.escape(expected)}\d+", message)
