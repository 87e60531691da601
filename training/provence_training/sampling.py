"""Which question meets which passage: its own, hard negatives, random negatives."""

from __future__ import annotations

import itertools
import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from provence_rag.errors import InvalidInputError
from provence_rag.inference.encoding import PairTokenizer
from provence_training.collator import Example
from provence_training.config import PairConfig
from provence_training.negatives import BM25Neighbours
from provence_training.passages import Passage, Question, cut_window, make_example, sentence_labels

__all__ = ["Corpus", "Pair", "draw_pairs"]

Kind = Literal["own", "bm25", "random"]
Asked = tuple[Passage, Question]
Planned = tuple[Kind, Passage, Question, int]

_NEIGHBOURS = 20
"""Passages that BM25 finds for a question; one that lacks the answer is drawn."""

_TRIES = 8
"""Random passages looked at for one that lacks the answer: only words like "the" are in all of them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question with a run of sentences of a passage."""

    question: Question
    query: str
    """The question as the model reads it."""
    own: Passage
    """The question's own passage."""
    passage: Passage
    """The passage that it meets."""
    kind: Kind
    """How that one was found."""
    window: range
    """Indices of the passage's sentences."""
    with_title: bool
    label: float | None
    """Relevance; None if it is not learned from."""
    pruning_labels: Sequence[int] | None
    """For each sentence of the passage, 1 keep or 0 drop; None if they are not learned from."""
    guided: bool = True
    """Whether a guide is learned from."""

    def example(
        self, teacher_score: float | None = None, sentence_teacher_scores: Sequence[float] | None = None
    ) -> Example:
        """What the model is trained on, with a teacher's logits of the window and of its sentences."""
        return make_example(
            self.query,
            self.passage,
            self.window,
            label=self.label,
            pruning_labels=self.pruning_labels,
            teacher_score=teacher_score,
            sentence_teacher_scores=sentence_teacher_scores,
            with_title=self.with_title,
            guided=self.guided,
        )


