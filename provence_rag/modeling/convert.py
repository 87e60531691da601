"""Writing any readable checkpoint in a layout that loads without knowledge of its family."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from provence_rag.config import ProvenceConfig
from provence_rag.config_json import read_config_json, read_json_object
from provence_rag.errors import CheckpointError, InvalidInputError, MissingExtraError
from provence_rag.hub import EXPORTS
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling import ExportFormat, Format
from provence_rag.modeling.calibration_sample import sample_batches
from provence_rag.modeling.checkpoints import (
    PRUNING_LABELS,
    Checkpoint,
    check_vocabulary,
    label_settings,
    read_checkpoint,
)

try:
    from transformers import AutoModelForTokenClassification

    from provence_rag.modeling.model import ProvenceModel
except ImportError as error:
    raise MissingExtraError("Converting a checkpoint", "torch") from error

__all__ = ["as_cross_encoder", "as_token_classifier", "check_exporter", "convert", "write_export"]

_TOKENIZER_CONFIG = "tokenizer_config.json"
_CARD = "README.md"


def convert(
    source: str | Path,
    target: str | Path,
    to: Format = "safetensors",
    *,
    config: ProvenceConfig | None = None,
) -> None:
    """Write a checkpoint in another form: `config.json`, `tokenizer.json`, its card and one kind of weights.

    Args:
        source: A directory with any checkpoint that `ProvenceModel.from_pretrained` reads.
        target: The directory to write, which is created if it does not exist. It may hold another export of
            the same checkpoint.
        to: `safetensors` for torch; `onnx` (float32) and `onnx-int8` for ONNX Runtime; `openvino-int8` for
            OpenVINO; `token-classification`, only the pruning head, as a stock token classifier;
            `cross-encoder`, only the ranking head, as a stock sequence classifier.
        config: Replaces the checkpoint's own.

    Raises:
        InvalidInputError: `to` is unknown, or `target` holds something else.
        CheckpointError: The checkpoint cannot be read, or lacks the head that is asked for.
        MissingExtraError: Exporting to ONNX needs the extra `export`, to OpenVINO `export-openvino`.
    """
    if to not in get_args(Format):
        raise InvalidInputError(f"to must be one of {', '.join(get_args(Format))}, got {to!r}")
    export: Any = to if to in get_args(ExportFormat) else None
    if export:
        check_exporter(export)
    source, target = Path(source), Path(target)
    checkpoint = read_checkpoint(source)
    tokenizer = PairTokenizer.from_directory(checkpoint.tokenizer_directory, checkpoint.config.pair_template)
    check_vocabulary(checkpoint, tokenizer.num_ids)
    model = ProvenceModel.from_pretrained(source)
    if config is not None:
        model.provence_config = config
    if to == "token-classification":
        model = as_token_classifier(model)
    elif to == "cross-encoder":
        model = as_cross_encoder(model)
    _check_target(model, source, target)
    if export:
        model.save_config(target)
        write_export(model, tokenizer, target, export)
    else:
        model.save_pretrained(target)
    tokenizer.save(target)
    _write_tokenizer_config(checkpoint, model, target)
    if (source / _CARD).is_file():
        shutil.copyfile(source / _CARD, target / _CARD)  # the licence belongs to the weights


def check_exporter(to: ExportFormat) -> None:
    """Check that the libraries for an export are installed.

    Raises:
        MissingExtraError: They are not.
    """
    if to == "openvino-int8":
        import provence_rag.modeling.openvino
    else:
        import provence_rag.modeling.export  # noqa: F401


def write_export(model: ProvenceModel, tokenizer: PairTokenizer, directory: Path, to: ExportFormat) -> None:
    """Add an export for a CPU to a checkpoint's directory.

    Args:
        model: The model; it stays as it is.
        tokenizer: Its tokenizer, for the typical inputs on which scales are measured.
        directory: The checkpoint's directory; `provence_rag.hub.EXPORTS` says which file in it is written.
        to: What is written.

    Raises:
        CheckpointError: The architecture cannot be exported.
        MissingExtraError: Exporting to ONNX needs the extra `export`, to OpenVINO `export-openvino`.
    """
    backend, _, dtype = to.partition("-")
    path = directory / EXPORTS[backend][dtype or "float32"]
    if to == "onnx":
        from provence_rag.modeling.export import export_onnx

        export_onnx(model, path)
        return
    sample = sample_batches(tokenizer, model.provence_config)
    if to == "openvino-int8":
        from provence_rag.modeling.openvino import export_openvino

        export_openvino(model, path, sample)
        return
    from provence_rag.modeling.export import export_onnx
    from provence_rag.modeling.quantization import quantize_onnx

    with tempfile.TemporaryDirectory() as scratch:
        exact = Path(scratch) / "model.onnx"
        export_onnx(model, exact)
        quantize_onnx(exact, path, sample)


def as_cross_encoder(model: ProvenceModel) -> ProvenceModel:
    """The ranking half of a model, a stock sequence classifier that shares its weights.

    Raises:
        CheckpointError: The model has no ranking head.
    """
    if not model.provence_config.can_rank:
        raise CheckpointError("this checkpoint only prunes: a cross-encoder needs a ranking head")
    config = replace(model.provence_config, mode="ranking", hidden_states="final")
    return ProvenceModel(model.transformer, config).eval()


def as_token_classifier(model: ProvenceModel) -> ProvenceModel:
    """The pruning half of a model, as a stock token classifier with its own weights.

    Raises:
        CheckpointError: The model has no pruning head, or the head of its architecture's stock token
            classifier is not a linear layer on the encoder's output (as in ModernBERT).
    """
    if not model.provence_config.can_prune:
        raise CheckpointError("this checkpoint only ranks: a token classifier needs a pruning head")
    if model.pruning_head is None:
        return model
    labels = label_settings(*PRUNING_LABELS)
    hf_config = type(model.transformer.config).from_dict({**model.transformer.config.to_dict(), **labels})
    auto: Any = AutoModelForTokenClassification
    stock = auto.from_config(hf_config)
    encoder = f"{stock.base_model_prefix}."
    state = {n: t for n, t in model.transformer.state_dict().items() if n.startswith(encoder)}
    state |= {f"classifier.{name}": tensor for name, tensor in model.pruning_head.state_dict().items()}
    found = stock.load_state_dict(state, strict=False)
    surplus = [name for name in found.unexpected_keys if not name.startswith(f"{encoder}pooler.")]
    if found.missing_keys or surplus or model.provence_config.hidden_states != "final":
        raise CheckpointError(
            f"the pruning head cannot be written as a {type(stock).__name__}, which has a different kind of "
            "head: use safetensors or onnx"
        )
    return ProvenceModel(stock, replace(model.provence_config, mode="pruning")).eval()


def _check_target(model: ProvenceModel, source: Path, target: Path) -> None:
    """Refuse a directory that holds anything other than an export of the same checkpoint."""
    if target.is_file():
        raise InvalidInputError(f"directory={str(target)!r} is a file")
    if not target.is_dir() or not any(target.iterdir()):
        return
    with tempfile.TemporaryDirectory() as directory:
        model.save_config(directory)
        mine = read_config_json(Path(directory))
    if target.resolve() == source.resolve() or not (target / "config.json").is_file():
        raise InvalidInputError(f"directory={str(target)!r} is not empty: choose a new one")
    if read_config_json(target) != mine:
        raise InvalidInputError(f"directory={str(target)!r} holds another checkpoint: choose a new one")


def _write_tokenizer_config(checkpoint: Checkpoint, model: ProvenceModel, target: Path) -> None:
    """Write what stock classes need to use `tokenizer.json` as it is, and the special tokens."""
    path = checkpoint.tokenizer_directory / _TOKENIZER_CONFIG
    theirs = read_json_object(path) if path.is_file() else {}
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * model.uses_token_types
    settings = {
        **{name: value for name, value in theirs.items() if name.endswith("_token") and "add_" not in name},
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.provence_config.max_length,
        "model_input_names": inputs,
    }
    (target / _TOKENIZER_CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
