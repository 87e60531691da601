"""The cross-encoder that also prunes."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sentence_transformers import CrossEncoder

from provence_rag import (
    CheckpointError,
    InvalidInputError,
    Provence,
    ProvenceConfig,
    ProvenceOutput,
    attach_pruning_head,
)
from sentence_transformers_provence.head_config import head_settings
from sentence_transformers_provence.reporting import unreported

__all__ = ["PruningCrossEncoder"]

_LOGGER = logging.getLogger(__name__)

_ACTIVATIONS: dict[str, Literal["sigmoid", "identity"]] = {"Sigmoid": "sigmoid", "Identity": "identity"}

_SCORINGS: dict[str | None, Literal["mean", "fraction"]] = {"sentence": "mean", "token": "fraction"}


class PruningCrossEncoder(CrossEncoder):
    """sentence-transformers' CrossEncoder, which also prunes if the checkpoint has a pruning head.

    It takes CrossEncoder's arguments and loads what CrossEncoder loads; `predict`, `rank`, training and the
    rest are CrossEncoder's own. Pruning uses the same weights, as they are at the time of a call.

    Args:
        *args: CrossEncoder's arguments: the name of a model on the hub, or a directory.
        enable_pruning: None loads the pruning head of a joint checkpoint. True also gives any other reranker
            with one label a new head, to be trained with `ProvenceLoss`. False loads no head.
        pruning_mode: How the keep probabilities of tokens become that of their sentence. `sentence`: their
            mean. `token`: each token is kept or dropped, and a sentence by its share of kept tokens, as in
            the Provence paper. None is what the checkpoint says, and `sentence` for a new head.
        pruning_head_config: Settings of the head: `dropout` before it in training, in [0, 1), and
            `initializer_range`, the standard deviation of a new head's weights. `hidden_size`, `num_labels`,
            `sentence_pooling` and `use_weighted_pooling` may be given if they are what the head has.
        **kwargs: CrossEncoder's arguments.

    Raises:
        CheckpointError: `enable_pruning=True` and the model cannot have a pruning head.
        InvalidInputError: An argument has a value that cannot be used.

    Example:
        ```python
        from sentence_transformers_provence import CrossEncoder

        model = CrossEncoder("path/to/a/joint/checkpoint")
        best = model.rank(question, passages, top_k=1, return_documents=True)[0]
        model.prune(question, best["text"])
        ```
    """

    _why_not: str | None = None
    """Why this model does not prune although its configuration names a pruning head."""

    _stock_limit: int | None = None
    """`max_seq_length` as loaded, unless the caller has set it: a stock limit does not set the window."""

    _shared: tuple[tuple[Any, ...], Provence] | None = None
    """`provence`, and what it was made from."""

    def __init__(
        self,
        *args: Any,
        enable_pruning: bool | None = None,
        pruning_mode: Literal["sentence", "token"] | None = None,
        pruning_head_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if pruning_mode is not None and pruning_mode not in _SCORINGS:
            raise InvalidInputError(f"pruning_mode must be 'sentence' or 'token', got {pruning_mode!r}")
        settings = head_settings(pruning_head_config)
        self._enable_pruning = enable_pruning
        self._dropout = settings.dropout
        super().__init__(*args, **kwargs)
        if enable_pruning and getattr(self.model, "pruning_head", None) is None:
            self._add_head(settings.initializer_range)
        block = getattr(self.config, "provence", None)
        if block is not None and pruning_mode is not None:
            setattr(self.config, "provence", {**block, "scoring": _SCORINGS[pruning_mode]})  # noqa: B010
        settings.check_hidden_size(getattr(self.config, "hidden_size", None))

    # --- pruning ------------------------------------------------------------------------------------------

    @property
    def provence(self) -> Provence:
        """The same weights as a `Provence`: all that it can do, and for whatever takes one.

        It uses the weights as they are trained, moved and cast, but read it again after a change of
        `activation_fn`, `max_seq_length` or `tokenizer`. It adds no prompts.

        Raises:
            CheckpointError: There is no pruning head.
            InvalidInputError: `activation_fn` or `max_seq_length` has a value that cannot be used.
        """
        config = self._provence_config()
        if self._why_not is not None or config is None or not config.can_prune:
            raise CheckpointError(
                f"{self._why_not or 'this checkpoint only ranks: it has no pruning head'}. Use predict and "
                "rank, load a joint checkpoint, such as the bundled one in provence_rag/models/mini, or "
                "train a new head with enable_pruning=True"
            )
        parts = (self.model, self.tokenizer, len(self.tokenizer), config)
        if self._shared is None or self._shared[0] != parts:
            provence = Provence.from_transformer(self.model, self.tokenizer, config=config)
            if self._dropout is not None:
                backend: Any = provence.backend
                backend.model.dropout.p = self._dropout
            self._shared = parts, provence
        return self._shared[1]

    def predict_with_pruning(
        self,
        queries: Sequence[str],
        documents: Sequence[str | Sequence[str]],
        *args: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **kwargs: Any,
    ) -> ProvenceOutput:
        """`Provence.predict_with_pruning` with its arguments, and the prompts of `predict` before each query.

        `predict` cuts off what is beyond `max_seq_length`. Here a document is read in as many windows as it
        needs, and the best window's score is its score.

        Raises:
            CheckpointError: There is no pruning head.
            InvalidInputError: An argument has a value that cannot be used, or the lists differ in length.
        """
        queries = self._prompted(queries, prompt, prompt_name)
        return self.provence.predict_with_pruning(queries, documents, *args, **kwargs)

    def prune(
        self,
        query: str,
        document: str,
        *args: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """`Provence.prune` with its arguments and results, and the prompts of `predict` before the query.

        Raises:
            CheckpointError: There is no pruning head.
            InvalidInputError: An argument has a value that cannot be used.
        """
        (query,) = self._prompted([query], prompt, prompt_name)
        return self.provence.prune(query, document, *args, **kwargs)

    def forward(self, input: dict[str, Any], pruning: bool = False, **kwargs: Any) -> dict[str, Any]:  # noqa: A002
        """Run the model; with `pruning`, one pass gives `scores` (B, 1) and `pruning_logits` (B, T, 2).

        Args:
            input: `input_ids` and `attention_mask`, (B, T), and `token_type_ids` if the model has them.
            pruning: Whether the pruning head runs too.
            **kwargs: As in CrossEncoder.

        Raises:
            CheckpointError: `pruning` is set and there is no pruning head.
        """
        if not pruning:
            output: dict[str, Any] = super().forward(input, **kwargs)
            return output
        backend: Any = self.provence.backend
        # The head's dropout is not a submodule of this model, which would otherwise hold its weights twice.
        joint = backend.model.train(self.training)
        types = input.get("token_type_ids") if joint.uses_token_types else None
        ranking_logits, pruning_logits = joint(input["input_ids"], input["attention_mask"], types)
        return {**input, "scores": ranking_logits[:, None], "pruning_logits": pruning_logits}

    def _prompted(self, queries: Sequence[str], prompt: str | None, prompt_name: str | None) -> Sequence[str]:
        text = self._resolve_prompt(prompt, prompt_name)
        if not text or isinstance(queries, str):  # a string is not a list of queries: Provence says so
            return queries
        return [text + query if isinstance(query, str) else query for query in queries]

    def _provence_config(self) -> ProvenceConfig | None:
        """The checkpoint's `provence` block with the settings in use; None without a block."""
        transformer_config = self.config
        block = getattr(transformer_config, "provence", None)
        if transformer_config is None or block is None:
            return None
        config = ProvenceConfig.from_dict(block)
        max_length = self.max_seq_length
        if max_length is not None and max_length != self._stock_limit:
            config = config.with_max_length(max_length, transformer_config.to_dict())
        activation = _ACTIVATIONS.get(type(self.activation_fn).__name__)
        if activation is None:
            raise InvalidInputError(
                f"activation_fn must be a torch.nn.Sigmoid or torch.nn.Identity to prune, got "
                f"{self.activation_fn!r}: pass others to predict"
            )
        return replace(config, score_activation=activation)

    # --- loading, copying and saving ------------------------------------------------------------------------

    def _add_head(self, initializer_range: float | None) -> None:
        """Put a new pruning head on the model, and the `provence` block into its configuration."""
        transformer = self.model
        if transformer is None or self.backend != "torch":
            raise CheckpointError(
                f"enable_pruning=True needs a transformer with backend='torch', got backend={self.backend!r}"
            )
        values = json.loads(transformer.config.to_json_string(use_diff=False))
        values.pop("provence", None)
        # A classifier that CrossEncoder has made from a bare encoder still names the encoder's class.
        values["architectures"] = [type(transformer).__name__]
        config = ProvenceConfig.from_config_json(values, type(transformer).__name__)
        transformer.config.provence = replace(config, mode="joint").to_dict()
        attach_pruning_head(transformer, initializer_range=initializer_range)
        self._why_not = None
        _LOGGER.warning("The pruning head is new and knows nothing yet: train it with ProvenceLoss.")

    def _load_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Load what CrossEncoder loads, and the pruning head, which it does not."""
        with unreported("pruning_head."):
            modules, module_kwargs = super()._load_modules(model_name_or_path, *args, **kwargs)
        first = next(iter(modules.values() if isinstance(modules, dict) else modules))
        if "model_max_length" not in (kwargs.get("processor_kwargs") or {}):
            self._stock_limit = getattr(first, "max_seq_length", None)
        transformer = getattr(first, "model", None)
        transformer_config = getattr(transformer, "config", None)
        block = getattr(transformer_config, "provence", None)
        if block is not None and self._enable_pruning is False:
            self._why_not = "pruning is switched off by enable_pruning=False"
            # What is saved has no head either.
            setattr(transformer_config, "provence", {**block, "mode": "ranking"})  # noqa: B010
        elif block is not None:
            try:
                if ProvenceConfig.from_dict(block).mode == "joint":
                    if self.backend != "torch":
                        raise CheckpointError(f"backend={self.backend!r} cannot prune, only 'torch' can")
                    where = ("revision", "cache_folder", "local_files_only", "token")
                    attach_pruning_head(
                        transformer, model_name_or_path, **{name: kwargs[name] for name in where}
                    )
            except CheckpointError as error:  # ranking still works
                self._why_not = str(error)
        return modules, module_kwargs

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shared": None}  # the copy of a Provence would be the same object

    def save(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Save the model, its pruning head and the settings in use; see CrossEncoder.

        CrossEncoder, PruningCrossEncoder and `Provence.from_pretrained` load the directory.
        """
        if self._why_not is None:
            try:
                config = self._provence_config()
            except InvalidInputError as error:
                warnings.warn(f"the provence block is saved as it was loaded: {error}", stacklevel=2)
            else:
                if config is not None:
                    setattr(self.config, "provence", config.to_dict())  # noqa: B010
        super().save(path, *args, **kwargs)

    # CrossEncoder's texts for the hub assume that every class is in sentence_transformers.

    def _update_default_model_id(self, model_card: str) -> str:
        if not self.model_card_data.model_id:
            return model_card
        placeholder, name = self._model_card_model_id_placeholder, self.model_card_data.model_id
        return model_card.replace(f'CrossEncoder("{placeholder}"', f'CrossEncoder("{name}"')

    def _push_to_hub_usage_tip(self, repo_id: str) -> str:
        tip = super()._push_to_hub_usage_tip(repo_id)
        return tip.replace("from sentence_transformers import", "from sentence_transformers_provence import")
