"""Provence: the facade."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

from provence_rag.backends import BackendName
from provence_rag.backends.loading import load_backend, weight_files
from provence_rag.chunking import as_chunker
from provence_rag.config import SHORTEST_WINDOW, ProvenceConfig
from provence_rag.config_json import pad_token_id
from provence_rag.cross_encoder import CrossEncoderMethods
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.inference.backend import Backend
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.engine import Engine, Pair
from provence_rag.modeling.checkpoints import check_vocabulary, find_checkpoint, read_checkpoint
from provence_rag.options import PruningMode, PruningOptions
from provence_rag.ranking import AS_GIVEN, Ranking
from provence_rag.results import ProvenceOutput, PrunedPassage
from provence_rag.transformers_bridge import backend_of, config_json_of
from provence_rag.validation import check_count, check_rows, check_text, check_texts, check_titles, shown

__all__ = ["Provence"]


class Provence(CrossEncoderMethods):
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
        backend: BackendName = "auto",
        device: str | None = None,
        dtype: str | None = None,
        max_length: int | None = None,
        chunker: Any = None,
        revision: str | None = None,
        cache_folder: str | Path | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Provence:
        """Load a checkpoint: our own, a reranker, or one of the Provence family. Never runs code from it.

        Each family keeps its own rules (see `docs/checkpoints.md`); they are in `config`.

        Args:
            name_or_path: A directory, or a model on the Hugging Face hub; None is the bundled bilingual
                (English, Japanese) model, which needs no network.
            backend: `onnx`, `openvino`, `torch`, or `auto`: ONNX Runtime on a CPU where the checkpoint has
                an export, else torch. `openvino` is the fastest on a CPU with VNNI.
            device: For torch: `cpu`, `cuda`, ...; None takes a GPU if there is one and torch is used.
            dtype: ONNX: `int8` or `float32`; OpenVINO: `int8`; torch: `float32`, `float16` or `bfloat16`.
                None is the fastest export for ONNX and float32 for torch.
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
        weights = weight_files(backend, device, dtype)  # refuses before anything is downloaded
        chunker = None if chunker is None else as_chunker(chunker)
        if max_length is not None:
            check_count("max_length", max_length, SHORTEST_WINDOW)
        checkpoint = find_checkpoint(
            name_or_path,
            weights=weights,
            revision=revision,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
            token=token,
        )
        directory, config = checkpoint.directory, checkpoint.config
        if max_length is not None:
            config = config.with_max_length(max_length, checkpoint.model_settings)
        tokenizer = PairTokenizer.from_directory(checkpoint.tokenizer_directory, config.pair_template)
        check_vocabulary(checkpoint, tokenizer.num_ids)
        model = load_backend(directory, backend=backend, device=device, dtype=dtype)
        engine = Engine(model, tokenizer, config, pad_token_id=checkpoint.pad_token_id, chunker=chunker)
        return cls(engine, directory=directory)

    @classmethod
    def from_transformer(
        cls,
        transformer: Any,
        tokenizer: Any,
        *,
        config: ProvenceConfig | None = None,
        chunker: Any = None,
    ) -> Provence:
        """Use a transformer that is in memory already, and go on using it as it is trained, moved and cast.

        Nothing is copied but the tokenizer. Each call puts the transformer into evaluation mode.

        Args:
            transformer: A sequence classifier of transformers with one label; a joint model has a linear
                layer `pruning_head` as well, see `attach_pruning_head`. Or a token classifier that prunes.
            tokenizer: Its tokenizer: one of transformers, or a `tokenizers.Tokenizer`.
            config: How it is to be used; None is what its configuration says.
            chunker: As in `from_pretrained`.

        Raises:
            CheckpointError: It is no transformer of a kind known here, or has not the heads that the
                configuration speaks of.
            InvalidInputError: An argument has a value that cannot be used.
        """
        values = config_json_of(transformer)
        if config is None:
            config = ProvenceConfig.from_config_json(values, type(transformer).__name__)
        engine = Engine(
            backend_of(transformer, config),
            PairTokenizer.copy_of(tokenizer, config.pair_template),
            config,
            pad_token_id=pad_token_id(values, type(transformer).__name__),
            chunker=None if chunker is None else as_chunker(chunker),
        )
        return cls(engine)

    @property
    def config(self) -> ProvenceConfig:
        """The checkpoint's configuration."""
        return self._engine.config

    @property
    def backend(self) -> Backend:
        """What runs the model."""
        return self._engine.backend

    def __deepcopy__(self, memo: dict[int, Any]) -> Provence:
        # No call changes it, and what a backend holds cannot be copied: whatever holds it can share it.
        return self

    def __repr__(self) -> str:
        backend = self.backend
        where = "" if self._directory is None else f"{str(self._directory)!r}, "
        return f"Provence({where}backend={backend.name!r}, device={backend.device!r})"

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
        min_documents: int = 0,
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
            min_documents: Return at least so many, the best, although their scores are below
                `score_threshold`.
            reorder: Return all documents, best first.
            batch_size: Windows a batch. None fills batches up to a number of tokens that suits a CPU, with
                windows of nearly the same length; GPUs want more.
            show_progress: Show a progress bar on standard error.

        Returns:
            One passage a document: in the order given, or best first with `top_k`, `score_threshold` or
            `reorder`. A document of white space gives an empty passage; it is not read, and ranks last.

        Raises:
            InvalidInputError: An argument has a value that cannot be used.
            CheckpointError: Documents are to be ranked and the checkpoint has no ranking head.
        """
        query = check_text("query", query, blank=False)
        ranking = Ranking(
            top_k=top_k, score_threshold=score_threshold, min_documents=min_documents, reorder=reorder
        )
        return self._process(
            [_pairs(query, documents, titles)],
            options,
            ranking,
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
        min_documents: int = 0,
        reorder: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> list[list[PrunedPassage]]:
        """`process` for many queries, each with its own documents, batched across queries.

        `queries` are N questions, `documents` N lists of documents, `titles` N lists of titles or None.
        The other arguments are those of `process` and hold for each query.

        Returns:
            N lists of passages.

        Raises:
            InvalidInputError: An argument has a value that cannot be used, or the lists differ in length.
            CheckpointError: Documents are to be ranked and the checkpoint has no ranking head.
        """
        queries = check_texts("queries", queries, blank=False)
        size = len(queries)
        groups = check_rows("documents", documents, of="lists of strings", length=size, whose="queries")
        title_groups: list[Any] = [None] * size
        if titles is not None:
            title_groups = check_rows("titles", titles, of="lists of strings", length=size, whose="queries")
        rows = zip(queries, groups, title_groups, strict=True)
        ranking = Ranking(
            top_k=top_k, score_threshold=score_threshold, min_documents=min_documents, reorder=reorder
        )
        return self._process(
            [_pairs(*row, place=f"[{number}]") for number, row in enumerate(rows)],
            options,
            ranking,
            batch_size=batch_size,
            show_progress=show_progress,
        )

    def predict_with_pruning(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        *,
        pruning_mode: PruningMode | None = None,
        keep_answers: float | None = None,
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
            keep_answers: `PruningOptions.keep_answers`.
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
            keep_answers=keep_answers,
            threshold=pruning_threshold,
            ratio=pruning_ratio,
            max_tokens=max_tokens,
            min_sentences=min_sentences,
        )
        queries = check_texts("queries", queries, blank=False)
        documents = check_rows("documents", documents, of="strings", length=len(queries), whose="queries")
        documents = check_texts("documents", documents)
        groups = [[Pair(query, document)] for query, document in zip(queries, documents, strict=True)]
        results = self._process(groups, options, batch_size=batch_size, show_progress=show_progress_bar)
        return ProvenceOutput.from_passages([r[0] for r in results], return_documents=return_documents)

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
    ) -> str | tuple[str, list[float]]:
        """Prune one document.

        Args:
            query: The question.
            document: The passage.
            threshold: Smallest keep probability of a kept sentence; None is the checkpoint's `dynamic` rule.
            min_sentences: Keep at least so many sentences.
            return_scores: Also return each sentence's keep probability.
            keep_answers: `PruningOptions.keep_answers`, in place of a threshold.

        Raises:
            InvalidInputError: An argument has a value that cannot be used.
            CheckpointError: The checkpoint has no pruning head.
        """
        if not self.config.can_prune:
            raise CheckpointError("this checkpoint only ranks: it has no pruning head")
        pair = Pair(check_text("query", query, blank=False), check_text("document", document))
        options = PruningOptions(threshold=threshold, min_sentences=min_sentences, keep_answers=keep_answers)
        passage = self._process([[pair]], options)[0][0]
        if return_scores:
            return passage.text, [s.score for s in passage.sentences if s.score is not None]
        return passage.text

    def save_pretrained(self, directory: str | Path) -> None:
        """Copy the checkpoint to another directory, with the configuration in use.

        Of a checkpoint from the hub, only what was downloaded is copied: the weights that the backend reads.

        A checkpoint in another project's layout is written in ours, which is what `provence export` does.

        Raises:
            CheckpointError: This model was not loaded from a directory.
            InvalidInputError: `directory` is the one the model was loaded from, or cannot be written to.
        """
        if self._directory is None:
            raise CheckpointError("this model was not loaded from a checkpoint: there is nothing to copy")
        source, target = self._directory.resolve(), Path(directory).resolve()
        if source == target or source in target.parents:
            raise InvalidInputError(f"directory={str(directory)!r} is where this checkpoint already is")
        if target.is_file():
            raise InvalidInputError(f"directory={str(directory)!r} is a file")
        if read_checkpoint(source).names is not None:
            from provence_rag.modeling.convert import convert

            convert(source, target, config=self.config)
            return
        shutil.copytree(source, target, dirs_exist_ok=True)
        self.config.to_directory(target)

    # --- the one way through the engine -------------------------------------------------------------------

    def _process(
        self,
        groups: Sequence[Sequence[Pair]],
        options: PruningOptions | None,
        ranking: Ranking = AS_GIVEN,
        *,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> list[list[PrunedPassage]]:
        """Process the pairs of each query; see `process`."""
        options = PruningOptions() if options is None else options
        if not isinstance(options, PruningOptions):
            raise InvalidInputError(f"options must be a PruningOptions, got {shown(options)}")
        options.check(self.config)
        ranking.check(self.config)
        if batch_size is not None:
            check_count("batch_size", batch_size, 1)
        pairs = [pair for group in groups for pair in group]
        progress = _progress_bar if show_progress else None
        scored = iter(
            self._engine.score(pairs, language=options.language, batch_size=batch_size, progress=progress)
        )
        results = []
        for group in groups:
            mine = list(islice(scored, len(group)))
            order = ranking.order(mine)
            results.append(self._engine.prune([mine[i] for i in order], order, options))
        return results


def _pairs(query: str, documents: Any, titles: Any, place: str = "") -> list[Pair]:
    """The pairs of a checked query; `place` is where its documents stand in the caller's list."""
    texts = check_texts(f"documents{place}", documents)
    checked = check_titles(f"titles{place}", titles, len(texts))
    return [Pair(query, text, title) for text, title in zip(texts, checked, strict=True)]


def _progress_bar(batches: Iterable[list[int]], total: int) -> Iterator[list[int]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Passages", total=total)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch))
