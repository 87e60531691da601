"""Provence: the facade."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, overload

import numpy as np
from numpy.typing import NDArray

from provence_rag.backends.base import Backend
from provence_rag.backends.loading import load_backend
from provence_rag.chunking import as_chunker
from provence_rag.config import ProvenceConfig, read_config_json
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.hub import checkpoint_directory
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.engine import Engine, Pair, ScoredPair
from provence_rag.options import PruningMode, PruningOptions, check_count, check_share
from provence_rag.results import ProvenceOutput, PrunedPassage

__all__ = ["Provence", "RankedDocument"]

_OFF = PruningOptions(mode="off")


class RankedDocument(TypedDict, total=False):
    """An entry of `Provence.rank`, as in sentence-transformers' CrossEncoder."""

    corpus_id: int
    score: float
    text: str


class Provence:
    """Reranks passages and prunes their sentences in one forward pass.

    After Provence (Chirkova et al., ICLR 2025, arXiv 2501.16214). Make one with `from_pretrained`. Threads
    may share one: no call changes it.
    """

    def __init__(self, engine: Engine, *, directory: Path | None = None) -> None:
        self._engine = engine
        self._directory = directory

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        backend: Literal["auto", "onnx", "torch"] = "auto",
        device: str | None = None,
        dtype: str | None = None,
        max_length: int | None = None,
        chunker: Any = None,
        revision: str | None = None,
        cache_folder: str | Path | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Provence:
        """Load a checkpoint. Never runs code from it, never unpickles.

        Args:
            name_or_path: A directory, or a model on the Hugging Face hub; None is the bundled bilingual
                (English, Japanese) model, which needs no network.
            backend: `onnx`, `torch`, or `auto`: ONNX Runtime on a CPU where the checkpoint has an export,
                else torch.
            device: For torch: `cpu`, `cuda`, ...; None takes a GPU if there is one and torch is used.
            dtype: ONNX: `int8` or `float32`; torch: `float32`, `float16` or `bfloat16`. None is the fastest
                export for ONNX and float32 for torch.
            max_length: Tokens of a window; None is the checkpoint's own.
            chunker: Cuts documents into sentences, in place of the multilingual rules: a `BaseChunker`, a
                LangChain text splitter, or a callable from text to strings or spans.
            revision: Branch, tag or commit on the hub.
            cache_folder: Where downloads are kept.
            local_files_only: Do not download.
            token: Access token for the hub.

        Raises:
            CheckpointError: The checkpoint is missing or cannot be used.
            InvalidInputError: An argument has a value that cannot be used.
            MissingExtraError: The backend's libraries are not installed.
        """
        directory = checkpoint_directory(
            name_or_path,
            revision=revision,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
            token=token,
        )
        config = ProvenceConfig.from_directory(directory)
        if max_length is not None:
            config = config.with_max_length(max_length, read_config_json(directory))
        engine = Engine(
            load_backend(directory, backend=backend, device=device, dtype=dtype),
            PairTokenizer.from_directory(directory),
            config,
            pad_token_id=read_config_json(directory).get("pad_token_id") or 0,
            chunker=None if chunker is None else as_chunker(chunker),
        )
        return cls(engine, directory=directory)

    @property
    def config(self) -> ProvenceConfig:
        """The checkpoint's configuration."""
        return self._engine.config

    @property
    def backend(self) -> Backend:
        """What runs the model."""
        return self._engine.backend

    def __repr__(self) -> str:
        backend = self.backend
        return f"Provence({str(self._directory)!r}, backend={backend.name!r}, device={backend.device!r})"

    # --- reranking and pruning ---------------------------------------------------------------------------

    def process(
        self,
        query: str,
        documents: Sequence[str],
        *,
        titles: Sequence[str | None] | None = None,
        options: PruningOptions | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        reorder: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> list[PrunedPassage]:
        """Score and prune the documents of one query.

        Args:
            query: The question. Its tokens beyond half of the window are not read (with a warning).
            documents: Passages of any length; nothing of them is truncated.
            titles: A title or None for each document, read with each window of it. It is no part of the
                result, and at most half of the room beside the query is given to it.
            options: How sentences are selected; None is the checkpoint's own rule.
            top_k: Return the `top_k` most relevant documents, best first.
            score_threshold: Return the documents with at least this relevance score, best first.
            reorder: Return all documents, best first.
            batch_size: Windows a batch; None fills batches up to a number of tokens.
            show_progress: Show a progress bar on standard error.

        Returns:
            One passage a document: in the order given, or best first with `top_k`, `score_threshold` or
            `reorder`. A document of white space gives an empty passage.

        Raises:
            InvalidInputError: An argument has a value that cannot be used.
            CheckpointError: Documents are to be ranked and the checkpoint has no ranking head.
        """
        return self.process_batch(
            [query],
            [documents],
            titles=None if titles is None else [titles],
            options=options,
            top_k=top_k,
            score_threshold=score_threshold,
            reorder=reorder,
            batch_size=batch_size,
            show_progress=show_progress,
        )[0]

    def process_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        *,
        titles: Sequence[Sequence[str | None]] | None = None,
        options: PruningOptions | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        reorder: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> list[list[PrunedPassage]]:
        """`process` for many queries, each with its own documents, batched across queries.

        Args:
            queries: N questions.
            documents: N lists of documents.
            titles: N lists of titles, or None.
            options: See `process`, as for the other arguments.
            top_k: See `process`.
            score_threshold: See `process`.
            reorder: See `process`.
            batch_size: See `process`.
            show_progress: See `process`.

        Returns:
            N lists of passages.

        Raises:
            InvalidInputError: See `process`; or the lists differ in length.
            CheckpointError: See `process`.
        """
        queries = _checked_texts("queries", queries, blank=False)
        groups = [_checked_texts("documents", group) for group in _aligned("documents", documents, len(queries))]
        title_groups = _checked_titles(titles, groups)
        options = _checked_options(options)
        ranks = reorder or top_k is not None or score_threshold is not None
        self._check_ranking(ranks, top_k, score_threshold)
        scored = self._score(
            [
                Pair(query, document, title)
                for query, group, title_group in zip(queries, groups, title_groups, strict=True)
                for document, title in zip(group, title_group, strict=True)
            ],
            options.language,
            batch_size,
            show_progress,
        )
        results, start = [], 0
        for group in groups:
            mine = scored[start : start + len(group)]
            start += len(group)
            order = _order(mine, ranks, top_k, score_threshold)
            results.append(self._engine.prune([mine[i] for i in order], order, options))
        return results

    def predict_with_pruning(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        *,
        pruning_mode: PruningMode | None = None,
        pruning_threshold: float | None = None,
        pruning_ratio: float | None = None,
        max_tokens: int | None = None,
        min_sentences: int = 0,
        return_documents: bool = True,
    ) -> ProvenceOutput:
        """Score and prune aligned pairs: the i-th query with the i-th document.

        Args:
            queries: N questions.
            documents: N documents.
            batch_size: See `process`.
            show_progress_bar: Show a progress bar on standard error.
            pruning_mode: `PruningOptions.mode`.
            pruning_threshold: `PruningOptions.threshold`.
            pruning_ratio: `PruningOptions.ratio`.
            max_tokens: `PruningOptions.max_tokens`, here for each pair.
            min_sentences: `PruningOptions.min_sentences`.
            return_documents: Whether `pruned_documents` is filled.

        Raises:
            InvalidInputError: An argument has a value that cannot be used, or the lists differ in length.
        """
        options = PruningOptions(
            mode=pruning_mode,
            threshold=pruning_threshold,
            ratio=pruning_ratio,
            max_tokens=max_tokens,
            min_sentences=min_sentences,
        )
        documents = _checked_texts("documents", documents)
        groups = self.process_batch(
            queries,
            [[document] for document in documents],
            options=options,
            batch_size=batch_size,
            show_progress=show_progress_bar,
        )
        return ProvenceOutput.from_passages(
            [passage for group in groups for passage in group], return_documents=return_documents
        )

    @overload
    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None = None,
        min_sentences: int = 0,
        return_scores: Literal[False] = False,
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
    ) -> tuple[str, list[float]]: ...

    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None = None,
        min_sentences: int = 0,
        return_scores: bool = False,
    ) -> str | tuple[str, list[float]]:
        """Prune one document.

        Args:
            query: The question.
            document: The passage.
            threshold: Smallest keep probability of a kept sentence; None is the checkpoint's `dynamic` rule.
            min_sentences: Keep at least so many sentences.
            return_scores: Also return each sentence's keep probability.

        Raises:
            CheckpointError: The checkpoint has no pruning head.
        """
        if not self.config.can_prune:
            raise CheckpointError("this checkpoint only ranks: it has no pruning head")
        options = PruningOptions(threshold=threshold, min_sentences=min_sentences)
        passage = self.process(query, [document], options=options)[0]
        if return_scores:
            return passage.text, [s.score for s in passage.sentences if s.score is not None]
        return passage.text

    # --- ranking, as sentence-transformers' CrossEncoder does it ------------------------------------------

    @overload
    def predict(
        self, pairs: tuple[str, str], batch_size: int | None = None, show_progress_bar: bool = False
    ) -> np.float32: ...

    @overload
    def predict(
        self,
        pairs: Sequence[tuple[str, str] | list[str]],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> NDArray[np.float32]: ...

    def predict(
        self,
        pairs: tuple[str, str] | Sequence[tuple[str, str] | list[str]],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> np.float32 | NDArray[np.float32]:
        """Relevance scores of (query, document) pairs; the contract of CrossEncoder.predict.

        Args:
            pairs: N pairs, or a single one.
            batch_size: See `process`.
            show_progress_bar: Show a progress bar on standard error.

        Returns:
            Scores, shape (N,), float32; a scalar for a single pair.

        Raises:
            InvalidInputError: Something is not a pair of strings.
            CheckpointError: The checkpoint has no ranking head.
        """
        self._check_ranking(True, None, None)
        single = len(pairs) == 2 and all(isinstance(text, str) for text in pairs)
        rows = [pairs] if single else list(pairs)
        for number, row in enumerate(rows):
            if isinstance(row, str) or len(row) != 2:
                raise InvalidInputError(f"pairs[{number}] must be a (query, document) pair, got {row!r}")
        queries = _checked_texts("queries", [row[0] for row in rows], blank=False)
        documents = _checked_texts("documents", [row[1] for row in rows])
        scored = self._score(
            [Pair(q, d) for q, d in zip(queries, documents, strict=True)], "auto", batch_size, show_progress_bar
        )
        scores = np.array([one.score for one in scored], dtype=np.float32)
        return scores[0] if single else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> list[RankedDocument]:
        """Sort documents by relevance; the contract of CrossEncoder.rank.

        Args:
            query: The question.
            documents: The documents.
            top_k: How many to return; None is all.
            return_documents: Whether the entries have a `text`.
            batch_size: See `process`.
            show_progress_bar: Show a progress bar on standard error.

        Returns:
            `{"corpus_id", "score"[, "text"]}`, best first; `corpus_id` is the position in `documents`.

        Raises:
            InvalidInputError: An argument has a value that cannot be used.
            CheckpointError: The checkpoint has no ranking head.
        """
        passages = self.process(
            query,
            documents,
            options=_OFF,
            top_k=top_k,
            reorder=True,
            batch_size=batch_size,
            show_progress=show_progress_bar,
        )
        ranked: list[RankedDocument] = []
        for passage in passages:
            assert passage.score is not None  # reorder=True has checked that there is a ranking head
            entry: RankedDocument = {"corpus_id": passage.index, "score": passage.score}
            if return_documents:
                entry["text"] = passage.document
            ranked.append(entry)
        return ranked

    def save_pretrained(self, directory: str | Path) -> None:
        """Copy the checkpoint, with the configuration in use, to another directory.

        Raises:
            CheckpointError: This model was not loaded from a directory.
            InvalidInputError: `directory` is the one the model was loaded from.
        """
        if self._directory is None:
            raise CheckpointError("this model was not loaded from a checkpoint: there is nothing to copy")
        target = Path(directory)
        if target.resolve() == self._directory.resolve():
            raise InvalidInputError(f"directory={str(directory)!r} is where this checkpoint already is")
        shutil.copytree(self._directory, target, dirs_exist_ok=True)
        values = {**read_config_json(self._directory), "provence": self.config.to_dict()}
        (target / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    # --- checks and plumbing -----------------------------------------------------------------------------

    def _check_ranking(self, ranks: bool, top_k: int | None, score_threshold: float | None) -> None:
        if top_k is not None:
            check_count("top_k", top_k, 1)
        if score_threshold is not None and self.config.score_activation == "sigmoid":
            check_share("score_threshold", score_threshold)
        if ranks and not self.config.can_rank:
            raise CheckpointError("this checkpoint only prunes: it has no ranking head to order documents by")

    def _score(
        self, pairs: Sequence[Pair], language: str, batch_size: int | None, show_progress: bool
    ) -> list[ScoredPair]:
        if batch_size is not None:
            check_count("batch_size", batch_size, 1)
        if not pairs:
            return []
        return self._engine.score(
            pairs,
            language=language,
            batch_size=batch_size,
            progress=_progress_bar if show_progress else None,
        )


def _progress_bar(batches: Iterable[list[int]], total: int) -> Iterator[list[int]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Passages", total=total)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch))


def _order(
    scored: Sequence[ScoredPair], ranks: bool, top_k: int | None, score_threshold: float | None
) -> list[int]:
    if not ranks:
        return list(range(len(scored)))
    scores = [one.score if one.score is not None else 0.0 for one in scored]
    order = sorted(range(len(scored)), key=lambda i: -scores[i])
    if score_threshold is not None:
        order = [i for i in order if scores[i] >= score_threshold]
    return order[:top_k]


def _checked_texts(name: str, texts: Any, *, blank: bool = True) -> list[str]:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise InvalidInputError(f"{name} must be a list of strings, got {_shown(texts)}")
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(f"{name}[{number}] must be a string, got {_shown(text)}")
        if not blank and not text.strip():
            raise InvalidInputError(f"{name}[{number}] is blank ({text!r}): a query needs words")
    return texts


def _checked_titles(titles: Any, groups: Sequence[Sequence[str]]) -> list[list[str | None]]:
    if titles is None:
        return [[None] * len(group) for group in groups]
    checked = []
    for row, group in zip(_aligned("titles", titles, len(groups)), groups, strict=True):
        for number, title in enumerate(_aligned("titles", row, len(group))):
            if title is not None and not isinstance(title, str):
                raise InvalidInputError(f"titles[{number}] must be a string or None, got {_shown(title)}")
        checked.append([title if title and title.strip() else None for title in row])
    return checked


def _aligned(name: str, rows: Any, length: int) -> list[Any]:
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
        raise InvalidInputError(f"{name} must be a list, got {_shown(rows)}")
    rows = list(rows)
    if len(rows) != length:
        raise InvalidInputError(f"{name} must have one entry for each of the {length} given, got {len(rows)}")
    return rows


def _checked_options(options: Any) -> PruningOptions:
    if options is None:
        return PruningOptions()
    if not isinstance(options, PruningOptions):
        raise InvalidInputError(f"options must be a PruningOptions, got {_shown(options)}")
    return options


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
