from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag import ProvenceConfig, PruningOptions
from provence_rag.config import DynamicRule
from provence_rag.inference.selection import Candidates, select

CONFIG = ProvenceConfig(
    threshold=0.5,
    dynamic={"default": DynamicRule(floor=0.1, share=0.5), "ja": DynamicRule(floor=0.3, share=1.0)},
    promises={
        0.9: {"default": DynamicRule(floor=0.5, share=0.8)},
        0.97: {"default": DynamicRule(floor=0.5, share=0.5)},
        0.99: {"default": DynamicRule(floor=0.2, share=0.4)},
    },
)


def document(
    scores: Sequence[float],
    *,
    characters: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
    levels: Sequence[int] | None = None,
    title: int = 0,
    language: str = "en",
) -> Candidates:
    size = len(scores)
    return Candidates(
        scores=np.array(scores, dtype=np.float64),
        num_characters=np.array([10] * size if characters is None else characters, dtype=np.int64),
        num_tokens=np.array([1] * size if tokens is None else tokens, dtype=np.int64),
        heading_levels=np.array([0] * size if levels is None else levels, dtype=np.int64),
        num_title_sentences=title,
        language=language,
    )


def kept(documents: Candidates | Sequence[Candidates], options: PruningOptions) -> list[list[int]]:
    """The numbers of the sentences kept in each document."""
    documents = [documents] if isinstance(documents, Candidates) else documents
    return [np.flatnonzero(mask).tolist() for mask in select(documents, options, CONFIG)]


def test_threshold() -> None:
    one = document([0.2, 0.5, 0.8])
    assert kept(one, PruningOptions(threshold=0.5)) == [[1, 2]]
    assert kept(one, PruningOptions(mode="threshold")) == [[1, 2]]  # the checkpoint's
    assert kept(one, PruningOptions(threshold=0.0)) == [[0, 1, 2]]
    assert kept(one, PruningOptions(threshold=1.0)) == [[]]


def test_dynamic() -> None:
    options = PruningOptions()
    assert kept(document([0.9, 0.45, 0.44]), options) == [[0, 1]]  # half of the best
    assert kept(document([0.15, 0.1, 0.09]), options) == [[0, 1]]  # the floor
    assert kept(document([0.09, 0.05]), options) == [[]]
    assert kept(document([0.9, 0.89], language="ja"), options) == [[0]]
    assert kept(document([0.29], language="ja-JP"), options) == [[]]


def test_promises() -> None:
    one = document([0.9, 0.75, 0.5, 0.4, 0.3])
    assert kept(one, PruningOptions(keep_answers=0.9)) == [[0, 1]]
    assert kept(one, PruningOptions(keep_answers=0.95)) == [[0, 1, 2]]
    assert kept(one, PruningOptions(keep_answers=0.99)) == [[0, 1, 2, 3]]


def test_ratio() -> None:
    scores = [0.5, 0.1, 0.9, 0.1, 0.3, 0.2, 0.7, 0.6, 0.4, 0.8]
    assert kept(document(scores), PruningOptions(ratio=0.3)) == [[0, 2, 4, 6, 7, 8, 9]]
    assert kept(document(scores), PruningOptions(ratio=0.29)) == [[0, 2, 4, 5, 6, 7, 8, 9]]
    # Later ones first among equals.
    assert kept(document(scores), PruningOptions(ratio=0.1)) == [[0, 1, 2, 4, 5, 6, 7, 8, 9]]
    assert kept(document(scores), PruningOptions(ratio=0)) == [list(range(10))]
    assert kept(document(scores), PruningOptions(ratio=1)) == [[]]
    # What counts are characters; a sentence that would be too much ends the removal.
    assert kept(document([0.1, 0.2, 0.3], characters=[60, 30, 10]), PruningOptions(ratio=0.5)) == [[0, 1, 2]]


def test_budget_is_shared_by_all_documents() -> None:
    documents = [document([0.9, 0.2], tokens=[5, 5]), document([0.8, 0.7], tokens=[5, 5])]
    assert kept(documents, PruningOptions(max_tokens=10)) == [[0], [0]]
    assert kept(documents, PruningOptions(max_tokens=15)) == [[0], [0, 1]]
    assert kept(documents, PruningOptions(max_tokens=4)) == [[], []]
    assert kept(documents, PruningOptions(max_tokens=100)) == [[0, 1], [0, 1]]


