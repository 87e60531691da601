"""What holds for any text, and for large ones."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag import Provence, PrunedPassage, PruningOptions
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
MODEL = fake_provence()
FRAGMENTS = [
    *("Penguins live. ", "fish, ", "東京は日本の首都です。", "「はい。」", "ペンギン", "다. ", "word" * 30),
    *("\n\n", "# Ice\n", "- ", "| a |\n", " ", "\t", "\u3000", "\r\n"),
    *("\x00", "\ud800", "\udfff", "👍🏽", "㍿", "ｶﾞ", "e\u0301", "\u200d"),
]
TEXTS = (
    st.text(max_size=80)
    | st.text(st.characters(), max_size=30)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
)
OPTIONS = st.one_of(
    st.builds(
        PruningOptions,
        threshold=st.none() | st.floats(0, 1),
        min_sentences=st.integers(0, 2),
        context_before=st.integers(0, 1),
        keep_headings=st.booleans(),
        keep_title=st.booleans(),
    ),
    st.builds(PruningOptions, ratio=st.floats(0, 1)),
    st.builds(
        PruningOptions,
        max_tokens=st.integers(1, 60),
        threshold=st.none() | st.floats(0, 1),
        keep_headings=st.booleans(),
    ),
)
KINDS = st.sampled_from(["fake", "unigram", "wordpiece", "bytes"])
WINDOWS = st.sampled_from([16, 23, 64, 512])
_settings = settings(deadline=None, derandomize=True, max_examples=120)


def check(passage: PrunedPassage, document: str, index: int) -> None:
    """What holds for every result."""
    sentences = passage.sentences
    assert (passage.document, passage.index) == (document, index)
    position = token = 0
    for sentence in sentences:
        assert not document[position : sentence.start].strip()
        assert sentence.text == document[sentence.start : sentence.end] == sentence.text.strip() != ""
        assert sentence.token_start == token
        assert sentence.score is not None
        assert 0 <= sentence.score <= 1
        position, token = sentence.end, sentence.token_end
        assert token >= sentence.token_start
    assert not document[position:].strip()
    kept = [sentence for sentence in sentences if sentence.kept]
    if sentences and len(kept) == len(sentences):
        assert passage.text == document
    else:
        rest = passage.text
        for number, sentence in enumerate(kept):
            assert rest.startswith(sentence.text)
            rest = rest[len(sentence.text) :]
            if number + 1 < len(kept):
                separator = rest[: len(rest) - len(rest.lstrip())]
                between = [s for s in sentences if sentence.start <= s.start <= kept[number + 1].start]
                assert separator in {document[a.end : b.start] for a, b in pairwise(between)}
                rest = rest[len(separator) :]
        assert rest == ""
    assert passage.is_empty is (not kept)
    written = json.dumps(passage.to_dict())
    if document.isascii():  # in JSON two lone surrogates side by side are one character
        assert json.loads(written) == passage.to_dict()


@_settings
@given(kind=KINDS, max_length=WINDOWS, query=TEXTS, texts=st.lists(TEXTS, max_size=3), options=OPTIONS)
@pytest.mark.filterwarnings("ignore:.* longer than half of the window")
def test_any_text(
    model_on: Callable[[str, int], Provence],
    kind: str,
    max_length: int,
    query: str,
    texts: list[str],
    options: PruningOptions,
) -> None:
    model = model_on(kind, max_length)
    query = query if query.strip() else "penguins"
    passages = model.process(query, texts, options=options)
    for index, (passage, text) in enumerate(zip(passages, texts, strict=True)):
        check(passage, text, index)
        if options.ratio is not None:
            removed = sum(s.end - s.start for s in passage.sentences if not s.kept)
            assert removed <= options.ratio * sum(s.end - s.start for s in passage.sentences) + 1e-6
    if options.max_tokens is not None:
        assert sum(passage.num_kept_tokens for passage in passages) <= options.max_tokens
        if kind == "bytes":  # a token each, so what is sent can be counted
            sent = sum(len(passage.text.encode("utf-8", "replace")) for passage in passages)
            assert sent <= options.max_tokens
        return  # a sentence that is longer than the budget is cut
    # Windows, batches and the other documents do not change how a text is cut.
    whole = model_on(kind, 4096).process(query, texts, options=PruningOptions(mode="off"))
    for passage, off in zip(passages, whole, strict=True):
        assert off.text == (off.document if off.sentences else "")
        assert [(s.start, s.end, s.token_end) for s in passage.sentences] == [
            (s.start, s.end, s.token_end) for s in off.sentences
        ]
    assert model.process(query, texts, options=options, batch_size=1) == passages


@_settings
@given(text=TEXTS, thresholds=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_threshold_keeps_no_more(text: str, thresholds: tuple[float, float]) -> None:
    low, high = (
        MODEL.process("penguins fish 東京", [text], options=PruningOptions(threshold=threshold))[0]
        for threshold in sorted(thresholds)
    )
    assert all(a.kept or not b.kept for a, b in zip(low.sentences, high.sentences, strict=True))


@_settings
@given(text=TEXTS, promises=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)))
def test_a_higher_promise_keeps_no_less(text: str, promises: tuple[float, float]) -> None:
    low, high = (
        MODEL.process("penguins fish 東京", [text], options=PruningOptions(keep_answers=promise))[0]
        for promise in sorted(promises)
    )
    assert all(b.kept or not a.kept for a, b in zip(low.sentences, high.sentences, strict=True))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(text=TEXTS)
def test_results_can_be_pickled_and_copied(text: str) -> None:
    (passage,) = MODEL.process(QUERY, [text])
    assert pickle.loads(pickle.dumps(passage)) == passage
    assert copy.deepcopy(passage) == passage
    output = MODEL.predict_with_pruning([QUERY], [text])
    assert pickle.loads(pickle.dumps(output)) == copy.deepcopy(output) == output
    json.dumps(output.to_dict())


# Large documents: the limits are far above what an idle core needs, to catch what is worse than linear.


@pytest.mark.parametrize("kind", ["fake", "unigram", "wordpiece"])
@pytest.mark.parametrize(
    "unit",
    ["The quick brown fox jumps over the lazy dog. ", "東京は日本の首都です。", "東京", "a"],
    ids=["english", "japanese", "no sentence", "one word"],
)
def test_a_large_document(model_on: Callable[[str, int], Provence], kind: str, unit: str) -> None:
    text = unit * (100_000 // len(unit))
    (passage,) = model_on(kind, 512).process("fox 東京", [text])
    assert passage.sentences[0].start == 0
    assert passage.sentences[-1].end == len(text.rstrip())
    assert passage.num_tokens == passage.sentences[-1].token_end
    if unit == "東京":  # without punctuation, it is cut at the borders of phrases
        assert max(sentence.end - sentence.start for sentence in passage.sentences) <= 120
    else:
        assert len(passage.sentences) == (len(text) // len(unit) if unit[-1] in " 。" else 1)