@dataclass(frozen=True)
class Corpus:
    """Passages to draw from."""

    passages: Sequence[Passage]

    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of a data set (`Passage.source`) among the questions drawn; by default their number."""

    leaning: frozenset[str] = frozenset()
    """Data sets whose questions lean on their passage ("the poster's bike"): other passages are
    off-topic for pruning, but no label for ranking."""

    unguided: frozenset[str] = frozenset()
    """Data sets whose questions are not learned from a guide."""


def draw_pairs(corpus: Corpus, config: PairConfig, tokenizer: PairTokenizer, *, seed: int) -> list[Pair]:
    """Pair questions with passages.

    Args:
        corpus: Passages without sentences are left out; others without questions serve as negatives.
        config: How many pairs, and which.
        tokenizer: Whose tokens are BM25's terms.
        seed: The same seed gives the same pairs.

    Returns:
        The pairs in random order, those of one `per_question` together. A question for which there is no
        passage that lacks its answer goes without a negative; the log says how many did.

    Raises:
        InvalidInputError: There are no questions, or none in a data set that has a weight.
    """
    sampler = _Sampler(corpus, config, seed)
    plan = sampler.plan()
    found = _neighbours(corpus, [(p, q) for kind, p, q, _ in plan if kind == "bm25"], tokenizer)
    pairs = []
    for kind, own, question, turn in plan:
        candidates = found[own.language, question.text] if kind == "bm25" else ()
        passage = own if kind == "own" else sampler.negative(own, question, candidates)
        if passage is not None:
            pairs.append(sampler.pair(kind, own, question, passage, turn))
    if len(pairs) < len(plan):
        log.warning("%d of %d pairs left out: no passage lacks the answer", len(plan) - len(pairs), len(plan))
    return pairs


class _Sampler:
    """Everything that is drawn, from one source of randomness."""

    def __init__(self, corpus: Corpus, config: PairConfig, seed: int) -> None:
        self._config = config
        self._corpus = corpus
        self._seed = seed
        self._rng = random.Random(seed)
        self._by_source: dict[str, list[Asked]] = defaultdict(list)
        self._by_language: dict[str, list[Passage]] = defaultdict(list)
        for passage in corpus.passages:
            if passage.sentences:
                self._by_source[passage.source] += [(passage, q) for q in passage.questions]
                self._by_language[passage.language].append(passage)
        self._weights = {
            source: corpus.weights.get(source, len(asked)) for source, asked in self._by_source.items()
        }
        for source, weight in corpus.weights.items():
            if weight > 0 and not self._by_source.get(source):
                raise InvalidInputError(f"{source!r} has a weight, but no passages with questions")
        if not any(self._by_source.values()):
            raise InvalidInputError("there is no passage with questions to draw pairs from")

    def plan(self) -> list[Planned]:
        """Which question meets a passage of which kind, and in which turn of the questions."""
        config = self._config
        if config.per_question > 1:
            return self._plan_groups()
        share = 1 - config.bm25 - config.random
        own = self._questions(None if config.count is None else round(config.count * share))
        count = round(len(own) / share) if config.count is None else config.count
        bm25 = self._questions(round(count * config.bm25))
        others = self._questions(max(0, count - len(own) - len(bm25)))
        plan: list[Planned] = [("own", *asked) for asked in own]
        plan += [("bm25", *asked) for asked in bm25]
        plan += [("random", *asked) for asked in others]
        return self._rng.sample(plan, len(plan))

    def _plan_groups(self) -> list[Planned]:
        config = self._config
        weights = (config.bm25, config.random)
        count = None if config.count is None else -(-config.count // config.per_question)
        plan: list[Planned] = []
        for asked in self._questions(count):
            others: list[Kind] = self._rng.choices(("bm25", "random"), weights, k=config.per_question - 1)
            plan += [("own", *asked), *((kind, *asked) for kind in others)]
        return plan[: config.count]

    def _questions(self, count: int | None) -> list[tuple[Passage, Question, int]]:
        """Questions by the data sets' weights, or (None) each once; within one, none twice in a turn."""
        turns = {s: self._turns(self._by_source[s]) for s, weight in self._weights.items() if weight > 0}
        if count is None:
            drawn = [source for source in turns for _ in self._by_source[source]]
            self._rng.shuffle(drawn)
        else:
            drawn = self._rng.choices(list(turns), [self._weights[source] for source in turns], k=count)
        return [next(turns[source]) for source in drawn]

    def _turns(self, asked: Sequence[Asked]) -> Iterator[tuple[Passage, Question, int]]:
        for turn in itertools.count():
            for passage, question in self._rng.sample(asked, len(asked)):
                yield passage, question, turn

    def negative(self, own: Passage, question: Question, candidates: Sequence[Passage]) -> Passage | None:
        """One of the candidates that lacks the answer, else a random passage that does."""
        lacking = [p for p in candidates if _lacks_answer(p, own, question)]
        if not lacking:
            pool = self._by_language[own.language]
            tried = self._rng.sample(pool, min(_TRIES, len(pool)))
            lacking = [p for p in tried if _lacks_answer(p, own, question)]
        return self._rng.choice(lacking) if lacking else None

    def pair(self, kind: Kind, own: Passage, question: Question, passage: Passage, turn: int) -> Pair:
        """What is learned from a question with a passage."""
        config, rng = self._config, self._rng
        label: float | None = question.label
        pruning_labels: list[int] | None = None
        if kind != "own":
            label = None if own.source in self._corpus.leaning else 0.0
            pruning_labels = [0] * len(passage.sentences)
        elif question.answers is not None:
            pruning_labels = sentence_labels(passage.sentences, question.answers)
        window = range(len(passage.sentences))
        # Any sentence may be the one that makes a passage relevant: a part of it may not be.
        is_unmarked = pruning_labels is None and bool(label)
        if config.window is not None and not (is_unmarked and config.labels and not config.teacher):
            low, high = config.window.get(own.language, config.window["default"])
            around = pruning_labels if config.labels and pruning_labels else [0] * len(passage.sentences)
            window = cut_window(passage, around, rng.randint(low, high), rng)
            label = None if is_unmarked else label
        return Pair(
            question=question,
            query=self._query(question.text, turn),
            own=own,
            passage=passage,
            kind=kind,
            window=window,
            with_title=rng.random() < config.titles,
            label=label if config.labels else None,
            pruning_labels=pruning_labels if config.labels else None,
            guided=own.source not in self._corpus.unguided,
        )

    def _query(self, text: str, turn: int) -> str:
        # One decision for all passages that a question meets in a turn: the loss compares those of one query.
        rng = random.Random(f"{self._seed} {turn} {text}")
        return text.lower().rstrip("?？ ") if rng.random() < self._config.keyword_queries else text


def _neighbours(
    corpus: Corpus, asked: Sequence[Asked], tokenizer: PairTokenizer
) -> dict[tuple[str, str], list[Passage]]:
    """For each language and question, the passages of the language that BM25 finds."""
    found: dict[tuple[str, str], list[Passage]] = {}
    for language in sorted({own.language for own, _ in asked}):
        pool = [p for p in corpus.passages if p.language == language and p.sentences]
        texts = list(dict.fromkeys(question.text for own, question in asked if own.language == language))
        rows = BM25Neighbours(pool, tokenizer).search(texts, k=_NEIGHBOURS)
        found |= {(language, text): [pool[i] for i in row] for text, row in zip(texts, rows, strict=True)}
    return found


def _lacks_answer(candidate: Passage, own: Passage, question: Question) -> bool:
    if candidate.id == own.id or any(q.text == question.text for q in candidate.questions):
        return False
    text = candidate.text.lower()
    return not any(own.text[a.start : a.end].lower() in text for a in question.answers or ())
