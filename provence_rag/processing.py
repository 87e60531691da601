"""From a query and its documents to reranked and pruned passages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from provence_rag.config import ProvenceConfig
from provence_rag.errors import InvalidInputError
from provence_rag.inference.backend import Backend
from provence_rag.inference.engine import Engine, Pair, Progress
from provence_rag.inputs import pairs_of_query
from provence_rag.options import PruningOptions
from provence_rag.ranking import AS_GIVEN, Ranking
from provence_rag.results import PrunedPassage
from provence_rag.validation import check_count, check_rows, check_text, check_texts, shown

__all__ = ["PassageProcessor"]


class PassageProcessor:
    """Runs an engine on queries and documents: what every method of `Provence` stands on.

    Args:
        engine: Everything between the checked input and the model.
        directory: The checkpoint's directory, if it has one.
    """

    def __init__(self, engine: Engine, *, directory: Path | None = None) -> None:
        self._engine = engine
        self._directory = directory

    @property
    def engine(self) -> Engine:
        """Scores pairs once, and selects their sentences as often as you like: for evaluation."""
        return self._engine

    @property
    def directory(self) -> Path | None:
        """The checkpoint's directory; None if it is in memory only."""
        return self._directory

    @property
    def config(self) -> ProvenceConfig:
        """The checkpoint's configuration."""
        return self._engine.config

    @property
    def backend(self) -> Backend:
        """What runs the model."""
        return self._engine.backend

    def count_tokens(self, text: str) -> int:
        """The length of a text in tokens of the checkpoint's tokenizer, without special tokens.

        Raises:
            InvalidInputError: `text` is not a string.
        """
        return self._engine.count_tokens(check_text("text", text))

    def process(
        self,
        query: str,
        documents: Sequence[str | Sequence[str]],
        *,
        titles: Sequence[str | None] | None = None,
        separator: str = " ",
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
            query: The question. Tokens beyond half of the window are not read (a warning says so).
            documents: Passages of any length; nothing is truncated. Each is a string, which is split into
                sentences, or a list of strings: its sentences, none of them blank.
            titles: A title or None for each document, read with each of its windows. A title is not part of
                the result. It gets at most half of the room beside the query.
            separator: Joins the sentences of a document that is a list; offsets refer to the joined text. Use
                "" for Japanese or Chinese.
            options: How sentences are selected; None is the checkpoint's own rule.
            top_k: Return the `top_k` most relevant documents, best first.
            score_threshold: Return the documents with at least this relevance score, best first.
            min_documents: Return at least this many documents, best first, even if their scores are below
                `score_threshold`.
            reorder: Return all documents, best first.
            batch_size: Windows per batch. None makes batches of windows of similar length, up to a number of
                tokens that suits a CPU; a GPU needs larger ones.
            show_progress: Show a progress bar on standard error.

        Returns:
            One passage per document: in the order given, or best first with `top_k`, `score_threshold` or
            `reorder`. A document of white space gives an empty passage; it is not read and ranks last. So
            does a document mostly of characters that the checkpoint's vocabulary lacks.

        Warns:
            LanguageWarning: The query is in a language that the checkpoint was not trained on; once per
                language and process.

        Raises:
            InvalidInputError: An argument has a value that cannot be used.
            CheckpointError: Documents are to be ranked and the checkpoint has no ranking head.
        """
        query = check_text("query", query, blank=False)
        ranking = Ranking(
            top_k=top_k, score_threshold=score_threshold, min_documents=min_documents, reorder=reorder
        )
        separator = check_text("separator", separator)
        return self._process(
            [pairs_of_query(query, documents, titles, separator=separator)],
            options,
            ranking,
            batch_size=batch_size,
            show_progress=show_progress,
        )[0]

    def process_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str | Sequence[str]]],
        *,
        titles: Sequence[Sequence[str | None]] | None = None,
        separator: str = " ",
        options: PruningOptions | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        min_documents: int = 0,
        reorder: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> list[list[PrunedPassage]]:
        """`process` for many queries, each with its own documents, batched across queries.

        `queries` holds N questions, `documents` N lists of documents, `titles` N lists of titles or None.
        The other arguments are those of `process` and apply to each query.

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
        separator = check_text("separator", separator)
        rows = zip(queries, groups, title_groups, strict=True)
        ranking = Ranking(
            top_k=top_k, score_threshold=score_threshold, min_documents=min_documents, reorder=reorder
        )
        return self._process(
            [pairs_of_query(*row, separator=separator, place=f"[{i}]") for i, row in enumerate(rows)],
            options,
            ranking,
            batch_size=batch_size,
            show_progress=show_progress,
        )

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
        progress: Progress | None = None
        if show_progress:
            from provence_rag.rendering import progress_bar  # needs rich, which takes time to import

            progress = progress_bar
        return self._run(groups, options, ranking, batch_size=batch_size, progress=progress)

    def _run(
        self,
        groups: Sequence[Sequence[Pair]],
        options: PruningOptions,
        ranking: Ranking,
        *,
        batch_size: int | None,
        progress: Progress | None,
    ) -> list[list[PrunedPassage]]:
        """Score, order and prune what `_process` has checked."""
        pairs = [pair for group in groups for pair in group]
        scored = iter(
            self._engine.score(
                pairs,
                language=options.language,
                longest_sentence=options.max_tokens,
                batch_size=batch_size,
                progress=progress,
            )
        )
        results = []
        for group in groups:
            mine = list(islice(scored, len(group)))
            order = ranking.order(mine)
            results.append(self._engine.prune([mine[i] for i in order], order, options))
        return results
