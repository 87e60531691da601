"""A mean-pooling bi-encoder as a teacher that reads each passage once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding

from provence_training.arrays import Float32Array
from provence_training.cache import ContentCache, content_key, fingerprint
from provence_training.compute import current_device
from provence_training.data.passages import Passage
from provence_training.learning.collator import pad_rows
from provence_training.pairs.text_pairs import TextPair
from provence_training.shrinking.checkpoint import load_encoder, load_tokenizer
from provence_training.teachers.models import TeacherScores

__all__ = ["LateChunkingTeacher"]


_TOKENS_PER_BATCH = 4096


class LateChunkingTeacher:
    """A bi-encoder such as multilingual-e5, whose embeddings are means of token states.

    Sentences are pooled from the tokens of the whole passage ("late chunking", Günther et al. 2024, arXiv
    2409.04701), so they need no pass of their own and see their context, as the student does. A run of
    sentences is the sum of its sentences, so that each passage is read once, however many pairs it is in.

    Args:
        directory: A BERT-like encoder that AutoModel loads, with `tokenizer.json`.
        cache: Stores the embeddings.
        query_prefix: What the bi-encoder expects before a question.
        passage_prefix: What it expects before a passage.
        dtype: Number format of the computations.
    """

    gives_logits = False

    def __init__(
        self,
        directory: str | Path,
        cache: ContentCache,
        *,
        query_prefix: str = "query: ",
        passage_prefix: str = "passage: ",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = load_encoder(directory, dtype).to(current_device())
        self._tokenizer = load_tokenizer(Path(directory))
        self._tokenizer.no_padding()
        positions = self._model.embeddings.position_embeddings
        # RoBERTa counts positions from the padding's id on.
        unused = 0 if positions.padding_idx is None else positions.padding_idx + 1
        self._tokenizer.enable_truncation(positions.num_embeddings - unused)
        self._padding = self._model.config.pad_token_id
        self._query_prefix, self._passage_prefix = query_prefix, passage_prefix
        self._cache = cache
        self._identity = fingerprint(self._model)

    def score(self, pairs: Sequence[TextPair]) -> list[TeacherScores]:
        """Cosine similarities; NaN for sentences beyond the encoder's window."""
        texts = list(dict.fromkeys(pair.question for pair in pairs))
        queries = dict(zip(texts, self._queries(texts), strict=True))
        passages = list({id(pair.passage): pair.passage for pair in pairs}.values())
        sums = {id(p): s for p, s in zip(passages, self._sentence_sums(passages), strict=True)}
        return [
            _similarities(
                queries[pair.question], sums[id(pair.passage)][pair.window.start : pair.window.stop]
            )
            for pair in pairs
        ]

    def _queries(self, texts: Sequence[str]) -> list[NDArray[np.float16]]:
        texts = [self._query_prefix + text for text in texts]
        keys = [content_key(self._identity, "query", text) for text in texts]

        def compute(places: list[int]) -> list[NDArray[np.float16]]:
            states = self._hidden_states(self._tokenizer.encode_batch([texts[i] for i in places]))
            return [_unit(state.mean(0)).astype(np.float16) for state in states]

        return self._cache.get(keys, compute, description="teacher reads questions")

    def _sentence_sums(self, passages: Sequence[Passage]) -> list[NDArray[np.float16]]:
        """For each passage, the sums of its sentences' token states, shape (sentences, H)."""
        keys = [
            content_key(self._identity, self._passage_prefix, passage.text, passage.sentences)
            for passage in passages
        ]

        def compute(places: list[int]) -> list[NDArray[np.float16]]:
            part = [passages[i] for i in places]
            encodings = self._tokenizer.encode_batch([self._passage_prefix + p.text for p in part])
            states = self._hidden_states(encodings)
            return [self._sums(*row).astype(np.float16) for row in zip(part, encodings, states, strict=True)]

        return self._cache.get(keys, compute, description="teacher reads passages")

    def _sums(self, passage: Passage, encoding: Encoding, states: Float32Array) -> Float32Array:
        ends = np.array([end for _, end in encoding.offsets]) - len(self._passage_prefix)
        sentence_of = np.searchsorted([s.start for s in passage.sentences], ends - 1, side="right") - 1
        inside = (sentence_of >= 0) & (ends > 0)  # neither the prefix nor a special token
        sums = np.zeros((len(passage.sentences), states.shape[1]), np.float32)
        np.add.at(sums, sentence_of[inside], states[inside])
        return sums

    @torch.inference_mode()
    def _hidden_states(self, encodings: Sequence[Encoding]) -> list[Float32Array]:
        """Last hidden states of each text, shape (T, H), from length-sorted batches."""
        lengths = [len(e.ids) for e in encodings]
        order = sorted(range(len(encodings)), key=lambda i: -lengths[i])
        states: dict[int, Float32Array] = {}
        while order:
            size = max(1, _TOKENS_PER_BATCH // lengths[order[0]])
            batch, order = order[:size], order[size:]
            ids, mask = pad_rows([encodings[i].ids for i in batch], self._padding)
            ids, mask = ids.to(self._model.device), mask.to(self._model.device)
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            hidden = hidden.float().cpu()  # (B, T, H)
            for row, i in enumerate(batch):
                states[i] = hidden[row, : lengths[i]].numpy()
        return [states[i] for i in range(len(encodings))]


def _similarities(query: NDArray[np.float16], sums: NDArray[np.float16]) -> TeacherScores:
    """Cosine similarities of a question to a run of sentences and to each of them."""
    rows = sums.astype(np.float32)  # (W, H)
    vectors = np.concatenate([rows.sum(0, keepdims=True), rows])
    with np.errstate(invalid="ignore"):
        cosines = (vectors @ query.astype(np.float32)) / np.linalg.norm(vectors, axis=1)
    return TeacherScores(float(cosines[0]), cosines[1:].tolist())


def _unit(vector: Float32Array) -> Float32Array:
    unit: Float32Array = vector / np.linalg.norm(vector)
    return unit
