"""From examples to tensors: every token belongs to the sentence it should."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_rag.inference.encoding import PairTokenizer
from provence_training.collator import Example, ProvenceCollator
from provence_training.loss import IGNORE
from provence_training.passages import Passage, cut_window, make_example

PAD = 1
LENGTH = 24

words = st.text(alphabet="thecatdog.猫がいる犬Ω", min_size=1, max_size=12)
sentences = st.lists(words, min_size=1, max_size=4).map(" ".join)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Documents with known sentences, and targets for some of them."""
    document, spans = draw(st.sampled_from(["", " ", "\n"])), []
    for sentence in draw(st.lists(sentences, max_size=5)):
        spans.append(Span(len(document), len(document) + len(sentence)))
        document += sentence + draw(st.sampled_from(["", " ", "\n\n"]))
    count = len(spans)
    some = draw(st.booleans())
    return Example(
        query=draw(st.one_of(st.just(""), sentences)),
        document=document,
        sentences=spans,
        label=draw(st.sampled_from([None, 0.0, 1.0])),
        pruning_labels=draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)) if some else None,
        teacher_score=draw(st.sampled_from([None, -2.0])),
        sentence_teacher_scores=[float(i) for i in range(count)] if some else None,
    )


def make_collator(tokenizer: PairTokenizer, *, max_length: int = LENGTH, **settings: Any) -> ProvenceCollator:
    settings = {"uses_token_types": False, "pad_token_id": PAD, **settings}
    return ProvenceCollator(tokenizer, max_length=max_length, **settings)


def expected_rows(tokenizer: PairTokenizer, batch: list[Example]) -> list[tuple[list[int], list[int]]]:
    """Ids and sentence numbers of each row, token by token."""
    layout, rows, base = tokenizer.layout, [], 0
    for example in batch:
        query, document = tokenizer.tokenize([example.query, example.document])
        head = [*layout.before, *query.ids[: LENGTH // 2].tolist(), *layout.between]
        ids, numbers = list(head), [-1] * len(head)
        for token, (start, end) in zip(document.ids.tolist(), document.offsets.tolist(), strict=True):
            if len(ids) + len(layout.after) == LENGTH:
                break
            # The sentence that holds the token's last character; what stands in front goes to the first.
            holding = [i for i, s in enumerate(example.sentences) if s.start <= max(end - 1, start)]
            ids.append(token)
            numbers.append(base + max(holding, default=0) if example.sentences else -1)
        rows.append((ids + list(layout.after), numbers + [-1] * len(layout.after)))
        base += len(example.sentences)
    return rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(examples(), min_size=1, max_size=4))
def test_every_token_has_its_sentence(tokenizer: PairTokenizer, batch: list[Example]) -> None:
    tensors = make_collator(tokenizer)(batch)
    targets = tensors["targets"]
    rows = expected_rows(tokenizer, batch)
    width = max(len(ids) for ids, _ in rows)
    assert width <= LENGTH
    for row, (ids, numbers) in enumerate(rows):
        padding = width - len(ids)
        assert tensors["input_ids"][row].tolist() == ids + [PAD] * padding
        assert tensors["attention_mask"][row].tolist() == [1] * len(ids) + [0] * padding
        assert targets.sentence_ids[row].tolist() == numbers + [-1] * padding

    # A sentence has its targets if at least one of its tokens is in the window.
    seen = {number for _, numbers in rows for number in numbers}
    labels = [x for e in batch for x in e.pruning_labels or [IGNORE] * len(e.sentences)]
    teacher = [x for e in batch for x in e.sentence_teacher_scores or [None] * len(e.sentences)]
    assert targets.pruning_labels.tolist() == [x if i in seen else IGNORE for i, x in enumerate(labels)]
    scores = [None if x != x else x for x in targets.sentence_teacher_scores.tolist()]
    assert scores == [x if i in seen else None for i, x in enumerate(teacher)]
    relevance, first = [], 0
    for example in batch:
        own = range(first, first + len(example.sentences))
        kept = [i for i in own if labels[i] == 1]
        lost = bool(kept) and not set(kept) & seen  # all that answers is behind the window
        relevance.append(None if lost else example.label)
        first = own.stop
    for name, values in (("labels", relevance), ("teacher_scores", [e.teacher_score for e in batch])):
        assert [None if x != x else x for x in getattr(targets, name).tolist()] == values
    queries = [e.query for e in batch]
    assert [[a == b for a in queries] for b in queries] == [
        [a == b for a in targets.query_ids.tolist()] for b in targets.query_ids.tolist()
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(sentences, min_size=1, max_size=6),
    labels=st.lists(st.sampled_from([0, 1, IGNORE]), min_size=6, max_size=6),
    characters=st.integers(1, 80),
    title=st.sampled_from(["", "the dog"]),
    seed=st.integers(0, 99),
)
def test_labels_move_with_windows_and_truncation(
    tokenizer: PairTokenizer, texts: list[str], labels: list[int], characters: int, title: str, seed: int
) -> None:
    text = "\n".join(texts)
    starts = [sum(len(t) + 1 for t in texts[:i]) for i in range(len(texts))]
    spans = tuple(Span(start, start + len(t)) for start, t in zip(starts, texts, strict=True))
    labels = labels[: len(texts)]
    passage = Passage(
        id="p", source="made", language="en", title=title, text=text, sentences=spans, questions=()
    )
    window = cut_window(passage, labels, characters, random.Random(seed))
    example = make_example("who", passage, window, label=1.0, pruning_labels=labels, with_title=bool(title))
    targets = make_collator(tokenizer)([example])["targets"]
    layout = tokenizer.layout
    query, document = tokenizer.tokenize(["who", example.document])
    head = len(layout.before) + len(query.ids) + len(layout.between)
    room = LENGTH - head - len(layout.after)
    shift = spans[window.start].start - (len(title) + 1 if title else 0)
    seen = []
    for token, (start, end) in enumerate(document.offsets.tolist()[:room], head):
        last = max(end - 1, start) + shift  # where the token's last character is in the passage
        number = int(targets.sentence_ids[0, token])
        label = int(targets.pruning_labels[number])
        if last < spans[window.start].start:  # the title
            assert label == IGNORE
        else:
            sentence = max(i for i in window if spans[i].start <= last)
            assert label == labels[sentence]
            seen.append(sentence)
    kept = {i for i in window if labels[i] == 1}
    assert targets.labels.isnan().item() == (bool(kept) and not kept & set(seen))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=sentences, document=sentences)
