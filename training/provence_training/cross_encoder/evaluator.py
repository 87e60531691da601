"""An evaluator of ranking and pruning for sentence-transformers' trainers."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator
from sklearn.metrics import precision_recall_fscore_support

from provence_rag import Provence, PrunedPassage, PruningOptions
from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count, check_rows, check_texts
from provence_training.evaluation.ranking import figures_at

__all__ = ["ProvenceEvaluator"]

_LOGGER = logging.getLogger(__name__)
_NAME = "provence"


class ProvenceEvaluator(BaseEvaluator):
    """Measures how a model ranks and prunes the documents of given queries.

    For files with known answers, and beside baselines, see `provence_training.evaluation`.

    Args:
        queries: N questions.
        documents: For each, D documents: strings, or lists of their sentences.
        relevant_docs: For each, the positions of its relevant documents. Queries without relevant documents
            count for pruning alone.
        pruning_labels: For each query and document, a label for each sentence, 1 keep, 0 drop; or None for
            documents, queries or a whole set without labels.
        k_values: Ranks at which the ranking is measured.
        name: Names the file of results; a name of your own is also put before each metric.
        options: How sentences are selected; None is the model's own rule.

    Raises:
        InvalidInputError: An argument has a value that cannot be used, or lists differ in length.
    """

    def __init__(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str | Sequence[str]]],
        relevant_docs: Sequence[Sequence[int]],
        pruning_labels: Sequence[Sequence[Sequence[int] | None] | None] | None = None,
        k_values: Sequence[int] = (1, 3, 5, 10),
        name: str = _NAME,
        *,
        options: PruningOptions | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queries = check_texts("queries", queries, blank=False)
        size = len(self.queries)
        if not size:
            raise InvalidInputError("queries must have at least one entry, got none")
        rows = check_rows("documents", documents, of="lists of strings", length=size, whose="queries")
        self.documents = [check_rows(f"documents[{i}]", row, of="strings") for i, row in enumerate(rows)]
        rows = check_rows("relevant_docs", relevant_docs, of="lists", length=size, whose="queries")
        self.relevant_docs = [
            _positions(f"relevant_docs[{i}]", row, len(own))
            for i, (row, own) in enumerate(zip(rows, self.documents, strict=True))
        ]
        if not any(self.relevant_docs):
            raise InvalidInputError("relevant_docs must name a relevant document for at least one query")
        self.pruning_labels = self._checked_labels(pruning_labels)
        self.k_values = sorted(set(check_rows("k_values", k_values, of="integers")))
        if not self.k_values:
            raise InvalidInputError("k_values must have at least one entry, got none")
        for k in self.k_values:
            check_count("k_values", k, 1)
        self.name = name
        self.options = options
        self.primary_metric = f"{self._prefix}reranking_ndcg@{self.k_values[-1]}"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: Any = -1, steps: int = -1
    ) -> dict[str, float]:
        """Evaluate a `PruningCrossEncoder` or a `Provence`.

        Args:
            model: The model.
            output_path: A directory; a row is added to `ProvenceEvaluator_{name}_results.csv` in it.
            epoch: For that row.
            steps: For that row.

        Returns:
            Figures in [0, 1]:

            - `reranking_map@k`, `reranking_mrr@k` and `reranking_ndcg@k` for each k of `k_values`: means over
                the queries with relevant documents. Among equal scores, relevant documents come last.
            - `pruning_precision`, `pruning_recall` and `pruning_f1` of the kept sentences, over all labelled
                sentences; only with labels.
            - `avg_compression_ratio`: mean share of a document's characters that is removed.

        Raises:
            CheckpointError: The model cannot rank or prune.
            InvalidInputError: The model cuts a document into another number of sentences than it has labels.
        """
        provence: Provence = model if isinstance(model, Provence) else model.provence
        # reorder asks for a ranking head; the order of the results is undone again.
        results = provence.process_batch(self.queries, self.documents, options=self.options, reorder=True)
        passages = [sorted(row, key=lambda passage: passage.index) for row in results]
        metrics = self._ranking(passages) | self._pruning(passages)
        ratios = [passage.compression for row in passages for passage in row]
        metrics["avg_compression_ratio"] = float(np.mean(ratios))
        metrics = {f"{self._prefix}{key}": value for key, value in metrics.items()}
        _LOGGER.info("ProvenceEvaluator on %s, epoch %s, step %s: %s", self.name, epoch, steps, metrics)
        if hasattr(model, "model_card_data"):
            self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        if output_path is not None:
            self._write(Path(output_path), {"epoch": epoch, "steps": steps, **metrics})
        return metrics

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says of the evaluator."""
        return {"k_values": self.k_values}

    @property
    def _prefix(self) -> str:
        return "" if self.name in ("", _NAME) else f"{self.name}_"

    def _ranking(self, passages: Sequence[Sequence[PrunedPassage]]) -> dict[str, float]:
        judged = [(row, own) for row, own in zip(passages, self.relevant_docs, strict=True) if own]
        relevant = [np.isin(np.arange(len(row)), own) for row, own in judged]
        logits = [np.array([passage.logit for passage in row], dtype=np.float64) for row, _ in judged]
        figures = figures_at(relevant, logits, self.k_values)
        return {f"reranking_{key}": value for key, value in figures.items()}

    def _pruning(self, passages: Sequence[Sequence[PrunedPassage]]) -> dict[str, float]:
        labels: list[int] = []
        kept: list[bool] = []
        for number, (row, own) in enumerate(zip(passages, self.pruning_labels, strict=True)):
            for passage, of_document in zip(row, own, strict=True):
                if of_document is None:
                    continue
                if len(of_document) != len(passage.sentences):
                    raise InvalidInputError(
                        f"pruning_labels[{number}][{passage.index}] has {len(of_document)} entries, but the "
                        f"model cuts the document into {len(passage.sentences)} sentences: give the document "
                        "as the list of its sentences"
                    )
                labels += of_document
                kept += [sentence.kept for sentence in passage.sentences]
        if not labels:
            return {}
        figures = precision_recall_fscore_support(labels, kept, average="binary", zero_division=0)
        names = ("precision", "recall", "f1")
        return {f"pruning_{key}": float(value) for key, value in zip(names, figures, strict=False)}

    def _checked_labels(self, labels: Any) -> list[list[list[int] | None]]:
        if labels is None:
            return [[None] * len(own) for own in self.documents]
        rows = check_rows("pruning_labels", labels, of="lists", length=len(self.queries), whose="queries")
        checked: list[list[list[int] | None]] = []
        for i, (row, own) in enumerate(zip(rows, self.documents, strict=True)):
            name = f"pruning_labels[{i}]"
            if row is None:
                checked.append([None] * len(own))
                continue
            of_query = check_rows(name, row, of="lists", length=len(own), whose="documents")
            checked.append(
                [None if one is None else _labels(f"{name}[{j}]", one) for j, one in enumerate(of_query)]
            )
        return checked

    def _write(self, directory: Path, row: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"ProvenceEvaluator_{self.name}_results.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def _positions(name: str, values: Any, size: int) -> list[int]:
    # Sets are welcome: the order of positions does not matter.
    rows = sorted(values) if isinstance(values, (set, frozenset)) else values
    positions = check_rows(name, rows, of="positions")
    for position in positions:
        check_count(name, position, 0)
        if position >= size:
            raise InvalidInputError(f"{name} must hold positions below {size}, got {position}")
    if len(set(positions)) < len(positions):
        raise InvalidInputError(f"{name} must hold each position once, got {positions}")
    return [int(position) for position in positions]


def _labels(name: str, values: Any) -> list[int]:
    labels = check_rows(name, values, of="labels")
    if bad := [label for label in labels if label not in (0, 1)]:
        raise InvalidInputError(f"{name} must hold 0 and 1, got {bad[0]!r}")
    return [int(label) for label in labels]
