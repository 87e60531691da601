"""`ProvenceBatch`: columns in, columns out."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from provence_rag.batches.columns import Columns, check_columns, read_column, with_columns
from provence_rag.batches.rows import Row, read_rows, slices
from provence_rag.early_checks import check_model
from provence_rag.errors import InvalidInputError
from provence_rag.hub import SECRETS
from provence_rag.options import PruningOptions
from provence_rag.provence import Provence
from provence_rag.results import PrunedPassage, finite
from provence_rag.validation import check_count, check_text, shown

__all__ = ["PASSAGES_PER_CALL", "RESULTS", "ProvenceBatch"]

PASSAGES_PER_CALL = 512
"""Enough to fill batches with windows of similar length; more would only take memory."""

RESULTS: dict[str, Callable[[PrunedPassage], Any]] = {
    "pruned_text": lambda passage: passage.text,
    "kept_spans": lambda passage: passage.kept_spans,
    "relevance_score": lambda passage: finite(passage.score),
    "sentence_spans": lambda passage: [[one.start, one.end] for one in passage.sentences],
    "sentence_scores": lambda passage: [one.score for one in passage.sentences],
}
"""What is written of a passage; the last two only if asked for."""

_NAMED_ROWS = 10
"""Rows that cannot be read that a warning names."""

_NAMED_PROBLEMS = 10
"""Kinds of such rows in a batch that have a warning of their own."""

_OTHER_PROBLEMS = "cannot be read, for another reason than the rows above"

_KEPT_MODELS = 4
_models: list[tuple[dict[str, Any], Provence]] = []
"""The models that this process has loaded last, with the arguments: each task of Spark brings a new copy."""
_lock = Lock()


def _start_after_fork() -> None:
    global _lock
    _lock = Lock()  # another thread, which this process does not have, may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_after_fork)


class ProvenceBatch:
    """Prunes the passages of a batch: columns in, the same columns and new ones out.

    For whatever maps a function over batches: `map(batched=True)` of datasets, `map_batches` of Ray Data
    (give it the class for actors), `mapInPandas` of Spark (give it the method `map`). A batch is a dict of
    lists or numpy arrays, a table or record batch of pyarrow, or a frame of pandas; what comes back is of the
    same kind. It can be pickled. The model is loaded at the first batch, once per process.

    Each row holds a question and, in the column of documents, a passage, a list of passages or null. A
    passage is a string, or a struct with `text` (or `page_content`) and optionally `title`. The new columns:

    - `pruned_text`: what is left of the passage.
    - `kept_spans`: `[start, end]` of each piece of the passage that is left.
    - `relevance_score`: as `PrunedPassage.score`; null in place of infinity, and without a ranking head.
    - `sentence_spans` and `sentence_scores`, only if asked for: `[start, end]` and keep probability of each
      sentence.

    For a list of passages, each has a list with an entry per passage, in the same order; for null, null.

    Args:
        query: The column with the questions.
        documents: The column with the documents.
        titles: A column with the titles: a string, or a list with an entry per passage. Null and blank
            titles leave those of the structs.
        model: Hub name or path of a checkpoint, URL of a server, None for the bundled model, or a loaded
            `Provence`. A name is better for Spark: a loaded model is loaded again for each of its tasks.
        options: How sentences are selected; a budget is shared by the passages of a row.
        batch_size: Windows per forward pass, as in `Provence.process`.
        sentence_scores: Also write what is known of each sentence.
        prefix: What the names of the new columns begin with.
        skip_bad_rows: Write null for a row without a question, or with a cell that cannot be read, and warn,
            instead of raising an error.
        **loading: Other arguments of `Provence.from_pretrained`, such as `device` or `threads`.

    Raises:
        InvalidInputError: An argument has a value that cannot be used.
        TypeError: `loading` has a name that `Provence.from_pretrained` does not know.
    """

    def __init__(
        self,
        query: str = "query",
        documents: str = "documents",
        *,
        titles: str | None = None,
        model: str | Path | Provence | None = None,
        options: PruningOptions | None = None,
        batch_size: int | None = None,
        sentence_scores: bool = False,
        prefix: str = "",
        skip_bad_rows: bool = False,
        **loading: Any,
    ) -> None:
        given = {"query": query, "documents": documents, "titles": titles}
        self._columns = [check_text(name, column) for name, column in given.items() if column is not None]
        self._options = PruningOptions() if options is None else options
        if not isinstance(self._options, PruningOptions):
            raise InvalidInputError(f"options must be a PruningOptions, got {shown(options)}")
        if batch_size is not None:
            check_count("batch_size", batch_size, 1)
        kinds = [kind for kind in RESULTS if sentence_scores or not kind.startswith("sentence")]
        self.names = {kind: f"{check_text('prefix', prefix)}{kind}" for kind in kinds}
        self.batch_size = batch_size
        self.skip_bad_rows = skip_bad_rows
        self._loading = {"name_or_path": model, **loading}
        self._model = model if isinstance(model, Provence) else None
        for name, variable in SECRETS.items():
            if name in loading:
                raise InvalidInputError(
                    f"{name} would be part of the pickle: set the environment variable {variable}"
                )
        inspect.signature(Provence.from_pretrained).bind(**self._loading)
        check_model(model, loading)

    @property
    def columns(self) -> list[str]:
        """The columns that are read: questions, documents, and titles if there are any."""
        return self._columns

    @property
    def options(self) -> PruningOptions:
        """How sentences are selected."""
        return self._options

    @property
    def provence(self) -> Provence:
        """The model, which is loaded at the first use.

        Raises:
            CheckpointError: The checkpoint is missing or cannot be used.
            MissingExtraError: The backend's libraries are not installed.
        """
        if self._model is None:
            self._model = _loaded(self._loading)
        return self._model

    def __call__(self, batch: Columns) -> Columns:
        """Return a batch with the new columns beside its own.

        Raises:
            InvalidInputError: A column is missing, or there is one of a new name already, or a cell holds
                something else than it should; the message names column and row, counted from 0.
            CheckpointError: The checkpoint cannot be loaded, or cannot do what the options ask for.
        """
        check_columns(batch, self._columns, list(self.names.values()))
        cells = [read_column(batch, column) for column in self._columns]
        added = self.results(cells, lambda number: f"row {number} of the batch")
        return with_columns(batch, added, self.names, self._columns[1])

    def map(self, batches: Iterable[Columns]) -> Iterator[Columns]:
        """Map an iterable of batches, for Spark's `mapInPandas` and `mapInArrow`."""
        return map(self, batches)

    def results(self, cells: Sequence[Sequence[Any]], place: Callable[[int], str]) -> dict[str, list[Any]]:
        """The new columns for columns of R cells.

        Args:
            cells: The columns that are read, in the order of `columns`.
            place: What a message calls the row with a number.
        """
        rows = self.rows(cells, place)
        for problem, numbers in _bad_rows(rows).items():
            others = _others([place(number) for number in numbers[1:]])
            warnings.warn(f"not pruned: {place(numbers[0])}: {problem}{others}", stacklevel=2)
        added: dict[str, list[Any]] = {name: [] for name in self.names.values()}
        for part in slices(rows, PASSAGES_PER_CALL):
            good = [row for row in part if not row.problem]
            found = iter(
                self.provence.process_batch(
                    [row.query for row in good],
                    [row.texts for row in good],
                    titles=[row.titles for row in good],
                    options=self._options,
                    batch_size=self.batch_size,
                )
            )
            for row in part:
                passages = [] if row.problem else next(found)
                for kind, name in self.names.items():
                    added[name].append(_cell(row, [RESULTS[kind](passage) for passage in passages]))
        return added

    def rows(self, cells: Sequence[Sequence[Any]], place: Callable[[int], str]) -> list[Row]:
        """The rows that `results` prunes. Arguments and errors are those of `results`."""
        return read_rows(self._columns, cells, place, skip_bad_rows=self.skip_bad_rows)

    def __getstate__(self) -> dict[str, Any]:
        # A model that was loaded here is loaded there, too; one that was given goes along.
        given = self._loading["name_or_path"]
        return {**self.__dict__, "_model": given if isinstance(given, Provence) else None}