@pytest.mark.parametrize("template", ["tokenizer", "typed_tokenizer"])
def test_what_fits_is_encoded_as_the_tokenizer_does(
    request: pytest.FixtureRequest, unigram: Tokenizer, template: str, query: str, document: str
) -> None:
    collator = make_collator(request.getfixturevalue(template), max_length=512, uses_token_types=True)
    batch = collator([Example(query=query, document=document), Example(query="", document="")])
    encoding = unigram.encode(query, document)
    assert batch["input_ids"][0].tolist() == encoding.ids
    assert batch["token_type_ids"][0].tolist() == encoding.type_ids
    assert batch["attention_mask"][0].all()


def test_token_types_are_made_where_they_are_used(typed_tokenizer: PairTokenizer) -> None:
    example = Example(query="the cat", document="the dog sat")
    longer = Example(query="the cat", document="the dog sat on the mat")
    batch = make_collator(typed_tokenizer, uses_token_types=True)([example, longer])
    assert batch["token_type_ids"].tolist() == [[0] * 4 + [1] * 4 + [0] * 3, [0] * 4 + [1] * 7]
    assert "token_type_ids" not in make_collator(typed_tokenizer)([example])


def test_dtypes(tokenizer: PairTokenizer) -> None:
    spans = [Span(0, 7)]
    batch = make_collator(tokenizer)([Example(query="a", document="the cat", sentences=spans)])
    targets = vars(batch.pop("targets"))
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    assert {name for name, tensor in targets.items() if tensor.dtype == torch.float32} == {
        "labels",
        "teacher_scores",
        "sentence_teacher_scores",
    }


def test_without_sentences(tokenizer: PairTokenizer) -> None:
    targets = make_collator(tokenizer)([Example(query="the cat", document="the dog")])["targets"]
    assert (targets.sentence_ids == -1).all()
    assert targets.pruning_labels.shape == targets.sentence_teacher_scores.shape == (0,)


def test_a_passage_that_loses_its_answer_loses_its_label(tokenizer: PairTokenizer) -> None:
    document = "the cat sat. " * 8 + "the tea is hot."
    spans = [Span(0, 103), Span(104, len(document))]

    def labels(pruning_labels: list[int] | None) -> list[float]:
        example = Example(
            query="what", document=document, sentences=spans, label=1.0, pruning_labels=pruning_labels
        )
        return make_collator(tokenizer)([example, example])["targets"].labels.tolist()

    assert all(x != x for x in labels([0, 1]))
    for known in ([1, 1], [1, 0], [0, 0], None):
        assert labels(known) == [1.0, 1.0]


def test_a_collator_for_a_model(tokenizer: PairTokenizer, make_model: Any) -> None:
    model = make_model()
    collator = ProvenceCollator.for_model(model, tokenizer)
    assert (collator.max_length, collator.pad_token_id, collator.uses_token_types) == (64, PAD, True)


@pytest.mark.parametrize("name", ["pruning_labels", "sentence_teacher_scores"])
def test_targets_that_do_not_fit_the_sentences(name: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        Example(query="a", document="b c", sentences=[Span(0, 1), Span(2, 3)], **{name: [1]})
    assert str(raised.value) == f"{name} must have one entry for each of the 2 sentences, got 1"
