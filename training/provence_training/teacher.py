"""A bi-encoder as teacher: cosine similarities of a question with a passage and with its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from transformers import AutoModel

from provence_rag.chunking import Span
from provence_training.passages import Passage

__all__ = ["BiEncoderTeacher", "TeacherCache"]

FloatArray = NDArray[np.float32]


class BiEncoderTeacher:
    """A mean-pooling bi-encoder such as multilingual-e5.

    Sentences are pooled from the tokens of the whole passage ("late chunking", Günther et al. 2024, arXiv
    2409.04701): they cost no pass of their own, and see their context as the student does.

    Args:
        directory: A BERT-like encoder that AutoModel loads, with `tokenizer.json`.
        query_prefix: What the bi-encoder expects in front of a question.
        passage_prefix: What it expects in front of a passage.
    """

    def __init__(
        self, directory: str | Path, *, query_prefix: str = "query: ", passage_prefix: str = "passage: "
    ) -> None:
        self.model = AutoModel.from_pretrained(directory, dtype=torch.float32, add_pooling_layer=False).eval()
        self.tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        self.tokenizer.no_padding()
        positions = self.model.embeddings.position_embeddings
        behind = 0 if positions.padding_idx is None else positions.padding_idx + 1  # as RoBERTa counts
        self.tokenizer.enable_truncation(positions.num_embeddings - behind)
        self._padding = self.model.config.pad_token_id
        self.query_prefix, self.passage_prefix = query_prefix, passage_prefix

    @torch.inference_mode()
    def _hidden_states(
        self, encodings: Sequence[Encoding], tokens_per_batch: int
    ) -> list[NDArray[np.float16]]:
        """Last hidden states of each text, shape (T, H), from length-sorted batches."""
        lengths = [len(e.ids) for e in encodings]
        order = sorted(range(len(encodings)), key=lambda i: -lengths[i])
        states: dict[int, NDArray[np.float16]] = {}
        while order:
            longest = lengths[order[0]]
            size = max(1, tokens_per_batch // longest)
            batch, order = order[:size], order[size:]
            ids = torch.full((len(batch), longest), self._padding)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(batch):
                ids[row, : lengths[i]] = torch.tensor(encodings[i].ids)
                mask[row, : lengths[i]] = 1
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, T, H)
            for row, i in enumerate(batch):
                states[i] = hidden[row, : lengths[i]].to(torch.float16).numpy()
        return [states[i] for i in range(len(encodings))]

    def embed(self, passages: Sequence[Passage], path: Path, *, tokens_per_batch: int = 4096) -> None:
        """Write the token states of passages and the embeddings of their questions to an `.npz` file.

        Args:
            passages: At least one, and at least one with a question.
            path: The file; it appears when it is complete.
            tokens_per_batch: Padded tokens that the encoder reads at once.
        """
        texts = self.tokenizer.encode_batch([self.passage_prefix + p.text for p in passages])
        asked = [(p.id, q) for p in passages for q in p.questions]
        questions = self.tokenizer.encode_batch([self.query_prefix + q.text for _, q in asked])
        tokens = self._hidden_states(texts, tokens_per_batch)
        states = self._hidden_states(questions, tokens_per_batch)
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                pid=[p.id for p in passages],
                tokens=np.concatenate(tokens),
                lengths=[len(t) for t in tokens],
                offsets=np.concatenate([np.array(e.offsets, np.int32) for e in texts])
                - len(self.passage_prefix),
                q=[(pid, q.id) for pid, q in asked],
                qe=np.stack([s.astype(np.float32).mean(0) for s in states]).astype(np.float16),
            )
        partial.replace(path)


class TeacherCache:
    """Similarities computed from the files of `BiEncoderTeacher.embed`.

    Args:
        directory: Where the `.npz` files are.
    """

    def __init__(self, directory: Path) -> None:
        self.questions: dict[tuple[str, str], FloatArray] = {}
        self._passages: dict[str, tuple[NDArray[np.float16], NDArray[np.int32]]] = {}
        for path in sorted(directory.glob("*.npz")):
            with np.load(path) as stored:
                ends = np.cumsum(stored["lengths"])
                tokens, offsets = stored["tokens"], stored["offsets"]
                for pid, start, end in zip(stored["pid"], ends - stored["lengths"], ends, strict=True):
                    self._passages[str(pid)] = (tokens[start:end], offsets[start:end])
                for (pid, qid), embedding in zip(stored["q"], stored["qe"].astype(np.float32), strict=True):
                    self.questions[str(pid), str(qid)] = embedding / np.linalg.norm(embedding)

    def __contains__(self, passage_id: str) -> bool:
        return passage_id in self._passages

    def similarities(
        self, question: tuple[str, str], passage_id: str, sentences: Sequence[Span]
    ) -> tuple[float, list[float]]:
        """Cosine of a question with a run of a passage's sentences, and with each of them.

        Args:
            question: Ids of the passage it was asked of, and of the question.
            passage_id: The passage to compare with.
            sentences: Character spans in that passage.

        Returns:
            The similarity of the run, and those of the sentences (NaN behind the encoder's window).
        """
        tokens, offsets = self._passages[passage_id]
        query = self.questions[question]
        starts = [s.start for s in sentences]
        sentence_of = np.searchsorted(starts, offsets[:, 1] - 1, side="right") - 1
        inside = (sentence_of >= 0) & (offsets[:, 1] <= sentences[-1].end) & (offsets[:, 1] > 0)
        states = tokens[inside].astype(np.float32)
        sums = np.zeros((len(sentences), states.shape[1]), np.float32)
        np.add.at(sums, sentence_of[inside], states)
        with np.errstate(invalid="ignore"):
            each = (sums @ query) / np.linalg.norm(sums, axis=1)
            whole = sums.sum(0)
            return float(whole @ query / np.linalg.norm(whole)), [float(x) for x in each]