def _bad_rows(rows: Sequence[Row]) -> dict[str, list[int]]:
    """The problem of a row -> the numbers of the rows that have it, whatever the value that they got.

    Where there are many problems, the last of them stands for all others.
    """
    kinds: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if row.problem:
            kind = row.problem.partition(", got ")[0]
            if kind not in kinds and len(kinds) >= _NAMED_PROBLEMS:
                kind = _OTHER_PROBLEMS
            kinds.setdefault(kind, []).append(number)
    return {
        kind if kind == _OTHER_PROBLEMS else rows[numbers[0]].problem or kind: numbers
        for kind, numbers in kinds.items()
    }


def _others(places: Sequence[str]) -> str:
    """What a warning about a row adds for the same of other rows."""
    named = list(places[: _NAMED_ROWS - 1])
    if hidden := len(places) - len(named):
        named.append(f"{hidden:,} more")
    return f" (also {', '.join(named)})" if named else ""


def _cell(row: Row, values: list[Any]) -> Any:
    if row.is_list:
        return values
    return None if row.is_missing else values[0]


def _loaded(loading: dict[str, Any]) -> Provence:
    """The model of these arguments; of those loaded last in this process if it is among them."""
    with _lock:
        for number, (known, model) in enumerate(_models):
            if known == loading:
                _models.insert(0, _models.pop(number))
                return model
        model = Provence.from_pretrained(**loading)
        _models.insert(0, (loading, model))
        del _models[_KEPT_MODELS:]
        return model