def test_budget_goes_on_with_what_still_fits() -> None:
    one = document([0.9, 0.8, 0.7], tokens=[5, 6, 2])
    assert kept(one, PruningOptions(max_tokens=8)) == [[0, 2]]


def test_no_worse_sentence_takes_the_best_ones_place() -> None:
    heading = document([0.1, 0.9, 0.3], levels=[1, 0, 0], tokens=[3, 4, 2])
    assert kept(heading, PruningOptions(max_tokens=6, keep_headings=True)) == [[1]]
    titled = document([0.1, 0.2, 0.9, 0.3], title=1, tokens=[5, 1, 4, 1])
    assert kept(titled, PruningOptions(max_tokens=4, keep_title=True, context_after=1)) == [[2]]
    documents = [document([0.5, 0.4], tokens=[1, 1]), document([0.9], tokens=[7])]
    assert kept(documents, PruningOptions(max_tokens=6)) == [[], []]
    assert kept(documents, PruningOptions(max_tokens=7)) == [[], [0]]


def test_a_budget_with_a_floor() -> None:
    documents = [document([0.9, 0.46, 0.2]), document([0.44, 0.1], language="ja")]
    assert kept(documents, PruningOptions(max_tokens=9, threshold=0.44)) == [[0, 1], [0]]
    assert kept(documents, PruningOptions(max_tokens=2, threshold=0.44)) == [[0, 1], []]
    assert kept(documents, PruningOptions(max_tokens=9, threshold=1.0)) == [[], []]
    # Of each document, what the rule of its language keeps: 0.5 and half of the best one.
    promise = PruningOptions(max_tokens=9, keep_answers=0.97)
    assert kept([document([0.9, 0.5, 0.46]), document([0.6, 0.5, 0.1])], promise) == [[0, 1], [0, 1]]
    forced = PruningOptions(max_tokens=9, threshold=0.95, min_sentences=1)
    assert kept(documents, forced) == [[0], [0]]


def test_a_budget_pays_for_what_stands_between_sentences() -> None:
    one = replace(document([0.9, 0.1, 0.8, 0.7], tokens=[2, 2, 2, 2]), seam_tokens=1)
    assert kept(one, PruningOptions(max_tokens=4)) == [[0]]
    assert kept(one, PruningOptions(max_tokens=5)) == [[0, 2]]
    assert kept([one, one], PruningOptions(max_tokens=4)) == [[0], [0]]  # nothing is between documents
    assert kept(one, PruningOptions(max_tokens=6, context_after=1)) == [[0, 1]]
    assert kept(one, PruningOptions(max_tokens=7, min_sentences=2)) == [[0, 2]]
    assert kept(one, PruningOptions(max_tokens=8, min_sentences=2)) == [[0, 2, 3]]


def test_budget_prefers_earlier_documents_and_sentences_among_equals() -> None:
    documents = [document([0.5, 0.5]), document([0.5, 0.5])]
    assert kept(documents, PruningOptions(max_tokens=3)) == [[0, 1], [0]]


def test_min_sentences_come_first_in_a_budget_and_may_exceed_it() -> None:
    documents = [document([0.9, 0.8], tokens=[4, 4]), document([0.1, 0.2], tokens=[4, 4])]
    assert kept(documents, PruningOptions(max_tokens=9, min_sentences=1)) == [[0], [1]]
    assert kept(documents, PruningOptions(max_tokens=12, min_sentences=1)) == [[0, 1], [1]]
    assert kept(documents, PruningOptions(max_tokens=1, min_sentences=2)) == [[0, 1], [0, 1]]


def test_min_sentences() -> None:
    one = document([0.2, 0.4, 0.1, 0.4])
    assert kept(one, PruningOptions(threshold=0.9, min_sentences=1)) == [[1]]
    assert kept(one, PruningOptions(threshold=0.4, min_sentences=3)) == [[0, 1, 3]]
    assert kept(one, PruningOptions(threshold=0.9, min_sentences=9)) == [[0, 1, 2, 3]]
    assert kept(one, PruningOptions(threshold=0.1, min_sentences=1)) == [[0, 1, 2, 3]]


def test_context() -> None:
    one = document([0, 0, 1, 0, 0, 0, 1])
    assert kept(one, PruningOptions(threshold=0.5, context_before=1)) == [[1, 2, 5, 6]]
    assert kept(one, PruningOptions(threshold=0.5, context_after=2)) == [[2, 3, 4, 6]]
    assert kept(one, PruningOptions(threshold=0.5, context_before=10**30, context_after=1)) == [
        list(range(7))
    ]
    assert kept(document([0, 0]), PruningOptions(threshold=0.5, context_before=1)) == [[]]


