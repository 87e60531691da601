"""The cross-encoder that also prunes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, overload

from sentence_transformers import CrossEncoder

from provence_rag import (
    CheckpointError,
    InvalidInputError,
    Provence,
    ProvenceConfig,
    ProvenceOutput,
    PruningMode,
    attach_pruning_head,
)
from sentence_transformers_provence.reporting import unreported

__all__ = ["PruningCrossEncoder"]

_ACTIVATIONS: dict[str, Literal["sigmoid", "identity"]] = {"Sigmoid": "sigmoid", "Identity": "identity"}


class PruningCrossEncoder(CrossEncoder):
    """sentence-transformers' CrossEncoder, which also prunes where the checkpoint has a pruning head.

    It takes CrossEncoder's arguments and loads what CrossEncoder loads; `predict`, `rank`, training and all
    else are CrossEncoder's own. Pruning uses the same weights, as they are at the time.

    Example:
        ```python
        from sentence_transformers_provence import PruningCrossEncoder

        model = PruningCrossEncoder("path/to/a/joint/checkpoint")
        best = model.rank(question, passages, top_k=1, return_documents=True)[0]
        model.prune(question, best["text"])
        ```
    """

    _why_not: str | None = None
    """Why there is no pruning, although the configuration speaks of a pruning head."""

    _stock_limit: int | None = None
    """`max_seq_length` as it was loaded, if the caller had not set it: it says nothing of the window then."""

    _shared: tuple[tuple[Any, ...], Provence] | None = None
    """`provence`, and what it was made of."""

    # --- pruning ------------------------------------------------------------------------------------------

    @property
    def provence(self) -> Provence:
        """The same weights as a `Provence`, for all that it can do and for whatever takes one.

        It goes on using the weights as they are trained, moved and cast; but get it anew after a change of
        `activation_fn`, `max_seq_length` or `tokenizer`. It adds no prompts.

        Raises:
            CheckpointError: There is no pruning head.
            InvalidInputError: `activation_fn` or `max_seq_length` has a value that cannot be used.
        """
        config = self._provence_config()
        if self._why_not is not None or config is None or not config.can_prune:
            raise CheckpointError(
                f"{self._why_not or 'this checkpoint only ranks: it has no pruning head'}. Use predict and "
                "rank, or load a joint checkpoint, such as the bundled one in provence_rag/models/mini"
            )
        parts = (self.model, self.tokenizer, len(self.tokenizer), config)
        if self._shared is None or self._shared[0] != parts:
            self._shared = parts, Provence.from_transformer(self.model, self.tokenizer, config=config)
        return self._shared[1]

    def predict_with_pruning(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        pruning_mode: PruningMode | None = None,
        keep_answers: float | None = None,
        pruning_threshold: float | None = None,
        pruning_ratio: float | None = None,
        max_tokens: int | None = None,
        min_sentences: int = 0,
        return_documents: bool = True,
    ) -> ProvenceOutput:
        """`Provence.predict_with_pruning`, with the prompts of `predict`: in front of each query.

        Nothing of a document is cut off, as `predict` does beyond `max_seq_length`: it is read in as many
        windows as it needs, and the best one's score is its score.

        Raises:
            CheckpointError: There is no pruning head.
            InvalidInputError: An argument has a value that cannot be used, or the lists differ in length.
        """
        return self.provence.predict_with_pruning(
            self._prompted(queries, prompt, prompt_name),
            documents,
            batch_size,
            show_progress_bar,
            pruning_mode=pruning_mode,
            keep_answers=keep_answers,
            pruning_threshold=pruning_threshold,
            pruning_ratio=pruning_ratio,
            max_tokens=max_tokens,
            min_sentences=min_sentences,
            return_documents=return_documents,
        )

    @overload
    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None = None,
        min_sentences: int = 0,
        return_scores: Literal[False] = False,
        *,
        keep_answers: float | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> str: ...

    @overload
    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None = None,
        min_sentences: int = 0,
        *,
        return_scores: Literal[True],
        keep_answers: float | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> tuple[str, list[float]]: ...

    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None = None,
        min_sentences: int = 0,
        return_scores: bool = False,
        *,
        keep_answers: float | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> str | tuple[str, list[float]]:
        """`Provence.prune`, with the prompts of `predict`: in front of the query.

        Raises:
            CheckpointError: There is no pruning head.
            InvalidInputError: An argument has a value that cannot be used.
        """
        (query,) = self._prompted([query], prompt, prompt_name)
        arguments = (query, document, threshold, min_sentences)
        if return_scores:
            return self.provence.prune(*arguments, return_scores=True, keep_answers=keep_answers)
        return self.provence.prune(*arguments, keep_answers=keep_answers)

    def _prompted(self, queries: Sequence[str], prompt: str | None, prompt_name: str | None) -> Sequence[str]:
        text = self._resolve_prompt(prompt, prompt_name)
        if not text or isinstance(queries, str):  # a string is no list of queries: Provence says so
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

    def _load_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Load what CrossEncoder loads, and the pruning head, which it leaves behind."""
        with unreported("pruning_head."):
            modules, module_kwargs = super()._load_modules(model_name_or_path, *args, **kwargs)
        first = next(iter(modules.values() if isinstance(modules, dict) else modules))
        if "model_max_length" not in (kwargs.get("processor_kwargs") or {}):
            self._stock_limit = getattr(first, "max_seq_length", None)
        transformer = getattr(first, "model", None)
        block = getattr(getattr(transformer, "config", None), "provence", None)
        if block is not None:
            try:
                if ProvenceConfig.from_dict(block).mode == "joint":
                    if self.backend != "torch":
                        raise CheckpointError(f"backend={self.backend!r} cannot prune, only 'torch' can")
                    where = ("revision", "cache_folder", "local_files_only", "token")
                    attach_pruning_head(
                        transformer, model_name_or_path, **{name: kwargs[name] for name in where}
                    )
            except CheckpointError as error:  # it still ranks
                self._why_not = str(error)
        return modules, module_kwargs

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shared": None}  # a copy of a Provence is the same one

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

    # Its own texts for the hub take every class for one of sentence_transformers.

    def _update_default_model_id(self, model_card: str) -> str:
        if not self.model_card_data.model_id:
            return model_card
        placeholder, name = self._model_card_model_id_placeholder, self.model_card_data.model_id
        return model_card.replace(f'CrossEncoder("{placeholder}"', f'CrossEncoder("{name}"')

    def _push_to_hub_usage_tip(self, repo_id: str) -> str:
        tip = super()._push_to_hub_usage_tip(repo_id)
        return tip.replace("from sentence_transformers import", "from sentence_transformers_provence import")
