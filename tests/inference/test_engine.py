from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag import CheckpointError, InvalidInputError, Provence, ProvenceConfig, PruningOptions
from provence_rag.chunking import BaseChunker, Span
from provence_rag.config import DynamicRule
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.backend import Backend, Logits
from provence_rag.inference.encoding import PairLayout, PairTokenizer, TokenizedText
from provence_rag.inference.engine import Engine, Pair
from provence_rag.testing import fake_provence

QUERY = "Which fox sleep in Tokyo?"
TEXT = (
    "The fox sleep. Tokyo is the capital of Japan.\nThe cat is a cat! 東京は日本の首都です。「大人。」です。 "
    * 4
)
PAD = 777


class Recorder:
    """A backend that remembers what it is given, row by row without padding."""

    name = "recorder"
    device = "cpu"

    def __init__(self, backend: Backend, pad_to_multiple_of: int = 1) -> None:
        self.backend = backend
        self.pad_to_multiple_of = pad_to_multiple_of
        self.rows: list[tuple[list[int], list[int]]] = []
        self.shapes: list[tuple[int, ...]] = []

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        assert input_ids.shape == attention_mask.shape == token_type_ids.shape
        assert {input_ids.dtype, attention_mask.dtype, token_type_ids.dtype} == {np.dtype(np.int64)}
        self.shapes.append(input_ids.shape)
        lengths = attention_mask.sum(axis=1)
        assert lengths.max() > input_ids.shape[1] - self.pad_to_multiple_of
        for ids, mask, types, length in zip(input_ids, attention_mask, token_type_ids, lengths, strict=True):
            assert mask.tolist() == [1] * length + [0] * (len(mask) - length)
            assert (ids[length:] == PAD).all()
            assert not types[length:].any()
            self.rows.append((ids[:length].tolist(), types[:length].tolist()))
        return self.backend.run(input_ids, attention_mask, token_type_ids)


Recording = Callable[..., tuple[Provence, Recorder]]


