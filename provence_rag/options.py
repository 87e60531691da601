"""What a caller may choose per call: how sentences are selected."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.validation import check_count, check_share

__all__ = ["PruningMode", "PruningOptions"]

PruningMode = Literal["dynamic", "threshold", "ratio", "budget", "off"]

_VALUE_OF_MODE = {
    "dynamic": "keep_answers",
    "threshold": "threshold",
    "ratio": "ratio",
    "budget": "max_tokens",
}


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """How sentences are selected, from their keep probabilities.

    Raises:
        InvalidInputError: A value is out of range, or does not belong to the mode.
    """

    mode: PruningMode | None = None
    """`dynamic`: the checkpoint's calibrated rule, the one that promises `keep_answers`. `threshold`:
    sentences with a score >= `threshold`. `ratio`: the worst sentences go until `ratio` of the text's
    characters are gone. `budget`: the best sentences of all documents of a query, at most `max_tokens`
    tokens. `off`: nothing is pruned. None takes the mode whose value is given, else `dynamic`."""

    keep_answers: float | None = None
    """Share of the answers that is to survive, in [0, 1]: takes the rule with which that share of them did,
    on the data that the checkpoint was calibrated on. A share between two that the checkpoint has rules for
    takes the higher one. None is the checkpoint's default."""

    threshold: float | None = None
    """Smallest keep probability of a kept sentence, in [0, 1]; None is the checkpoint's own."""

    ratio: float | None = None
    """Share of a document's characters to remove, in [0, 1], not counting the white space between sentences.
    Never more than that is removed."""

    max_tokens: int | None = None
    """Tokens that all documents of one query may keep together, counted by the checkpoint's tokenizer."""

    min_sentences: int = 0
    """Every document keeps at least so many sentences (its best ones), whatever their scores."""

    context_before: int = 0
    """Sentences kept in front of each selected sentence."""

    context_after: int = 0
    """Sentences kept behind each selected sentence."""

    keep_title: bool = False
    """Keep the title whenever anything of the document is kept: the sentences that the given title
    covers at the document's start, or without a given title its first sentence."""

    keep_headings: bool = False
    """Keep the Markdown headings above each kept sentence."""

    language: str = "auto"
    """ISO 639-1 code of the documents, or `auto` to detect it per document."""

    def __post_init__(self) -> None:
        """Infer the mode and check every value."""
        mode = self.mode if self.mode is not None else self._inferred_mode()
        if mode not in get_args(PruningMode):
            raise InvalidInputError(f"mode must be one of {', '.join(get_args(PruningMode))}, got {mode!r}")
        object.__setattr__(self, "mode", mode)
        self._check_values()

    def _inferred_mode(self) -> str:
        given = [mode for mode, name in _VALUE_OF_MODE.items() if getattr(self, name) is not None]
        if len(given) > 1:
            names = " and ".join(_VALUE_OF_MODE[mode] for mode in given)
            raise InvalidInputError(f"{names} belong to different modes: give one of them, or set mode")
        return given[0] if given else "dynamic"

    def _check_values(self) -> None:
        for mode, name in _VALUE_OF_MODE.items():
            if self.mode != mode and getattr(self, name) is not None:
                raise InvalidInputError(
                    f"{name}={getattr(self, name)!r} has no effect in mode {self.mode!r}: use mode={mode!r}"
                )
        if self.mode in ("ratio", "budget") and getattr(self, _VALUE_OF_MODE[self.mode]) is None:
            raise InvalidInputError(f"mode {self.mode!r} needs {_VALUE_OF_MODE[self.mode]}")
        for name in ("keep_answers", "threshold", "ratio"):
            if getattr(self, name) is not None:
                check_share(name, getattr(self, name))
        if self.max_tokens is not None:
            check_count("max_tokens", self.max_tokens, 1)
        for name in ("min_sentences", "context_before", "context_after"):
            check_count(name, getattr(self, name), 0)
        for name in ("keep_title", "keep_headings"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInputError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if not isinstance(self.language, str) or not self.language:
            raise InvalidInputError(f"language must be 'auto' or an ISO 639-1 code, got {self.language!r}")

    def check(self, config: ProvenceConfig) -> None:
        """Check that a checkpoint can select like this. One that only ranks keeps everything by default.

        Raises:
            CheckpointError: It has no pruning head.
            InvalidInputError: It does not promise as much as `keep_answers`.
        """
        if not config.can_prune and self.keep_answers is not None:
            raise CheckpointError("this checkpoint only ranks: keep_answers needs a pruning head")
        if not config.can_prune and self.mode not in ("dynamic", "off"):
            raise CheckpointError(f"this checkpoint only ranks: mode {self.mode!r} needs a pruning head")
        config.rules(self.keep_answers)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The options' names, in order."""
        return tuple(field.name for field in fields(cls))
