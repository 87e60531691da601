"""Which question meets which passage: positives, hard negatives, random negatives."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from provence_rag.errors import InvalidInputError
from provence_training.collator import Example
from provence_training.passages import Passage, Question, cut_window, make_example, sentence_labels

__all__ = ["Mixture", "PairSampler"]

_TRIES = 8
"""Random passages looked at for one that lacks the answer: only words like "the" are in all of them."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How examples are drawn."""

    weights: Mapping[str, float]
    """Share of each data set (`Passage.source`) among the questions drawn."""

    positives: float = 0.45
    """Share of pairs in which the passage is the question's own, in [0, 1]."""

    hard_negatives: float = 0.35
    """Share of pairs with a BM25 neighbour that lacks the answer; the rest are random passages."""

    leaning: frozenset[str] = field(default_factory=frozenset)
    """Data sets whose questions lean on their passage ("the poster's bike"): other passages are
    off-topic for pruning, but no label for ranking."""

    window: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"ja": (100, 420), "en": (200, 900)}
    )
    """Per language, the range from which the passage's length is drawn, in characters. A passage that
    answers at a place unknown is read whole."""

    titles: float = 0.2
    """Share of pairs in which the passage's title goes in front."""

    keyword_queries: float = 0.3
    """Share of questions rewritten as people type them: lower case, no question mark."""


class PairSampler:
    """Draws labelled examples from passages with answer spans.

    Args:
        passages: Passages with questions; those without sentences are left out.
        mixture: How examples are drawn.
        seed: The same seed and calls give the same examples.

    Raises:
        InvalidInputError: A data set of the mixture has no questions.
    """

    def __init__(self, passages: Sequence[Passage], mixture: Mixture, seed: int) -> None:
        self.mixture = mixture
        self._rng = random.Random(seed)
        self._by_source: dict[str, list[tuple[Passage, Question]]] = defaultdict(list)
        self._by_language: dict[str, list[Passage]] = defaultdict(list)
        for passage in passages:
            if passage.sentences:
                self._by_source[passage.source] += [(passage, q) for q in passage.questions]
                self._by_language[passage.language].append(passage)
        for source, weight in mixture.weights.items():
            if weight > 0 and not self._by_source[source]:
                raise InvalidInputError(
                    f"mixture.weights names {source!r}, but no passage of that source has questions"
                )

    def questions(self, count: int) -> list[tuple[Passage, Question]]:
        """Draw questions by the data sets' weights; within a data set none twice until all had a turn."""
        sources = list(self.mixture.weights)
        turns = {source: self._turns(self._by_source[source]) for source in sources}
        drawn = self._rng.choices(sources, weights=[self.mixture.weights[s] for s in sources], k=count)
        return [next(turns[source]) for source in drawn]

    def _turns(self, items: Sequence[tuple[Passage, Question]]) -> Iterator[tuple[Passage, Question]]:
        while True:
            yield from self._rng.sample(items, len(items))

    def example(self, passage: Passage, question: Question, neighbours: Sequence[Passage]) -> Example:
        """Pair a question with its own passage, a neighbour, or a random passage.

        Args:
            passage: The question's own passage.
            question: The question.
            neighbours: Hard negatives to choose from.

        Returns:
            The example: with the question's own passage also where no other one without the answer is found.
        """
        draw = self._rng.random()
        others: Sequence[Passage] = []
        if self.mixture.positives <= draw < self.mixture.positives + self.mixture.hard_negatives:
            others = [p for p in neighbours if p.sentences and _lacks_answer(p, passage, question)]
        if self.mixture.positives <= draw and not others:
            pool = self._by_language[passage.language]
            tried = self._rng.sample(pool, min(_TRIES, len(pool)))
            others = [p for p in tried if _lacks_answer(p, passage, question)]
        if others:
            return self._negative(passage, question, self._rng.choice(others))
        return self._positive(passage, question)

    def _positive(self, passage: Passage, question: Question) -> Example:
        if question.answers is None:
            return self._make(passage, question, passage, 1.0, None)
        labels = sentence_labels(passage.sentences, question.answers)
        return self._make(passage, question, passage, 1.0 if question.answers else 0.0, labels)

    def _negative(self, own: Passage, question: Question, passage: Passage) -> Example:
        label = None if own.source in self.mixture.leaning else 0.0
        return self._make(own, question, passage, label, [0] * len(passage.sentences))

    def _make(
        self,
        own: Passage,
        question: Question,
        passage: Passage,
        label: float | None,
        pruning_labels: list[int] | None,
    ) -> Example:
        rng, mixture = self._rng, self.mixture
        if pruning_labels is None:  # any sentence may be the one that makes it relevant
            window = range(len(passage.sentences))
        else:
            window = cut_window(passage, pruning_labels, rng.randint(*mixture.window[own.language]), rng)
        query = question.text
        if rng.random() < mixture.keyword_queries:
            query = query.lower().rstrip("?？ ")
        return make_example(
            query,
            passage,
            window,
            label=label,
            pruning_labels=pruning_labels,
            with_title=rng.random() < mixture.titles,
        )


def _lacks_answer(candidate: Passage, own: Passage, question: Question) -> bool:
    if candidate.id == own.id or any(q.text == question.text for q in candidate.questions):
        return False
    text = candidate.text.lower()
    return not any(own.text[a.start : a.end].lower() in text for a in question.answers or ())
