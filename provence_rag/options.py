"""What a caller may choose per call: how sentences are selected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, get_args, get_type_hints

from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.validation import check_count, check_flag, check_share, shortened

__all__ = ["OPTIONS", "Option", "PruningMode", "PruningOptions"]

PruningMode = Literal["dynamic", "threshold", "ratio", "budget", "off"]

_VALUE_OF_MODE = {
    "dynamic": "keep_answers",
    "threshold": "threshold",
    "ratio": "ratio",
    "budget": "max_tokens",
}

_FLOORS = ("keep_answers", "threshold")
"""The values that mode `budget` accepts besides its own."""


@dataclass(frozen=True)
class Option:
    """What an option means, said once for all who offer it: adapters, command line, documentation."""

    description: str
    """One sentence, without its full stop."""

    minimum: int | None = None
    """The smallest number allowed; None for what is not a number."""

    maximum: int | None = None
    """The largest number allowed; None if there is no limit."""

    @property
    def help(self) -> str:
        """The description as a sentence, with the range."""
        if self.maximum is not None:
            return f"{self.description} ({self.minimum} to {self.maximum})."
        return f"{self.description} (at least {self.minimum})." if self.minimum else f"{self.description}."


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """How sentences are selected, from their keep probabilities.

    Raises:
        InvalidInputError: A value is out of range, or does not belong to the mode.
    """

    mode: Annotated[
        PruningMode | None,
        Option(
            "Rule that selects the sentences; by default the one that the other options imply, or dynamic"
        ),
    ] = None
    """`dynamic`: the checkpoint's calibrated rule, the one that promises `keep_answers`. `threshold`:
    sentences with a score >= `threshold`. `ratio`: the worst sentences go until `ratio` of the text's
    characters are gone. `budget`: the best sentences of all documents of a query, at most `max_tokens`
    tokens; with `threshold` or `keep_answers`, only sentences that these would keep. `off`: nothing is
    pruned. None takes the mode whose value is given, `budget` if it is one of them, else `dynamic`."""

    keep_answers: Annotated[float | None, Option("Share of the answers that should survive", 0, 1)] = None
    """Takes the rule with which this share of the answers survived, on the data that the checkpoint was
    calibrated on; between two calibrated shares, the rule of the higher one. None is the checkpoint's
    default."""

    threshold: Annotated[float | None, Option("Smallest keep probability of a kept sentence", 0, 1)] = None
    """None is the checkpoint's own."""

    ratio: Annotated[float | None, Option("Share of a document's characters to remove", 0, 1)] = None
    """Never more than this share is removed. White space between sentences does not count."""

    max_tokens: Annotated[int | None, Option("Tokens that all documents of a query may keep together", 1)] = (
        None
    )
    """Sentences and what stands between them, as the checkpoint tokenizes the whole documents. A title given
    beside a document is not part of its text and is not counted. The best sentence comes first: if it is
    longer than the budget, it is split at clause borders and its parts are judged separately; neighbours,
    title and headings that do not fit beside it are left out."""

    min_sentences: Annotated[int, Option("Minimum number of sentences that each document keeps", 0)] = 0
    """The best ones, whatever their scores."""

    context_before: Annotated[int, Option("Sentences to keep before each selected one", 0)] = 0

    context_after: Annotated[int, Option("Sentences to keep after each selected one", 0)] = 0

    keep_title: Annotated[
        bool,
        Option("Keep the title, or without one the first sentence, of a document that keeps anything"),
    ] = False
    """The title's sentences are those that the given title covers at the start of the document."""

    keep_headings: Annotated[bool, Option("Keep the Markdown headings above each kept sentence")] = False

    keep_together: Annotated[
        bool, Option("Keep what belongs together, such as a question and its answer, a row and its header")
    ] = True
    """What a kept sentence cannot be read without, and what it announces: see `docs/structure.md`. If False,
    structured data still keeps what it needs to parse."""

    language: Annotated[
        str, Option("Language of the documents (ISO 639-1), or auto to detect it for each")
    ] = "auto"

    def __post_init__(self) -> None:
        """Infer the mode and check every value."""
        mode = self.mode if self.mode is not None else self._inferred_mode()
        if mode not in get_args(PruningMode):
            raise InvalidInputError(f"mode must be one of {', '.join(get_args(PruningMode))}, got {mode!r}")
        object.__setattr__(self, "mode", mode)
        self._check_values()

    def _inferred_mode(self) -> str:
        given = [mode for mode, name in _VALUE_OF_MODE.items() if getattr(self, name) is not None]
        if "budget" in given:
            given = [mode for mode in given if _VALUE_OF_MODE[mode] not in _FLOORS]
        if len(given) > 1:
            names = " and ".join(_VALUE_OF_MODE[mode] for mode in given)
            raise InvalidInputError(f"{names} belong to different modes: give one of them, or set mode")
        return given[0] if given else "dynamic"

    def _check_values(self) -> None:
        floors = [name for name in _FLOORS if self.mode == "budget" and getattr(self, name) is not None]
        if len(floors) > 1:
            raise InvalidInputError(f"{' and '.join(floors)} exclude each other: give one of them")
        for mode, name in _VALUE_OF_MODE.items():
            if self.mode != mode and name not in floors and getattr(self, name) is not None:
                given = shortened(getattr(self, name))
                raise InvalidInputError(
                    f"{name}={given} has no effect in mode {self.mode!r}: use mode={mode!r}"
                )
        if self.mode in ("ratio", "budget") and getattr(self, _VALUE_OF_MODE[self.mode]) is None:
            raise InvalidInputError(f"mode {self.mode!r} needs {_VALUE_OF_MODE[self.mode]}")
        for name, option in OPTIONS.items():
            value, default = getattr(self, name), getattr(PruningOptions, name)
            if isinstance(default, bool):
                check_flag(name, value)
            elif option.minimum is not None and (value is not None or default is not None):
                if option.maximum is None:
                    check_count(name, value, option.minimum)
                else:
                    check_share(name, value)
        if not isinstance(self.language, str) or not self.language:
            raise InvalidInputError(f"language must be 'auto' or an ISO 639-1 code, got {self.language!r}")

    def check(self, config: ProvenceConfig) -> None:
        """Check that a checkpoint can select in this way. One that only ranks keeps everything by default.

        Raises:
            CheckpointError: It has no pruning head.
            InvalidInputError: It does not promise `keep_answers`.
        """
        if not config.can_prune and self.keep_answers is not None:
            raise CheckpointError("this checkpoint only ranks: keep_answers needs a pruning head")
        if not config.can_prune and self.mode not in ("dynamic", "off"):
            raise CheckpointError(f"this checkpoint only ranks: mode {self.mode!r} needs a pruning head")
        config.rules(self.keep_answers)


OPTIONS: Mapping[str, Option] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(PruningOptions, include_extras=True).items()
}
"""The options by name, in order."""
