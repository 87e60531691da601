"""ProvenceModel: one encoder pass, a ranking head and a pruning head."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError, MissingExtraError

try:
    import torch
    from safetensors.torch import load_file, save_file
    from torch import Tensor, nn
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        PreTrainedModel,
    )
except ImportError as error:  # pragma: no cover - exercised in an environment without torch
    raise MissingExtraError("The torch model", "torch") from error

__all__ = ["ProvenceModel", "ProvenceModelOutput"]

_LABELS = {0: "DROP", 1: "KEEP"}
_WEIGHTS = "model.safetensors"
_PRUNING_HEAD = "pruning_head."


class ProvenceModelOutput(NamedTuple):
    """What one forward pass gives."""

    ranking_logits: Tensor | None
    """Relevance logits, shape (B,); None without a ranking head."""

    pruning_logits: Tensor | None
    """Drop and keep logits of every token, shape (B, T, 2); None without a pruning head."""


class ProvenceModel(nn.Module):
    """A cross-encoder that ranks a passage and labels its tokens in one pass.

    After Provence (Chirkova et al., ICLR 2025, arXiv 2501.16214, section 3). The ranking half is a stock
    `transformers` sequence classifier, whose forward pass runs unchanged, so a stock CrossEncoder gives the
    same scores; the pruning head is a linear layer on the last hidden states of that very pass. A
    pruning-only model is a stock token classifier.

    Args:
        transformer: A sequence classifier with one label (modes `joint` and `ranking`), or a token classifier
            with two (mode `pruning`).
        config: Says which heads there are.
    """

    def __init__(self, transformer: PreTrainedModel, config: ProvenceConfig) -> None:
        super().__init__()
        self.provence_config = config
        self.transformer = transformer
        self.pruning_head: nn.Linear | None = None
        if config.mode == "joint":
            self.pruning_head = nn.Linear(transformer.config.hidden_size, len(_LABELS))
            self.dropout = nn.Dropout(getattr(transformer.config, "hidden_dropout_prob", 0.0))
            # The stock forward returns logits only. Asking it for hidden states would store those of all
            # layers; the hook sees the last ones in passing. Thread-local: threads may share the model.
            self._seen = threading.local()
            transformer.base_model.register_forward_hook(self._remember_hidden_states)

    def _remember_hidden_states(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._seen.hidden_states = output[0]

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
        logits = self.transformer(**inputs).logits
        if self.provence_config.mode == "pruning":
            return ProvenceModelOutput(None, logits)  # (B, T, 2)
        ranking_logits = logits[:, 0]  # (B,)
        if self.pruning_head is None:
            return ProvenceModelOutput(ranking_logits, None)
        hidden_states = self._seen.__dict__.pop("hidden_states")  # (B, T, H)
        return ProvenceModelOutput(ranking_logits, self.pruning_head(self.dropout(hidden_states)))

    @property
    def uses_token_types(self) -> bool:
        """Whether the encoder has more than one segment embedding."""
        return getattr(self.transformer.config, "type_vocab_size", 0) > 1

    @classmethod
    def from_encoder(cls, name_or_path: str, config: ProvenceConfig, **kwargs: Any) -> ProvenceModel:
        """Put fresh heads on a pretrained encoder, to be trained.

        Args:
            name_or_path: Anything that transformers' AutoModel loads.
            config: Says which heads to make.
            **kwargs: Passed on to `from_pretrained` (e.g. `attention_probs_dropout_prob=0.0`).
        """
        kwargs = {"dtype": torch.float32, "use_safetensors": True, **kwargs}
        if config.mode == "pruning":
            transformer = AutoModelForTokenClassification.from_pretrained(
                name_or_path, id2label=_LABELS, label2id={v: k for k, v in _LABELS.items()}, **kwargs
            )
        else:
            transformer = AutoModelForSequenceClassification.from_pretrained(
                name_or_path, num_labels=1, **kwargs
            )
        return cls(transformer, config)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> ProvenceModel:
        """Load a trained checkpoint from a directory, in float32 and evaluation mode.

        Reads `config.json` and `model.safetensors`, nothing else; no code of the checkpoint is run.

        Raises:
            CheckpointError: A file is missing, a head is missing, or the weights do not fit the config.
        """
        directory = Path(directory)
        config = ProvenceConfig.from_directory(directory)
        auto = (
            AutoModelForTokenClassification if config.mode == "pruning" else AutoModelForSequenceClassification
        )
        hf_config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        model = cls(auto.from_config(hf_config, dtype=torch.float32), config)
        weights = directory / _WEIGHTS
        if not weights.is_file():
            raise CheckpointError(f"{directory} has no {_WEIGHTS}")
        model._load_weights({k: v.to(torch.float32) for k, v in load_file(weights).items()}, weights)
        return model.eval()

    def _load_weights(self, weights: dict[str, Tensor], source: Path) -> None:
        state = {k if k.startswith(_PRUNING_HEAD) else f"transformer.{k}": v for k, v in weights.items()}
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:  # shapes that do not fit
            raise CheckpointError(f"{source} does not fit its config.json: {error}") from error
        if missing or unexpected:
            raise CheckpointError(
                f"{source} does not fit its config.json: missing {missing[:5]}, unexpected {unexpected[:5]}"
            )

    def save_pretrained(self, directory: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write `config.json` and `model.safetensors`.

        The tensors carry the names of the stock transformers class, plus `pruning_head.*`; so
        sentence-transformers' CrossEncoder (or AutoModelForTokenClassification, for a pruning-only model)
        loads the directory as it is.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        hf_config = type(self.transformer.config).from_dict(self.transformer.config.to_dict())
        hf_config.architectures = [type(self.transformer).__name__]
        hf_config.dtype = dtype
        hf_config.provence = self.provence_config.to_dict()
        if self.provence_config.can_rank:
            activation = {"sigmoid": "Sigmoid", "identity": "Identity"}[self.provence_config.score_activation]
            module = "torch.nn.modules.linear" if activation == "Identity" else "torch.nn.modules.activation"
            hf_config.sentence_transformers = {"activation_fn": f"{module}.{activation}"}
        hf_config.save_pretrained(directory)
        state = {
            name.removeprefix("transformer."): tensor.detach().to("cpu", dtype).contiguous()
            for name, tensor in self.state_dict().items()
        }
        save_file(state, directory / _WEIGHTS, metadata={"format": "pt"})
