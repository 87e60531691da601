"""What holds for contexts of any passages."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag import PruningOptions
from provence_rag.prompting import ContextPassage, PromptContext, build_context, resolve_citations
from provence_rag.prompting.markers import without_markers
from provence_rag.testing import fake_provence

MODEL = fake_provence()
QUERY = "Where do penguins live in Antarctica?"

PIECES = st.sampled_from(
    [
        "Penguins live in Antarctica.",
        "penguins live in  ANTARCTICA!",
        "Many penguins swim [2] far.[3]",
        "They live on ice.",
        "The market fell by 3 %.",
        "The market fell by 5 %.",
        "[1] Penguins fly.",
        "### Where do penguins live?",
        "Antarctica: penguins, 【２】 seals",
        "ペンギンは南極に住む。",
        "| penguins | live |",
        '{"penguins": [1, 2], "live": {"in": "Antarctica"}}',
        "Yes.",
    ]
)
DOCUMENTS = st.lists(
    st.lists(st.tuples(PIECES, st.sampled_from([" ", "\n", "\n\n", "\n  "])), max_size=7).map(
        lambda parts: "".join(piece + separator for piece, separator in parts)
    ),
    max_size=5,
)
THRESHOLDS = st.sampled_from([0.0, 0.11, 0.2, 0.4])


def count_words(text: str) -> int:
    return len(text.split())


@settings(deadline=None, max_examples=30)
@given(
    DOCUMENTS, THRESHOLDS, st.sampled_from(["best-first", "edges", "given"]), st.none() | st.integers(1, 60)
)
def test_contexts(documents: list[str], threshold: float, order: str, max_tokens: int | None) -> None:
    passages = MODEL.process(QUERY, documents, reorder=True, options=PruningOptions(threshold=threshold))
    context = build_context(passages, order=order, max_tokens=max_tokens, count_tokens=count_words)  # type: ignore[arg-type]

    # The numbers of the text are those of its sources, and nothing else looks like one.
    markers = resolve_citations(context.text, context)
    assert [number for one in markers.citations for number in one.numbers] == list(
        range(1, len(context.sources) + 1)
    )
    assert markers.unknown == []

    covered: Counter[tuple[int, int]] = Counter()
    for span in [*(span for source in context.sources for span in source.spans), *context.left_out]:
        assert span.id == span.index
        assert documents[span.index][span.start : span.end] == span.text
        assert span.text
        covered.update((span.index, at) for at in range(span.start, span.end))
    for source in context.sources:
        for span in source.spans:
            if span.index == source.index:
                assert without_markers(span.text) in source.text
        assert source.text in context.text

    if max_tokens is None:
        assert context.left_out == ()
        # Every kept sentence has a place, and only one.
        for passage in passages:
            for sentence in (s for s in passage.sentences if s.kept):
                assert {covered[passage.index, at] for at in range(sentence.start, sentence.end)} == {1}
    else:
        assert context.num_tokens == count_words(context.text) <= max_tokens
    assert PromptContext.from_dict(json.loads(context.to_json())) == context


@settings(deadline=None, max_examples=30)
@given(DOCUMENTS, THRESHOLDS, st.booleans(), st.none() | st.integers(1, 60))
def test_spans_of_a_pruned_text_are_those_of_its_document(
    documents: list[str], threshold: float, has_scores: bool, max_tokens: int | None
) -> None:
    passages = MODEL.process(QUERY, documents, options=PruningOptions(threshold=threshold))
    given_by_adapters = [
        ContextPassage.from_record(one.provenance(sentence_scores=has_scores), text=one.text)
        for one in passages
    ]
    context = build_context(given_by_adapters, max_tokens=max_tokens, count_tokens=count_words)
    for source in context.sources:
        for span in source.spans:
            assert documents[span.index][span.start : span.end] == span.text