@pytest.fixture(scope="session")
def recording(hash_backend: Backend) -> Recording:
    """Makes a model on a tokenizer, and what remembers its input."""

    def recording(tokenizer: Any, max_length: int, **settings: Any) -> tuple[Provence, Recorder]:
        recorder = Recorder(hash_backend)
        config = ProvenceConfig(max_length=max_length)
        return Provence(Engine(recorder, tokenizer, config, pad_token_id=PAD, **settings)), recorder

    return recording


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    texts=st.lists(
        st.sampled_from([TEXT, TEXT[:50], " ", "", "a" * 300, "東京" * 90, "The fox. " * 30]), max_size=3
    ),
    max_length=st.integers(16, 90),
    title=st.sampled_from([None, "Capitals", "\nThe\n capital ", "The capital " * 30]),
    batch_size=st.none() | st.integers(1, 4),
)
def test_every_token_is_read_once_after_the_query(
    recording: Recording,
    tokenizer: PairTokenizer,
    texts: list[str],
    max_length: int,
    title: str | None,
    batch_size: int | None,
) -> None:
    model, recorder = recording(tokenizer, max_length)
    query = "Which fox?"
    titles = None if title is None else [title] * len(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # half of the smallest windows is less than this query
        model.process(query, texts, titles=titles, batch_size=batch_size)
    layout = tokenizer.layout
    query_ids = tokenizer.tokenize([query])[0].ids[: max_length // 2].tolist()
    room = max_length - len(query_ids) - layout.num_special_tokens
    title_ids = [] if title is None else tokenizer.tokenize([" ".join(title.split()) + "\n"])[0].ids.tolist()
    if len(title_ids) > room // 2:
        title_ids = [*title_ids[: room // 2 - 1], title_ids[-1]]
    before = [*layout.before, *query_ids, *layout.between]
    head = [*before, *title_ids]
    passage: Counter[int] = Counter()
    for ids, types in recorder.rows:
        assert len(ids) <= max_length
        assert ids[: len(head)] == head
        end = len(ids) - len(layout.after)
        assert tuple(ids[end:]) == layout.after
        assert types == [0] * len(before) + [layout.passage_type] * (len(ids) - len(before))
        passage.update(ids[len(head) : end])
    expected: Counter[int] = Counter()
    for tokenized in tokenizer.tokenize([text for text in texts if text.strip()]):
        expected.update(tokenized.ids.tolist())
    assert passage == expected
    assert len(recorder.rows) >= len({text for text in texts if text.strip()})


def test_windows_of_all_pairs_share_batches(recording: Recording, tokenizer: PairTokenizer) -> None:
    model, recorder = recording(tokenizer, 64)
    model.process_batch(["Which fox?", "Which cat?"], [[TEXT, "The fox."], ["The cat."]], batch_size=100)
    assert len(recorder.shapes) == 1
    model.process_batch(["Which fox?", "Which cat?"], [[TEXT, "The fox."], ["The cat."]], batch_size=1)
    assert all(shape[0] == 1 for shape in recorder.shapes[1:])
    assert sum(shape[0] for shape in recorder.shapes[1:]) == recorder.shapes[0][0]


@pytest.mark.parametrize("max_length", [64, 56])
def test_lengths_that_suit_the_backend(hash_backend: Backend, max_length: int) -> None:
    tokenizer, config = (
        fake_provence()._engine._planner._encoder.tokenizer,
        ProvenceConfig(max_length=max_length),
    )
    exact, suited = Recorder(hash_backend), Recorder(hash_backend, pad_to_multiple_of=16)
    texts = ["The fox.", TEXT, "The cat is a cat!", TEXT[:50]]
    engines = [Engine(backend, tokenizer, config, pad_token_id=PAD) for backend in (exact, suited)]
    expected, found = (Provence(engine).process("Which fox?", texts, batch_size=1) for engine in engines)
    assert found == expected
    assert suited.rows == exact.rows
    lengths = {tokens for _, tokens in suited.shapes}
    assert lengths == {min(-(-tokens // 16) * 16, max_length) for _, tokens in exact.shapes}
    assert max_length in lengths


def test_equal_texts_are_tokenized_once() -> None:
    seen: list[str] = []
    fake = fake_provence()

    class Counting:
        layout = PairLayout(before=(0,), between=(1,), after=(1,), passage_type=1)

        def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
            seen.extend(texts)
            return [TokenizedText(np.arange(5, 6), np.array([[0, 1]])) for _ in texts]

    model = Provence(Engine(fake.backend, Counting(), fake.config, pad_token_id=0))
    model.process_batch(
        ["q", "r", "q"], [["a", "b"], ["b", "a"], ["a"]], titles=[["t", None], ["t", "t"], [None]]
    )
    assert Counter(seen) == Counter(["q", "r", "a", "b", "t\n"])


def test_a_document_of_white_space_does_not_change_its_neighbours(
    recording: Recording, tokenizer: PairTokenizer
) -> None:
    model, _ = recording(tokenizer, 64)
    documents = ["The fox sleep. A cat.", " \n\n ", "Tokyo. The word.", "", "\u3000"]
    together = model.process(QUERY, documents)
    alone = [model.process(QUERY, [document])[0] for document in documents]
    for one, other in zip(together, alone, strict=True):
        assert (one.text, one.sentences, one.score) == (other.text, other.sentences, other.score)
    assert [not passage.sentences for passage in together] == [False, True, False, True, True]


def test_a_passage_is_as_good_as_its_best_window() -> None:
    model = fake_provence(max_length=16)
    fillers = "Nothing here matters much anyway. " * 3
    apart = f"Penguins swim. {fillers}Whales dive."
    (passage,) = model.process("penguins whales", [apart])
    assert passage.logit == pytest.approx(0.0)  # one of two words in each of its best windows
    (together,) = fake_provence(max_length=512).process("penguins whales", [apart])
    assert together.logit == pytest.approx(3.0)


def test_an_overlong_sentence_is_as_good_as_its_best_part() -> None:
    # With commas, since an unpunctuated text of this length would be cut into clauses.
    words = ["nothing", "nothing,"] * 30 + ["penguins"] * 10 + ["nothing", "nothing,"] * 30
    (cut,) = fake_provence(max_length=16).process("penguins", [" ".join(words)])
    (whole,) = fake_provence(max_length=512).process("penguins", [" ".join(words)])
    assert len(cut.sentences) == len(whole.sentences) == 1
    assert cut.sentences[0].score is not None
    assert cut.sentences[0].score > 0.5
    assert whole.sentences[0].score == pytest.approx((10 * 0.9 + 180 * 0.1) / 190, abs=1e-3)
    assert cut.num_tokens == whole.num_tokens == 190


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    words=st.lists(
        st.sampled_from(["penguins", "swim", "nothing", "much.", "anyway.", "東京は", "首都です。"])
    ),
    max_length=st.sampled_from([16, 40, 512]),
)
def test_sentence_scores_are_means_over_their_own_tokens(words: list[str], max_length: int) -> None:
    text = " ".join(words)
    (passage,) = fake_provence(max_length=max_length).process("penguins swim 首都", [text])
    matching = {"penguins", "swim", "首", "都"}
    for sentence in passage.sentences:
        found = re.findall(r"[a-z]+|[\u3040-\u9fff]|[.。]", sentence.text)
        assert sentence.num_tokens == len(found)
        probabilities = [0.9 if token in matching else 0.1 for token in found]
        mean = sum(probabilities) / len(probabilities)
        assert sentence.score is not None
        if max_length == 512 and len(found) < 400:
            assert sentence.score == pytest.approx(mean, abs=1e-3)
        else:
            assert mean - 1e-3 <= sentence.score <= 0.9 + 1e-3


def test_a_title_is_read_but_is_no_part_of_the_result() -> None:
    model = fake_provence()
    (plain,) = model.process("Where do penguins live?", ["They live on ice."])
    (titled,) = model.process("Where do penguins live?", ["They live on ice."], titles=["Penguins"])
    assert plain.logit is not None
    assert titled.logit is not None
    assert titled.logit > plain.logit
    assert titled.sentences == plain.sentences
    assert (titled.title, plain.title) == ("Penguins", None)


def test_the_title_in_the_document_is_protected() -> None:
    document = "\nOn penguins. A guide. Fish are food. Penguins swim."
    options = PruningOptions(threshold=0.6, keep_title=True)
    model = fake_provence()

    def text(title: str | None) -> str:
        return model.process(
            "swim", [document], titles=[title], options=PruningOptions(threshold=0.3, keep_title=True)
        )[0].text

    assert options.keep_title
    assert text("On penguins. A guide.") == "On penguins. A guide. Penguins swim."
    assert text(" On penguins.") == "On penguins. Penguins swim."
    assert text(None) == text(" ") == "On penguins. Penguins swim."
    assert text("Another title") == "Penguins swim."


def test_a_long_query_warns_once_and_points_to_the_caller(
    recording: Recording, tokenizer: PairTokenizer
) -> None:
    model, recorder = recording(tokenizer, 32)
    query = "the fox " * 40
    calls: list[Callable[[], Any]] = [
        lambda: model.process(query, ["The fox.", "The cat."]),
        lambda: model.process_batch([query, query, "fox"], [["a"], ["b"], ["c"]]),
        lambda: model.predict((query, "The fox.")),
        lambda: model.rank(query, ["The fox."]),
        lambda: model.prune(query, "The fox."),
        lambda: model.predict_with_pruning([query], ["The fox."]),
    ]
    for call in calls:
        message = "1 query is longer than half of the window: only the first 16 tokens are read. Shorten"
        with pytest.warns(UserWarning, match=message) as caught:
            call()
        assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match="^2 queries are longer than half of the window"):
        model.process_batch([query, query + "!"], [["a"], ["b"]])
    assert all(len(ids) <= 32 for ids, _ in recorder.rows)


def test_a_query_of_half_the_window_does_not_warn() -> None:
    fake_provence(max_length=32).process("penguins " * 16, ["Penguins swim."])


@pytest.mark.parametrize(
    ("logits", "missing"),
    [
        (Logits(None, np.zeros((1, 6, 2), dtype=np.float32)), "ranking"),
        (Logits(np.zeros(1, dtype=np.float32), None), "pruning"),
        (Logits(None, None), "ranking"),
    ],
)
def test_a_backend_without_a_head_that_the_config_has(logits: Logits, missing: str) -> None:
    class Broken:
        name = "broken"
        device = "cpu"
        pad_to_multiple_of = 1

        def run(self, *_: IntArray) -> Logits:
            return logits

    tokenizer = fake_provence()._engine._planner._encoder.tokenizer
    model = Provence(Engine(Broken(), tokenizer, ProvenceConfig(), pad_token_id=0))
    message = (
        f"the checkpoint's mode is 'joint', but its broken model has no {missing} logits: "
        "use another backend, or export it again"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        model.process("penguins", ["Penguins swim."])


def test_windows_too_short_for_the_special_tokens() -> None:
    class Wordy:
        layout = PairLayout(before=(1,) * 4, between=(2,) * 2, after=(3,) * 2, passage_type=0)

        def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
            raise AssertionError

    fake = fake_provence()
    with pytest.raises(
        CheckpointError, match="max_length=16 leaves no room for a passage after a query and 8 special"
    ):
        Engine(fake.backend, Wordy(), ProvenceConfig(max_length=16), pad_token_id=0)
    Engine(fake.backend, Wordy(), ProvenceConfig(max_length=18), pad_token_id=0)


def test_no_pairs_run_nothing(recording: Recording, tokenizer: PairTokenizer) -> None:
    model, recorder = recording(tokenizer, 64)
    assert model.process(QUERY, []) == []
    assert recorder.rows == []


def test_identity_scores_are_logits() -> None:
    fake = fake_provence()
    tokenizer = fake._engine._planner._encoder.tokenizer
    config = ProvenceConfig(mode="ranking", score_activation="identity")
    model = Provence(Engine(fake.backend, tokenizer, config, pad_token_id=0))
    (passage,) = model.process("penguins", ["Penguins swim."])
    assert passage.score == passage.logit == 3.0
    assert passage.sentences[0].score is None
    assert passage.text == "Penguins swim."


# Languages and chunkers


def test_the_rule_is_that_of_the_documents_language() -> None:
    fake = fake_provence()
    rules = {"default": DynamicRule(floor=0.0, share=0.0), "ja": DynamicRule(floor=1.0, share=1.0)}
    model = Provence(
        Engine(
            fake.backend,
            fake._engine._planner._encoder.tokenizer,
            ProvenceConfig(dynamic=rules),
            pad_token_id=0,
        )
    )
    texts = ["Penguins swim in the sea.", "東京は日本の首都です。"]
    assert [p.is_empty for p in model.process("penguins", texts)] == [False, True]
    assert [
        p.is_empty for p in model.process("penguins", texts, options=PruningOptions(language="ja-JP"))
    ] == [True] * 2
    assert [p.is_empty for p in model.process("penguins", texts, options=PruningOptions(language="en"))] == [
        False
    ] * 2


def test_an_unknown_language() -> None:
    with pytest.raises(InvalidInputError, match=r"language must be 'auto' or one of .*, got 'xx'"):
        fake_provence().process("penguins", ["Penguins swim."], options=PruningOptions(language="xx"))


@pytest.mark.parametrize("language", ["vi", "hu", "ro", "id", "zh-CN"])
def test_a_language_without_rules_can_be_given(language: str) -> None:
    options = PruningOptions(language=language)
    (passage,) = fake_provence().process("penguins", ["Penguins swim. Hens do not."], options=options)
    assert [sentence.text for sentence in passage.sentences] == ["Penguins swim.", "Hens do not."]


def test_a_language_without_rules_that_is_detected() -> None:
    text = (
        "Những chú chim cánh cụt sống ở Nam Cực và ăn cá. Chúng không bay được nhưng bơi rất giỏi dưới biển."
    )
    (passage,) = fake_provence().process("penguins", [text])
    assert len(passage.sentences) == 2


def test_a_chunker_of_the_users(recording: Recording, tokenizer: PairTokenizer) -> None:
    class Halves(BaseChunker):
        def spans(self, text: str) -> list[Span]:
            return [Span(0, len(text) // 2), Span(len(text) // 2, len(text))]

    model, _ = recording(tokenizer, 64, chunker=Halves())
    (passage,) = model.process(QUERY, ["foxfox"], options=PruningOptions(language="any"))
    assert [sentence.text for sentence in passage.sentences] == ["fox", "fox"]


def test_scoring_the_same_pair_twice_gives_the_same() -> None:
    fake = fake_provence()
    first, second = fake._engine.score([Pair("penguins", "Penguins swim. A cat.")] * 2)
    assert first.logit == second.logit
    assert first.sentence_scores is not None
    assert second.sentence_scores is not None
    assert (first.sentence_scores == second.sentence_scores).all()


# Rules that a checkpoint may have of its own


def test_a_query_is_normalized_for_a_checkpoint_that_wants_it(recording: Recording, tokenizer: Any) -> None:
    plain, seen = recording(tokenizer, 64)
    wanting = Provence(
        Engine(seen, tokenizer, ProvenceConfig(max_length=64, normalize_query=True), pad_token_id=PAD)
    )
    (passage,) = wanting.process("Who's  THE fox,\nin [Tokyo]?", ["The fox."])
    assert plain.process("whos the fox in tokyo", ["The fox."]) == [passage]
    assert seen.rows[0] == seen.rows[1]
    wanting.process("?!", ["The fox."])  # nothing is left of it, and the document is read all the same


def test_the_splitters_language_is_that_of_the_checkpoint(recording: Recording, tokenizer: Any) -> None:
    german = "Der Fuchs kam z.B. am 3. Oktober. Er schlief. Er ist bzw. war ein Tier, das in Tokyo lebt."
    sentences = {}
    for splitter_language in ("auto", "de", "en"):
        config = ProvenceConfig(max_length=64, splitter_language=splitter_language)
        model = Provence(Engine(recording(tokenizer, 64)[1], tokenizer, config, pad_token_id=PAD))
        for language in ("auto", "de"):
            (passage,) = model.process("Tokyo", [german], options=PruningOptions(language=language))
            sentences[splitter_language, language] = [s.text for s in passage.sentences]
    assert sentences["en", "auto"] != sentences["de", "auto"]
    assert sentences["auto", "auto"] == sentences["de", "auto"]  # detected
    assert sentences["en", "de"] == sentences["de", "de"]  # the caller's word counts


def test_a_temperature_for_each_language() -> None:
    texts = ["Penguins swim. A cat.", "東京は日本の首都です。山。"]
    plain = fake_provence()
    engine = copy(plain._engine)
    engine.config = replace(plain.config, temperature={"default": 1.0, "ja": 0.5})
    before, after = plain.process("penguins 首都", texts), Provence(engine).process("penguins 首都", texts)
    for passage, changed, temperature in zip(before, after, (1.0, 0.5), strict=True):
        assert changed.logit == passage.logit
        for old, new in zip(passage.sentences, changed.sentences, strict=True):
            assert old.score is not None
            logit = np.log(old.score / (1 - old.score))
            assert new.score == pytest.approx(1 / (1 + np.exp(-logit / temperature)))
