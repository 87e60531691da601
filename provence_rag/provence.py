"""Provence: the facade."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from provence_rag.backends import BackendName
from provence_rag.backends.loading import load_backend, weight_files
from provence_rag.chunking import as_chunker
from provence_rag.config import SHORTEST_WINDOW, ProvenceConfig
from provence_rag.config_json import pad_token_id
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.hub import check_remote_settings, fingerprint, is_url, portable_name
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.engine import Engine, Pair
from provence_rag.inference.score_cache import ScoreCache, check_score_cache, score_store
from provence_rag.inputs import aligned_pairs, paired_texts
from provence_rag.modeling.checkpoints import check_vocabulary, find_checkpoint, read_checkpoint
from provence_rag.options import PruningMode, PruningOptions
from provence_rag.processing import PassageProcessor
from provence_rag.results import ProvenceOutput, RankedDocument
from provence_rag.transformers_bridge import backend_of, config_json_of
from provence_rag.validation import check_count, check_rows, check_share, check_text, check_texts, shortened

__all__ = ["Provence"]

_OFF = PruningOptions(mode="off")


class Provence(PassageProcessor):
    """Reranks passages and prunes their sentences in one forward pass.

    After Provence (Chirkova et al., ICLR 2025, arXiv 2501.16214). Make one with `from_pretrained`. Threads
    may share one: no call changes it. A pickle holds how the model was loaded, not its weights, and loads it
    again; after `from_transformer` it holds the transformer. See `docs/deployment.md` for processes.
    """

    _loading: dict[str, Any] | None = None
    """The arguments of `from_pretrained` that load the same model in another process."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        backend: BackendName = "auto",
        device: str | None = None,
        dtype: str | None = None,
        max_length: int | None = None,
        threads: int | None = None,
        chunker: Any = None,
        score_cache: int | str | Path | None = None,
        revision: str | None = None,
        cache_folder: str | Path | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        api_key: str | None = None,
    ) -> Provence:
        """Load a checkpoint: our own, a reranker, or one of the Provence family. Never runs code from it.

        Each family keeps its own rules, which are in `config` (see `docs/checkpoints.md`).

        Args:
            name_or_path: A directory, or a model on the Hugging Face hub; None is the bundled bilingual
                (English, Japanese) model, which needs no network. The URL of a server (`provence serve`)
                gives a `RemoteProvence`; only `api_key` goes with it, the rest is the server's business.
            backend: `onnx`, `openvino`, `torch`, or `auto`: ONNX Runtime on a CPU if the checkpoint has an
                export, else torch. `openvino` is the fastest on a CPU with VNNI.
            device: For torch: `cpu`, `cuda`, ...; None uses a GPU if torch finds one.
            dtype: ONNX: `int8` or `float32`; OpenVINO: `int8`; torch: `float32`, `float16` or `bfloat16`.
                None is the fastest export for ONNX and float32 for torch.
            max_length: Tokens of a window; None is the checkpoint's own.
            threads: Threads of a forward pass on a CPU; None is one per core. With torch, it is the number
                for the whole process (`torch.set_num_threads`).
            chunker: Cuts documents into sentences, in place of the multilingual rules: a `BaseChunker`, a
                LangChain text splitter, or a callable from text to strings or spans.
            score_cache: Keeps scores, so that the model reads no passage twice for the same query: a number
                of them in memory, or, for a path, in an SQLite file that processes may share. They serve all
                `PruningOptions` alike; only `max_tokens` has scores of its own.
            revision: Branch, tag or commit on the hub.
            cache_folder: Where downloads are stored.
            local_files_only: Do not download.
            token: Access token for the hub.
            api_key: API key of a server; None reads the environment variable `PROVENCE_API_KEY`.

        Raises:
            CheckpointError: The checkpoint is missing or cannot be used.
            InvalidInputError: An argument has a value that cannot be used.
            MissingExtraError: The backend's libraries are not installed.
            RemoteError: The server cannot be reached, or refuses the key.
        """
        loading: dict[str, Any] = {
            "backend": backend,
            "device": device,
            "dtype": dtype,
            "max_length": max_length,
        }
        if isinstance(score_cache, (str, Path)):
            check_score_cache(score_cache)
            score_cache = str(Path(score_cache).expanduser().absolute())
        loading |= {"threads": threads, "chunker": chunker, "score_cache": score_cache}
        loading["cache_folder"] = cache_folder
        loading["local_files_only"] = local_files_only
        if is_url(name_or_path):
            from provence_rag.remote import RemoteProvence  # needs this class

            check_remote_settings({**loading, "revision": revision, "token": token})
            return RemoteProvence(str(name_or_path), api_key=api_key)
        if api_key is not None:
            raise InvalidInputError(
                "api_key is for a model on a server: give its URL as name_or_path, "
                f"got {shortened(name_or_path)} (a token for the hub is token)"
            )
        weights = weight_files(backend, device, dtype)  # refuses before anything is downloaded
        chunker = None if chunker is None else as_chunker(chunker)
        if max_length is not None:
            check_count("max_length", max_length, SHORTEST_WINDOW)
        if threads is not None:
            check_count("threads", threads, 1)
        store = None if score_cache is None else score_store(score_cache)
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
        model = load_backend(directory, backend=backend, device=device, dtype=dtype, threads=threads)
        engine = Engine(
            model,
            tokenizer,
            config,
            pad_token_id=checkpoint.pad_token_id,
            unknown_token_id=tokenizer.unknown_id,
            chunker=chunker,
        )
        loaded = cls(engine, directory=directory)
        loaded._loading = loading | portable_name(name_or_path, directory)
        if store is not None:
            # Only a file may hold scores of other models.
            owner = loaded.fingerprint if isinstance(score_cache, str) else None
            engine.cache = ScoreCache(store, owner or "")
        return loaded

    @cached_property
    def fingerprint(self) -> str | None:
        """A hash of all that results depend on besides the text and the options, 64 hexadecimal digits.

        Those are the checkpoint's files, how they were loaded (but not a `chunker`), and the library's
        version. None if the model was not loaded with `from_pretrained`. For a model on a server, it is that
        of the server's model when this object was made.
        """
        if self._directory is None or self._loading is None:
            return None
        parts = [fingerprint(self._directory), version("provence-rag"), repr(self.config)]
        parts += [self.backend.name, self.backend.device, str(self._loading["dtype"])]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def has_chunker(self) -> bool:
        """Whether `from_pretrained` was given a `chunker`, which `fingerprint` does not tell from others."""
        return self._loading is not None and self._loading.get("chunker") is not None

    @classmethod
    def from_transformer(
        cls,
        transformer: Any,
        tokenizer: Any,
        *,
        config: ProvenceConfig | None = None,
        chunker: Any = None,
    ) -> Provence:
        """Use a transformer that is already in memory. Training, moving or casting it changes this model too.

        Only the tokenizer is copied. Each call puts the transformer into evaluation mode.

        Args:
            transformer: A sequence classifier of transformers with one label; a joint model has a linear
                layer `pruning_head` as well, see `attach_pruning_head`. Or a token classifier that prunes.
            tokenizer: Its tokenizer: one of transformers, or a `tokenizers.Tokenizer`.
            config: How it is to be used; None takes what the transformer's own configuration says.
            chunker: As in `from_pretrained`.

        Raises:
            CheckpointError: The transformer is of an unknown kind, or lacks a head that the configuration
                names.
            InvalidInputError: An argument has a value that cannot be used.
        """
        values = config_json_of(transformer)
        if config is None:
            config = ProvenceConfig.from_config_json(values, type(transformer).__name__)
        pairs = PairTokenizer.copy_of(tokenizer, config.pair_template)
        engine = Engine(
            backend_of(transformer, config),
            pairs,
            config,
            pad_token_id=pad_token_id(values, type(transformer).__name__),
            unknown_token_id=pairs.unknown_id,
            chunker=None if chunker is None else as_chunker(chunker),
        )
        return cls(engine)

    def __copy__(self) -> Provence:
        # A backend cannot be copied, and since no call changes the model, copies of its holders can share it.
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Provence:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The access token is not stored: the other process reads it from the environment variable `HF_TOKEN`.
        if self._loading is None:
            return type(self), (self._engine,)
        return partial(type(self).from_pretrained, **self._loading), ()

    def __repr__(self) -> str:
        backend = self.backend
        where = "" if self._directory is None else f"{str(self._directory)!r}, "
        return f"Provence({where}backend={backend.name!r}, device={backend.device!r})"

    # --- sentence-transformers' CrossEncoder: names, arguments and results ------------------------------

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
        """Relevance scores of (query, document) pairs.

        Args:
            pairs: N pairs, or a single one.
            batch_size: See `process`.
            show_progress_bar: Show a progress bar on standard error.

        Returns:
            Scores, shape (N,), float32; a scalar for a single pair. They differ from a stock CrossEncoder's
            for documents that are not read here (see `PrunedPassage.score`), and for texts that contain the
            name of a special token (`</s>`), which are read as plain text here.

        Raises:
            InvalidInputError: Something is not a pair of strings.
            CheckpointError: The checkpoint has no ranking head.
        """
        rows = check_rows("pairs", pairs, of="(query, document) pairs")
        is_single = len(rows) == 2 and all(isinstance(text, str) for text in rows)
        named = [("pairs", rows)] if is_single else [(f"pairs[{i}]", row) for i, row in enumerate(rows)]
        checked = [paired_texts(*row) for row in named]
        results = self.process_batch(
            [query for query, _ in checked],
            [[document] for _, document in checked],
            options=_OFF,
            reorder=True,  # has no effect on one document, but asks for the ranking head
            batch_size=batch_size,
            show_progress=show_progress_bar,
        )
        scores = np.array([passage.score for (passage,) in results], dtype=np.float32)
        return scores[0] if is_single else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> list[RankedDocument]:
        """Sort documents by relevance.

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
            check_texts("documents", documents),
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

    # --- the same with pruning ----------------------------------------------------------------------------

    def predict_with_pruning(
        self,
        queries: Sequence[str],
        documents: Sequence[str | Sequence[str]],
        batch_size: int | None = 32,
        show_progress_bar: bool = False,
        pruning_mode: PruningMode = "dynamic",
        pruning_threshold: float | None = 0.5,
        pruning_ratio: float | None = None,
        min_sentences: int = 1,
        return_documents: bool = False,
        *,
        separator: str = " ",
        **kwargs: Any,
    ) -> ProvenceOutput:
        """Score and prune aligned pairs: each query with the document at its position.

        Args:
            queries: N questions.
            documents: N documents, each a string or a list of its sentences, as in `process`.
            batch_size: See `process`; None is often faster than a number.
            show_progress_bar: Show a progress bar on standard error.
            pruning_mode: `PruningOptions.mode`.
            pruning_threshold: `PruningOptions.threshold`, ignored unless the mode is `threshold`; None is the
                checkpoint's own.
            pruning_ratio: `PruningOptions.ratio`, ignored unless the mode is `ratio`.
            min_sentences: `PruningOptions.min_sentences`.
            return_documents: Whether `pruned_documents` is filled.
            separator: As in `process`.
            **kwargs: Other fields of `PruningOptions`: `language`, `keep_answers`, `max_tokens` (with mode
                `budget`, for each pair), ...

        Raises:
            InvalidInputError: An argument has a value that cannot be used, or the lists differ in length.
            TypeError: `kwargs` has a name that `PruningOptions` does not know.
        """
        options: dict[str, Any] = {"mode": pruning_mode, "min_sentences": min_sentences}
        if pruning_mode == "threshold":
            if pruning_threshold is not None:
                check_share("pruning_threshold", pruning_threshold)
            options["threshold"] = pruning_threshold
        elif pruning_mode == "ratio":
            check_share("pruning_ratio", pruning_ratio)
            options["ratio"] = pruning_ratio
        pairs = aligned_pairs(queries, documents, separator=check_text("separator", separator))
        results = self._process(
            [[pair] for pair in pairs],
            PruningOptions(**options, **kwargs),
            batch_size=batch_size,
            show_progress=show_progress_bar,
        )
        return ProvenceOutput.from_passages([r[0] for r in results], return_documents=return_documents)

    @overload
    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None = None,
        min_sentences: int = 1,
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
        min_sentences: int = 1,
        *,
        return_scores: Literal[True],
        keep_answers: float | None = None,
    ) -> tuple[str, list[float]]: ...

    @overload
    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None,
        min_sentences: int,
        return_scores: Literal[True],
        *,
        keep_answers: float | None = None,
    ) -> tuple[str, list[float]]: ...

    def prune(
        self,
        query: str,
        document: str,
        threshold: float | None = None,
        min_sentences: int = 1,
        return_scores: bool = False,
        *,
        keep_answers: float | None = None,
    ) -> str | tuple[str, list[float]]:
        """Prune one document.

        Args:
            query: The question.
            document: The passage.
            threshold: Smallest keep probability of a kept sentence, in [0, 1]. None is the checkpoint's
                calibrated rule (mode `dynamic`), which keeps answers more reliably than a fixed number: how
                high keep probabilities are differs from checkpoint to checkpoint.
            min_sentences: Keep at least this many sentences; 0 allows an empty result.
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

        A checkpoint in another project's layout is written in ours, as by `provence export`.

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
