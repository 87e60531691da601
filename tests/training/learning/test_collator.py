"""From examples to tensors: every token belongs to the sentence it should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer, tokenize_documents
from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.learning.collator import Example, ProvenceCollator
from provence_training.pairs.targets import IGNORE

PAD = 1
WHOLE: dict[str, Any] = {"pruning_labels": None, "sentence_teacher_scores": None}
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
    return ProvenceCollator(PairEncoder(tokenizer, ProvenceConfig(max_length=max_length)), **settings)


def expected_rows(tokenizer: PairTokenizer, batch: list[Example]) -> list[tuple[list[int], list[int]]]:
    """Ids and sentence numbers of each row, token by token."""
    layout, rows, base = tokenizer.layout, [], 0
    for one in batch:
        (query,) = tokenizer.tokenize([one.query])
        (document,) = tokenize_documents(tokenizer, [one.document], [one.sentences])
        head = [*layout.before, *query.ids[: LENGTH // 2].tolist(), *layout.between]
        ids, numbers = list(head), [-1] * len(head)
        for token, (start, end) in zip(document.ids.tolist(), document.offsets.tolist(), strict=True):
            if len(ids) + len(layout.after) == LENGTH:
                break
            # The sentence that holds the token's last character; what comes before goes to the first.
            holding = [i for i, s in enumerate(one.sentences) if s.start <= max(end - 1, start)]
            ids.append(token)
            numbers.append(base + max(holding, default=0))
        rows.append((ids + list(layout.after), numbers + [-1] * len(layout.after)))
        base += len(one.sentences)
    return rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(examples(), min_size=1, max_size=4))
@example(batch=[Example(query="", document=".a", sentences=[Span(0, 1), Span(1, 2)])])  # read as ". a"
def test_every_token_has_its_sentence(tokenizer: PairTokenizer, batch: list[Example]) -> None:
    tensors = make_collator(tokenizer)(batch)
    targets = tensors["targets"]
    batch = [e if e.sentences else replace(e, **WHOLE, sentences=[Span(0, len(e.document))]) for e in batch]
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
    for one in batch:
        own = range(first, first + len(one.sentences))
        kept = [i for i in own if labels[i] == 1]
        lost = bool(kept) and not set(kept) & seen  # all that answers is beyond the window
        relevance.append(None if lost else one.label)
        first = own.stop
    for name, values in (("labels", relevance), ("teacher_scores", [e.teacher_score for e in batch])):
        assert [None if x != x else x for x in getattr(targets, name).tolist()] == values
    queries = [e.query for e in batch]
    assert [[a == b for a in queries] for b in queries] == [
        [a == b for a in targets.query_ids.tolist()] for b in targets.query_ids.tolist()
    ]


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
    assert targets.sentence_ids[0].tolist() == [-1] * 5 + [0] * 2 + [-1]
    assert targets.pruning_labels.tolist() == [IGNORE]
    assert targets.sentence_teacher_scores.isnan().all()


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
    assert (collator.encoder.config.max_length, collator.pad_token_id, collator.uses_token_types) == (
        64,
        PAD,
        True,
    )


@pytest.mark.parametrize("name", ["pruning_labels", "sentence_teacher_scores"])
def test_targets_that_do_not_fit_the_sentences(name: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        Example(query="a", document="b c", sentences=[Span(0, 1), Span(2, 3)], **{name: [1]})
    assert str(raised.value) == f"{name} must have one entry for each of the 2 sentences, got 1"
