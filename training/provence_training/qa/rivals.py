"""Other ways to shorten passages, to compare with: a filter by embeddings, and LLMLingua-2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from provence_rag.errors import InvalidInputError
from provence_rag.inference.assembly import assemble
from provence_rag.validation import check_share
from provence_training.evaluation.systems import EmbeddingFilter
from provence_training.evaluation.topics import Topic
from provence_training.qa.questions import QAQuestion

__all__ = ["FilterByEmbeddings", "LLMLingua2"]

_SHARE = 0.3


class FilterByEmbeddings:
    """The sentences most similar to the question, in the order of the passages.

    Args:
        model: A bi-encoder that sentence-transformers loads.
        share: Share of the characters of all passages to keep; the sentence that passes it is kept whole.
        query_prefix: What the model expects before a question ("query: " for E5); None leaves that to its
            configuration.
        passage_prefix: What it expects before a sentence ("passage: " for E5).
    """

    def __init__(
        self,
        model: str,
        share: float = _SHARE,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
    ) -> None:
        check_share("share", share)
        prefixes = {"query_prefix": query_prefix, "passage_prefix": passage_prefix}
        given = [f"{name}={prefix!r}" for name, prefix in prefixes.items() if prefix is not None]
        self.name = " ".join([f"embedding-filter:{model}:{share:g}", *given])
        self._filter = EmbeddingFilter(model, query_prefix=query_prefix, passage_prefix=passage_prefix)
        self._share = share

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """What is left of each passage; those with nothing left are dropped."""
        scored = self._filter(
            [
                Topic(
                    query=question.text,
                    language=question.language,
                    documents=tuple(passages),
                    grades=(),
                    ideal_grades=(),
                    first_stage=(),
                    answers=(),
                )
            ]
        )[0]
        assert scored.keep is not None
        scores = np.concatenate([np.empty(0), *scored.keep])
        lengths = np.array([span.end - span.start for spans in scored.sentences for span in spans])
        kept = np.zeros(len(scores), dtype=bool)
        order = np.argsort(-scores, kind="stable")
        before = np.cumsum(lengths[order]) - lengths[order]
        kept[order[before < self._share * lengths.sum()]] = True
        masks = np.split(kept, np.cumsum([len(spans) for spans in scored.sentences])[:-1])
        texts = map(assemble, passages, scored.sentences, masks)
        return [text for text in texts if text]


class LLMLingua2:
    """The passages without the tokens that LLMLingua-2 (Pan et al. 2024, arXiv 2403.12968) finds dispensable.

    Args:
        model: A checkpoint of it, such as "microsoft/llmlingua-2-xlm-roberta-large-meetingbank".
        share: Share of the tokens to keep, its `rate`.

    Raises:
        InvalidInputError: The package is not installed, or `share` is not a share.
    """

    def __init__(self, model: str, share: float = _SHARE) -> None:
        check_share("share", share)
        try:
            from llmlingua import PromptCompressor
        except ImportError as error:
            raise InvalidInputError("strategy llmlingua2 needs a package: pip install llmlingua") from error
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = f"llmlingua2:{model}:{share:g}"
        self._compressor: Any = PromptCompressor(model_name=model, use_llmlingua2=True, device_map=device)
        self._share = share

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """What is left of each passage. The question plays no part."""
        compressed = self._compressor.compress_prompt(
            list(passages),
            rate=self._share,
            use_context_level_filter=False,
            force_tokens=["\n", "?", ".", "。"],
        )
        return [text for text in compressed["compressed_prompt_list"] if text.strip()]