def test_title() -> None:
    options = PruningOptions(threshold=0.5, keep_title=True)
    assert kept(document([0, 0, 0, 1], title=2), options) == [[0, 1, 3]]
    assert kept(document([0, 0, 0, 0], title=2), options) == [[]]


def test_headings() -> None:
    #          #  text ##  text ### text ##  text #  text
    levels = [1, 0, 2, 0, 3, 0, 2, 0, 1, 0]
    options = PruningOptions(threshold=0.5, keep_headings=True)

    def with_one(index: int) -> list[int]:
        return kept(document(np.eye(10)[index].tolist(), levels=levels), options)[0]

    assert with_one(1) == [0, 1]
    assert with_one(5) == [0, 2, 4, 5]
    assert with_one(4) == [0, 2, 4]  # a heading has headings above it
    assert with_one(7) == [0, 6, 7]
    assert with_one(9) == [8, 9]
    assert with_one(8) == [8]


def test_headings_are_kept_above_neighbours_too() -> None:
    one = document([0, 0, 0, 1], levels=[1, 0, 1, 0])
    assert kept(one, PruningOptions(threshold=0.5, keep_headings=True, context_before=2)) == [[0, 1, 2, 3]]


def test_a_budget_pays_for_company() -> None:
    one = document([0, 0, 0, 1], levels=[1, 0, 0, 0], tokens=[2, 3, 3, 3])
    with_heading = {"keep_headings": True}
    assert kept(one, PruningOptions(max_tokens=4, **with_heading)) == [[3]]  # 5 would be needed for both
    assert kept(one, PruningOptions(max_tokens=5, **with_heading)) == [[0, 3]]
    assert kept(one, PruningOptions(max_tokens=6, context_before=1)) == [[2, 3]]
    assert kept(one, PruningOptions(max_tokens=3, min_sentences=1, **with_heading)) == [[0, 3]]


def test_documents_without_sentences() -> None:
    for options in (
        PruningOptions(keep_title=True, keep_headings=True, context_after=2, min_sentences=3),
        PruningOptions(ratio=0.5),
        PruningOptions(max_tokens=3, min_sentences=1),
    ):
        assert kept([document([]), document([])], options) == [[], []]
        assert select([], options, CONFIG) == []


def test_the_scores_are_not_changed() -> None:
    one = document([0.3, 0.2, 0.9], levels=[1, 0, 0], title=1)
    before = one.scores.copy()
    for options in (PruningOptions(min_sentences=2), PruningOptions(max_tokens=2), PruningOptions(ratio=0.4)):
        select([one], options, CONFIG)
    assert (one.scores == before).all()


# Properties

SCORES = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0])
SENTENCES = st.lists(
    st.tuples(SCORES, st.integers(1, 50), st.integers(0, 20), st.sampled_from([0, 0, 0, 1, 2, 3])),
    max_size=12,
)
DOCUMENTS = st.lists(
    st.builds(
        lambda rows, title: document(
            [row[0] for row in rows],
            characters=[row[1] for row in rows],
            tokens=[row[2] for row in rows],
            levels=[row[3] for row in rows],
            title=min(title, len(rows)),
        ),
        SENTENCES,
        st.integers(0, 2),
    ),
    max_size=4,
)
COMPANY = st.fixed_dictionaries(
    {
        "min_sentences": st.integers(0, 3),
        "context_before": st.integers(0, 3),
        "context_after": st.integers(0, 3),
        "keep_title": st.booleans(),
        "keep_headings": st.booleans(),
    }
)
_settings = settings(deadline=None, derandomize=True)


def company(one: Candidates, index: int, options: PruningOptions) -> set[int]:
    """What comes along with a sentence, by a walk over the document."""
    first, last = index - options.context_before, index + options.context_after
    members = {i for i in range(len(one.scores)) if first <= i <= last}
    if options.keep_headings:
        for member in list(members):
            level = int(one.heading_levels[member]) or 7
            for i in range(member - 1, -1, -1):
                if 0 < one.heading_levels[i] < level:
                    members.add(i)
                    level = int(one.heading_levels[i])
    return members | (set(range(one.num_title_sentences)) if options.keep_title else set())


