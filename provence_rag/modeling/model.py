"""ProvenceModel: one encoder pass, a ranking head and a pruning head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from provence_rag.config import ProvenceConfig
from provence_rag.config_json import architecture_of
from provence_rag.errors import CheckpointError, InvalidInputError, MissingExtraError
from provence_rag.modeling.checkpoints import (
    PRUNING_LABELS,
    Checkpoint,
    StoredTensors,
    check_sizes,
    label_settings,
    read_checkpoint,
)

try:
    import torch
    from safetensors.torch import save_file
    from torch import Tensor, nn
    from torch.overrides import TorchFunctionMode
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        PreTrainedModel,
    )
except ModuleNotFoundError as error:  # pragma: no cover - exercised in an environment without torch
    raise MissingExtraError("The torch model", "torch") from error

__all__ = ["ProvenceModel", "ProvenceModelOutput", "new_pruning_head", "read_pruning_head"]

_WEIGHTS = "model.safetensors"
_TRANSFORMER, _PRUNING_HEAD = "transformer.", "pruning_head."

_ACTIVATIONS = {
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
    "identity": "torch.nn.modules.linear.Identity",
}
"""The names of the activations in sentence-transformers."""

_seen: ContextVar[list[Tensor] | None] = ContextVar("_seen", default=None)
"""Receives the encoder's output while the forward pass of a joint model runs. Each thread has its own list,
so threads may share a model. It is not an attribute of the model, which would be copied and pickled."""


def _show_output(_encoder: nn.Module, _inputs: Any, output: Any) -> None:
    seen = _seen.get()
    if seen is not None:
        seen.append(output[0])


def _show_input(_norm: nn.Module, inputs: Any) -> None:
    seen = _seen.get()
    if seen is not None:
        seen.append(inputs[0])


class ProvenceModelOutput(NamedTuple):
    """The output of one forward pass."""

    ranking_logits: Tensor | None
    """Relevance logits, shape (B,); None without a ranking head."""

    pruning_logits: Tensor | None
    """Drop and keep logits of every token, shape (B, T, 2); None without a pruning head."""


class ProvenceModel(nn.Module):
    """A cross-encoder that ranks a passage and labels its tokens in one pass.

    After Provence (Chirkova et al., ICLR 2025, arXiv 2501.16214, section 3). The ranking half is a stock
    `transformers` sequence classifier, whose forward pass runs unchanged, so a stock CrossEncoder gives the
    same scores. The pruning head is a linear layer on the last hidden states of the same pass. A
    pruning-only model is a stock token classifier.

    Args:
        transformer: A sequence classifier with one label (modes `joint` and `ranking`), or a token classifier
            with two (mode `pruning`).
        config: Its `mode` says which heads there are.
        pruning_head: The layer of a joint model that computes each token's drop and keep logits; None creates
            an untrained one.

    Raises:
        InvalidInputError: The transformer is of another type, or has the wrong number of labels.
    """

    def __init__(
        self, transformer: PreTrainedModel, config: ProvenceConfig, pruning_head: nn.Linear | None = None
    ) -> None:
        super().__init__()
        if not isinstance(transformer, PreTrainedModel):
            raise InvalidInputError(
                f"transformer must be a model of transformers in torch, got {type(transformer).__name__}"
            )
        labels = 1 if config.can_rank else len(PRUNING_LABELS)
        if transformer.config.num_labels != labels:
            raise InvalidInputError(
                f"transformer must have {labels} label(s) in mode {config.mode!r}, "
                f"got {transformer.config.num_labels}"
            )
        self.provence_config = config
        self.transformer = transformer
        self.pruning_head: nn.Linear | None = None
        if config.mode == "joint":
            self.pruning_head = pruning_head or nn.Linear(transformer.config.hidden_size, len(PRUNING_LABELS))
            self.dropout = nn.Dropout(getattr(transformer.config, "hidden_dropout_prob", 0.0))
            # The stock forward pass returns only logits. With output_hidden_states it would store those of
            # all layers; the hook sees the last ones.
            if config.hidden_states == "final":
                encoder = transformer.base_model
                if _show_output not in encoder._forward_hooks.values():  # models may share an encoder
                    encoder.register_forward_hook(_show_output)
            else:
                norm = _final_norm(transformer)
                if _show_input not in norm._forward_pre_hooks.values():
                    norm.register_forward_pre_hook(_show_input)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> ProvenceModelOutput:
        """Run the encoder once.

        Args:
            input_ids: Token ids, shape (B, T).
            attention_mask: 1 for tokens, 0 for padding, shape (B, T).
            token_type_ids: Segment ids, shape (B, T), for encoders that have them.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        seen: list[Tensor] = []
        token = _seen.set(seen)
        try:
            logits = self.transformer(**inputs).logits
        finally:
            _seen.reset(token)
        if not self.provence_config.can_rank:
            return ProvenceModelOutput(None, logits)  # (B, T, 2)
        ranking_logits = logits[:, 0]  # (B,)
        if self.pruning_head is None:
            return ProvenceModelOutput(ranking_logits, None)
        hidden_states = self.dropout(seen[-1])  # (B, T, H)
        return ProvenceModelOutput(ranking_logits, self.pruning_head(hidden_states))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.transformer.device

    @property
    def uses_token_types(self) -> bool:
        """Whether the encoder has more than one segment embedding."""
        return getattr(self.transformer.config, "type_vocab_size", 0) > 1

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """Trade time for memory in training; transformers' Trainer calls this if its arguments ask for it."""
        self.transformer.activation_checkpointing_enable(**settings)

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """`activation_checkpointing_enable`, under the name in older releases of transformers."""
        self.transformer.gradient_checkpointing_enable(**settings)  # type: ignore[no-untyped-call]

    @classmethod
    def from_encoder(cls, name_or_path: str, config: ProvenceConfig, **kwargs: Any) -> ProvenceModel:
        """Put untrained heads on a pretrained encoder.

        Args:
            name_or_path: Anything that transformers' AutoModel loads.
            config: Its `mode` says which heads to create.
            **kwargs: Passed to `from_pretrained` (e.g. `attention_probs_dropout_prob=0.0`).
        """
        kwargs = {"dtype": torch.float32, "use_safetensors": True, **kwargs}
        if config.can_rank:
            kwargs["num_labels"] = 1
        else:
            kwargs |= label_settings(*PRUNING_LABELS)
        return cls(_auto_class(config).from_pretrained(name_or_path, **kwargs), config)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> ProvenceModel:
        """Load a trained checkpoint from a directory, in float32 and evaluation mode.

        Reads only `config.json` and the weights: safetensors, or without them a `pytorch_model.bin` that
        holds only tensors. Runs no code of the checkpoint. Also knows the layouts of other projects: see
        `provence_rag.modeling.checkpoints`.

        Raises:
            CheckpointError: A file is missing, a head is missing, or the weights do not fit the config.
        """
        checkpoint = read_checkpoint(Path(directory))
        shapes = checkpoint.tensors.shapes()
        check_sizes(checkpoint, shapes)
        # On the meta device, which takes no memory, to see whether the weights fit.
        with torch.device("meta"):
            cls._made_for(checkpoint)._load({n: torch.empty(s) for n, s in shapes.items()}, checkpoint)
        with torch.no_grad(), _ZeroFilled():
            model = cls._made_for(checkpoint)
        model._load(checkpoint.tensors.load(), checkpoint)
        return model.eval()

    @classmethod
    def _made_for(cls, checkpoint: Checkpoint) -> ProvenceModel:
        settings = dict(checkpoint.model_settings)
        try:
            hf_config = AutoConfig.for_model(str(settings.pop("model_type", None)), **settings)
            transformer = _auto_class(checkpoint.config).from_config(hf_config, dtype=torch.float32)
            model = cls(transformer, checkpoint.config)
        except Exception as error:  # transformers' own have no common base
            raise CheckpointError(
                f"transformers cannot build a model from {checkpoint.directory}/config.json: {error}"
            ) from error
        architecture = architecture_of(settings)
        if architecture and architecture != type(transformer).__name__:
            raise CheckpointError(
                f"{checkpoint.directory}/config.json names the architecture {architecture}, but transformers "
                f"builds a {type(transformer).__name__} from it: code of a checkpoint is never run"
            )
        return model

    def _load(self, stored: dict[str, Tensor], checkpoint: Checkpoint) -> None:
        state = {
            name if name.startswith(_PRUNING_HEAD) else _TRANSFORMER + name: tensor
            for name, tensor in checkpoint.renamed(stored).items()
        }
        where = f"the weights in {checkpoint.directory} do not fit its config.json"
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:  # shapes that do not fit
            raise CheckpointError(f"{where}: {str(error).replace(_TRANSFORMER, '')}") from error
        if missing or unexpected:
            found = f"missing {_listed(missing)}; unexpected {_listed(unexpected)}"
            raise CheckpointError(f"{where}: {found}")

    def save_pretrained(self, directory: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write `config.json` and `model.safetensors`.

        The tensors have the names of the stock transformers class, plus `pruning_head.*`, so
        sentence-transformers' CrossEncoder (for a pruning-only model AutoModelForTokenClassification) loads
        the directory.

        Args:
            directory: Created if it does not exist. It also needs a `tokenizer.json`, not written here.
            dtype: The type in which weights are stored. They are loaded as float32 in any case.
        """
        directory = Path(directory)
        self.save_config(directory, dtype=dtype)
        state = {
            name.removeprefix(_TRANSFORMER): tensor.detach().to("cpu", dtype).contiguous()
            for name, tensor in self.state_dict().items()
        }
        save_file(state, directory / _WEIGHTS, metadata={"format": "pt"})

    def save_config(self, directory: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write only `config.json`; the arguments are those of `save_pretrained`."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        hf_config = copy.deepcopy(self.transformer.config)
        hf_config.architectures = [type(self.transformer).__name__]
        hf_config.dtype = dtype
        hf_config.provence = self.provence_config.to_dict()
        if self.provence_config.can_rank:
            activation = _ACTIVATIONS[self.provence_config.score_activation]
            hf_config.sentence_transformers = {"activation_fn": activation}
        hf_config.save_pretrained(directory)


def read_pruning_head(directory: Path, transformer: PreTrainedModel) -> nn.Linear:
    """Read the pruning head of a joint checkpoint, for use with a transformer.

    Returns:
        A layer on the transformer's device and in its dtype.

    Raises:
        CheckpointError: The checkpoint has no pruning head, or one that does not fit the transformer.
    """
    weights = StoredTensors.in_directory(directory).load(_PRUNING_HEAD)
    if not weights:
        raise CheckpointError(
            f"the weights in {directory} have no pruning head: the class that saved them leaves it out"
        )
    head = nn.Linear(transformer.config.hidden_size, len(PRUNING_LABELS))
    try:
        head.load_state_dict({name.removeprefix(_PRUNING_HEAD): tensor for name, tensor in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(f"the pruning head in {directory} does not fit: {error}") from error
    return head.to(transformer.device, transformer.dtype)


def new_pruning_head(transformer: PreTrainedModel, initializer_range: float | None = None) -> nn.Linear:
    """Make a pruning head for a transformer, to be trained.

    Args:
        transformer: Says the head's input size, device and dtype.
        initializer_range: Standard deviation of the weights; None is that of the transformer's own.
    """
    config = transformer.config
    head = nn.Linear(config.hidden_size, len(PRUNING_LABELS))
    std = getattr(config, "initializer_range", 0.02) if initializer_range is None else initializer_range
    nn.init.normal_(head.weight, std=std)
    nn.init.zeros_(head.bias)
    return head.to(transformer.device, transformer.dtype)


class _ZeroFilled(TorchFunctionMode):
    """Initializes modules with zeros instead of random weights, in this thread, before a file replaces them.

    Drawing random numbers dominates the time of loading: 15 of 17 seconds for 568 million.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in ("kaiming_uniform_", "normal_", "uniform_"):
            return (kwargs["tensor"] if "tensor" in kwargs else args[0]).zero_()
        return func(*args, **kwargs)


def _auto_class(config: ProvenceConfig) -> Any:
    return AutoModelForSequenceClassification if config.can_rank else AutoModelForTokenClassification


def _final_norm(transformer: PreTrainedModel) -> nn.Module:
    norm = getattr(transformer.base_model, "final_norm", None)
    if not isinstance(norm, nn.Module):
        raise InvalidInputError(
            f"hidden_states='before_final_norm' needs an encoder with a final_norm, as ModernBERT has, "
            f"got {type(transformer).__name__}"
        )
    return norm


def _listed(names: Sequence[str]) -> str:
    """The first names, as in the file, and the number of others."""
    shown = ", ".join(name.removeprefix(_TRANSFORMER) for name in names[:5])
    return (shown or "nothing") + (f" and {len(names) - 5} more" if len(names) > 5 else "")
