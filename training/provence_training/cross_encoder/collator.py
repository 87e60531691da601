"""Records of queries and documents as batches for sentence-transformers' CrossEncoderTrainer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator

from provence_rag.chunking import MultilingualChunker, Span, as_chunker
from provence_rag.config import ProvenceConfig
from provence_rag.errors import InvalidInputError
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.validation import check_count, check_number, check_share, check_text
from provence_training.cross_encoder.batch import reading_of
from provence_training.learning.collator import Example, ProvenceCollator
from provence_training.pairs.targets import IGNORE, Targets

__all__ = ["ProvenceCrossEncoderDataCollator"]

_FIELDS = ("query", "document", "label", "pruning_labels", "sentences", "teacher_score", "dataset_name")


class ProvenceCrossEncoderDataCollator(CrossEncoderDataCollator):
    """Makes batches for `ProvenceLoss` of records with a query and a document.

    The fields of a record, all but the first two optional (missing or None):

    - `query`, `document`: strings. A document that does not fit beside its query is cut; sentences that are
      cut off lose their targets.
    - `label`: relevance, in [0, 1].
    - `sentences`: the document's sentences, in order, as strings or `(start, end)` offsets; else the chunker
      finds them.
    - `pruning_labels`: for each sentence, 1 keep, 0 drop, or -100 unknown.
    - `teacher_score`: a teacher's relevance logit.

    Token ids are those that the model reads in use.

    Args:
        tokenizer: The model's (`model.tokenizer`).
        chunker: Cuts documents into sentences, as in `Provence.from_pretrained`; None: the multilingual one.
        max_sentences: At most this many sentences of a document are learned from; the rest is only read.
        sentence_level: Whether `pruning_labels` of a batch are of sentences, (S,), or of tokens, (B, T).
        include_positions: Whether a batch has `sentence_positions`: for each document, the character offsets
            of its sentences.
        config: The model's configuration (`model.provence.config`); None suits every model that started with
            a new pruning head. `ProvenceLoss` refuses batches of a configuration unlike the model's.

    Raises:
        InvalidInputError: An argument or a record has a value that cannot be used.
    """

    def __init__(
        self,
        tokenizer: Any,
        chunker: Any = None,
        max_sentences: int = 64,
        sentence_level: bool = True,
        include_positions: bool = True,
        *,
        config: ProvenceConfig | None = None,
    ) -> None:
        super().__init__(preprocess_fn=tokenizer, valid_label_columns=["label"])
        check_count("max_sentences", max_sentences, 1)
        if config is None:
            stock = ProvenceConfig()
            limit = min(getattr(tokenizer, "model_max_length", stock.max_length), stock.max_length)
            config = ProvenceConfig(max_length=limit)
        self.config = config
        self.chunker = MultilingualChunker() if chunker is None else as_chunker(chunker)
        self.max_sentences = max_sentences
        self.sentence_level = sentence_level
        self.include_positions = include_positions
        self._collate = ProvenceCollator(
            PairEncoder(PairTokenizer.copy_of(tokenizer, config.pair_template), config),
            pad_token_id=tokenizer.pad_token_id or 0,
            uses_token_types=True,  # the loss leaves them out for models without
        )

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Make a `CrossEncoderBatch` with `label`, shape (B,), and what the constructor adds."""
        examples = [self._example(f"record {number}", record) for number, record in enumerate(features)]
        batch = self._collate(examples)
        targets: Targets = batch.pop("targets")
        collated: dict[str, Any] = {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "token_type_ids": batch["token_type_ids"],
            "sentence_ids": targets.sentence_ids,
            "pruning_labels": targets.pruning_labels if self.sentence_level else _of_tokens(targets),
            "teacher_scores": targets.teacher_scores,
            "query_ids": targets.query_ids,
            "reading": reading_of(self.config),
            "label": targets.labels,
        }
        if self.include_positions:
            collated["sentence_positions"] = [[tuple(span) for span in e.sentences] for e in examples]
        if "dataset_name" in features[0]:
            collated["dataset_name"] = features[0]["dataset_name"]
        return collated

    def _example(self, place: str, record: Mapping[str, Any]) -> Example:
        if unknown := [name for name in record if name not in _FIELDS]:
            raise InvalidInputError(
                f"{place} has the unknown field {unknown[0]!r}: remove such columns, the known ones are "
                f"{', '.join(_FIELDS[:-1])}"
            )
        query = check_text(f"{place}: query", record.get("query"), blank=False)
        document = check_text(f"{place}: document", record.get("document"))
        given = record.get("sentences")
        chunker = self.chunker if given is None else as_chunker(lambda _: given)
        try:
            spans = chunker.spans(document)
        except InvalidInputError as error:
            raise InvalidInputError(f"{place}: sentences: {error}") from error
        label, teacher_score = record.get("label"), record.get("teacher_score")
        if label is not None:
            check_share(f"{place}: label", label)
        if teacher_score is not None:
            check_number(f"{place}: teacher_score", teacher_score)
        return Example(
            query=query,
            document=document,
            sentences=spans,
            label=label,
            pruning_labels=self._pruning_labels(place, record.get("pruning_labels"), spans),
            teacher_score=teacher_score,
        )

    def _pruning_labels(self, place: str, labels: Any, spans: Sequence[Span]) -> list[int] | None:
        if labels is None:
            return None
        values = list(labels) if isinstance(labels, Collection) and not isinstance(labels, str) else [labels]
        if bad := [value for value in values if value not in (0, 1, IGNORE)]:
            raise InvalidInputError(f"{place}: pruning_labels must be 0, 1 or {IGNORE}, got {bad[0]!r}")
        if len(values) != len(spans):
            raise InvalidInputError(
                f"{place}: pruning_labels must have an entry for each of the {len(spans)} sentences, got "
                f"{len(values)}: give the sentences too, in the field sentences"
            )
        ignored = [IGNORE] * (len(values) - self.max_sentences)
        return [int(value) for value in values[: self.max_sentences]] + ignored


def _of_tokens(targets: Targets) -> torch.Tensor:
    """The label of each token's sentence, shape (B, T)."""
    padded = torch.cat([targets.pruning_labels, targets.pruning_labels.new_tensor([IGNORE])])
    return padded[targets.sentence_ids]  # -1, no sentence, is the last one