@_settings
@given(documents=DOCUMENTS, threshold=SCORES, others=COMPANY)
def test_threshold_by_definition(
    documents: list[Candidates], threshold: float, others: dict[str, int]
) -> None:
    options = PruningOptions(threshold=threshold, **others)  # type: ignore[arg-type]
    for one, found in zip(documents, kept(documents, options), strict=True):
        best = sorted(range(len(one.scores)), key=lambda i: (-one.scores[i], i))
        number = max(options.min_sentences, int((one.scores >= threshold).sum()))
        expected: set[int] = set()
        for index in best[:number]:
            expected |= company(one, index, options)
        assert set(found) == expected


@_settings
@given(documents=DOCUMENTS, thresholds=st.tuples(SCORES, SCORES), others=COMPANY)
def test_a_higher_threshold_keeps_no_more(
    documents: list[Candidates], thresholds: tuple[float, float], others: dict[str, int]
) -> None:
    low, high = (
        kept(documents, PruningOptions(threshold=t, **others))  # type: ignore[arg-type]
        for t in sorted(thresholds)
    )
    assert all(set(more) >= set(fewer) for more, fewer in zip(low, high, strict=True))


@_settings
@given(documents=DOCUMENTS, others=COMPANY)
def test_a_higher_promise_keeps_no_less(documents: list[Candidates], others: dict[str, int]) -> None:
    masks = [
        select(documents, PruningOptions(keep_answers=promise, **others), CONFIG)  # type: ignore[arg-type]
        for promise in (0.9, 0.97, 0.99)
    ]
    for low, high in pairwise(masks):
        assert all((more | ~fewer).all() for fewer, more in zip(low, high, strict=True))


@_settings
@given(documents=DOCUMENTS, ratio=SCORES, others=COMPANY)
def test_never_more_than_the_ratio_is_removed(
    documents: list[Candidates], ratio: float, others: dict[str, int]
) -> None:
    masks = select(documents, PruningOptions(ratio=ratio, **others), CONFIG)  # type: ignore[arg-type]
    for one, mask in zip(documents, masks, strict=True):
        removed = int(one.num_characters[~mask].sum())
        assert removed <= ratio * int(one.num_characters.sum()) + 1e-6


@_settings
@given(documents=DOCUMENTS, max_tokens=st.integers(1, 100), others=COMPANY)
def test_a_budget_is_exceeded_only_by_min_sentences(
    documents: list[Candidates], max_tokens: int, others: dict[str, int]
) -> None:
    options = PruningOptions(max_tokens=max_tokens, **others)  # type: ignore[arg-type]
    masks = select(documents, options, CONFIG)
    forced = 0
    for one, mask in zip(documents, masks, strict=True):
        best = sorted(range(len(one.scores)), key=lambda i: (-one.scores[i], i))[: options.min_sentences]
        members = sorted(set().union(*(company(one, index, options) for index in best)))
        assert mask[members].all()
        forced += int(one.num_tokens[members].sum())
    spent = sum(int(one.num_tokens[mask].sum()) for one, mask in zip(documents, masks, strict=True))
    assert spent <= max(max_tokens, forced)
    scores = [
        (-score, number, i) for number, one in enumerate(documents) for i, score in enumerate(one.scores)
    ]
    if scores and not masks[min(scores)[1]][min(scores)[2]]:  # the best one does not fit
        assert options.min_sentences == 0
        assert not any(mask.any() for mask in masks)


@_settings
@given(
    documents=DOCUMENTS, options=st.sampled_from([{}, {"threshold": 0.5}, {"ratio": 0.5}, {"max_tokens": 9}])
)
def test_at_least_min_sentences_are_kept(documents: list[Candidates], options: dict[str, float]) -> None:
    for one, found in zip(
        documents,
        kept(documents, PruningOptions(min_sentences=2, **options)),  # type: ignore[arg-type]
        strict=True,
    ):
        assert len(found) >= min(2, len(one.scores))


@pytest.mark.parametrize("others", [{}, {"context_before": 2, "keep_headings": True, "keep_title": True}])
def test_a_budget_over_many_sentences_takes_linear_time(others: dict[str, int]) -> None:
    size = 20_000
    scores = np.random.default_rng(0).random(size)
    one = document(scores.tolist(), levels=[1, *[0] * (size - 1)], title=1)
    (mask,) = select([one], PruningOptions(max_tokens=size // 2, **others), CONFIG)  # type: ignore[arg-type]
    assert mask.sum() == size // 2
