"""Contexts: numbers, order, copies, budgets."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from provence_rag import InvalidInputError, Provence, PrunedPassage, PruningOptions
from provence_rag.chunking import language
from provence_rag.prompting import CitedSpan, ContextPassage, PromptContext, build_context
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
ANTARCTICA = "Penguins live in Antarctica."
ICE = "Penguins live on ice."


@pytest.fixture(scope="module")
def model() -> Provence:
    return fake_provence()


def pruned(model: Provence, *documents: str) -> list[PrunedPassage]:
    return model.process(QUERY, documents)


def count_words(text: str) -> int:
    return len(text.split())


def test_sources_are_numbered_and_cite_the_original(model: Provence) -> None:
    first = f"{ANTARCTICA} The market fell today. {ICE}"
    context = build_context(pruned(model, first, "Music was loud. Many penguins swim."))
    assert context.text == f"[1] {ANTARCTICA} {ICE}\n\n[2] Many penguins swim."
    assert str(context) == context.text
    assert context.source(1) == context.sources[0]
    assert context.source(3) is None
    assert context.sources[0].spans == (
        CitedSpan(id=0, index=0, start=0, end=28, text=ANTARCTICA),
        CitedSpan(id=0, index=0, start=52, end=73, text=ICE),
    )
    assert context.documents[0, 0] == first


def test_citations_name_the_position_in_the_documents_given_to_process(model: Provence) -> None:
    documents = ["Music was loud.", "Many penguins swim.", f"{ANTARCTICA} {ICE}", f"Cars stop. {ICE}"]
    passages = model.process(QUERY, documents, reorder=True)
    assert [passage.index for passage in passages] != [0, 1, 2, 3]
    context = build_context(passages, max_tokens=10, count_tokens=count_words)
    spans = [*(span for source in context.sources for span in source.spans), *context.left_out]
    assert {span.index for span in spans} == {1, 2, 3}
    for span in spans:
        assert documents[span.id][span.start : span.end] == span.text  # type: ignore[index]
        assert span.id == span.index
    assert context.sources[0].id == context.sources[0].index == 2


def test_documents_of_two_questions(model: Provence) -> None:
    documents = [f"{ANTARCTICA} The market fell today. {ICE}", "Cars have tyres."]
    passages = [*model.process(QUERY, documents), *model.process("Where is the market?", documents)]
    context = build_context(passages, order="given")
    assert context.text == f"[1] {ANTARCTICA} {ICE}\n\n[2] The market fell today."
    assert {span.id for source in context.sources for span in source.spans} == {0}


def test_documents_that_citations_could_not_tell_apart(model: Provence) -> None:
    first, second = pruned(model, ANTARCTICA), pruned(model, ICE)
    with pytest.raises(InvalidInputError) as error:
        build_context([*first, *second])
    assert str(error.value) == (
        "passages[0] and passages[1] are of different documents, but citations of both would have the id 0 "
        "and the index 0: give (id, passage) with an id of its own for each document"
    )
    context = build_context([("a", first[0]), ("b", second[0])])
    assert [context.documents[one.id, one.index] for one in context.sources] == [ANTARCTICA, ICE]


def test_ids_titles_and_kinds_of_passages(model: Provence) -> None:
    (passage,) = model.process(QUERY, [ANTARCTICA], titles=["Birds"])
    given = [
        ("a.md", passage),
        ("b.md", ICE),
        "Fish swim.",
        ContextPassage(text="Ice melts.", id=7, title="Ice"),
    ]
    template = "[{number}] {title} ({id})\n# {title}\n{text}"
    assert build_context(given, template=template).text == (
        "[1] Birds (a.md)\n# Birds\nPenguins live in Antarctica.\n\n"
        "[2]  (b.md)\nPenguins live on ice.\n\n[3]  (2)\nFish swim.\n\n[4] Ice (7)\n# Ice\nIce melts."
    )


def test_empty_passages_have_no_number(model: Provence) -> None:
    context = build_context([*pruned(model, "Music was loud.", ANTARCTICA), "", " \n"])
    assert context.text == f"[1] {ANTARCTICA}"
    assert context.sources[0].index == 1
    assert build_context([]).text == ""
    assert build_context([], max_tokens=5).num_tokens == 0


def scored(*scores: float | None) -> list[ContextPassage]:
    return [ContextPassage(text=f"Number {n} of all.", score=score) for n, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("best-first", [3, 0, 4, 1, 2]), ("edges", [3, 4, 2, 1, 0]), ("given", [0, 1, 2, 3, 4])],
)
def test_order(order: str, expected: list[int]) -> None:
    context = build_context(scored(0.8, 0.3, 0.1, 0.9, 0.5), order=order)  # type: ignore[arg-type]
    assert [source.index for source in context.sources] == expected
    assert [source.number for source in context.sources] == [1, 2, 3, 4, 5]


def test_without_all_scores_the_order_given_is_best_first() -> None:
    assert [one.index for one in build_context(scored(0.1, None, 0.9)).sources] == [0, 1, 2]


# --- copies ------------------------------------------------------------------------------------------------


def test_a_copy_is_sent_once_and_cited_everywhere(model: Provence) -> None:
    documents = [f"{ANTARCTICA} {ICE}", f"Music was loud. Many penguins swim. {ICE}", "penguins LIVE on  ice"]
    context = build_context(pruned(model, *documents), order="given")
    assert context.text == f"[1] {ANTARCTICA} {ICE}\n\n[2] Many penguins swim."
    assert [(span.index, span.text) for span in context.sources[0].spans] == [
        (0, f"{ANTARCTICA} {ICE}"),
        (1, ICE),
        (2, "penguins LIVE on  ice"),
    ]
    for source in context.sources:
        for span in source.spans:
            assert documents[span.index][span.start : span.end] == span.text


def test_the_best_passage_has_the_sentence() -> None:
    worse = ContextPassage(text=f"{ANTARCTICA} {ICE}", score=0.2)
    context = build_context([worse, ContextPassage(text=ICE, score=0.9)])
    assert context.text == f"[1] {ICE}\n\n[2] {ANTARCTICA}"


def test_a_passage_may_repeat_itself() -> None:
    assert build_context([f"{ICE} Fish swim there. {ICE}"]).text == f"[1] {ICE} Fish swim there. {ICE}"


def test_a_sentence_stays_with_a_pronoun_that_points_at_it() -> None:
    bentz = "Melitta Bentz patented the filter."
    texts = [bentz, f"{bentz} She lived in Dresden then."]
    assert build_context(texts).text == f"[1] {bentz}\n\n[2] {bentz} She lived in Dresden then."


def test_pronouns_are_copies_only_after_copies() -> None:
    death = "He died in Paris in 1905."
    texts = [
        f"Verne wrote novels. {death}",
        f"Monet painted gardens. {death}",
        f"Verne wrote novels. {death}",
    ]
    context = build_context(texts)
    assert context.text == f"[1] {texts[0]}\n\n[2] {texts[1]}"
    assert [span.index for span in context.sources[0].spans] == [0, 2]


def keeping(
    passage: PrunedPassage, *numbers: int, needs: dict[int, tuple[int, ...]] | None = None
) -> PrunedPassage:
    """The passage as if pruning had kept these sentences."""
    sentences = (
        replace(sentence, kept=number in numbers, needs=(needs or {}).get(number, ()))
        for number, sentence in enumerate(passage.sentences)
    )
    return replace(passage, sentences=tuple(sentences))


def test_a_pronoun_is_not_left_to_a_copy_that_lacks_what_it_points_at(model: Provence) -> None:
    verne, death = "Verne wrote novels.", "He died in Paris."
    passages = pruned(model, *[f"{verne} {death}"] * 5)
    kept = [(1,), (0, 1), (0, 1), (1,), (0,)]
    context = build_context([keeping(one, *own) for one, own in zip(passages, kept, strict=True)])
    assert context.text == f"[1] {death}\n\n[2] {verne} {death}"
    cited = [sorted(span.index for span in source.spans) for source in context.sources]
    assert cited == [[0], [1, 2, 3, 4]]


def test_what_leads_up_to_a_copy_has_to_be_as_long(model: Provence) -> None:
    sentences = ["Verne wrote novels.", "He lived in Amiens.", "He died in 1905."]
    passages = pruned(model, *[" ".join(sentences)] * 2)
    context = build_context([keeping(passages[0], 1, 2), keeping(passages[1], 0, 1, 2)])
    assert context.text == f"[1] {' '.join(sentences[1:])}\n\n[2] {' '.join(sentences)}"


def test_interleaved_sentences_that_belong_together(model: Provence) -> None:
    city, painter = "Paris has a river.", "Monet painted gardens."
    first, second = pruned(
        model, f"{city} {painter}", f"Verne wrote novels. {city} {painter} He died in 1905."
    )
    context = build_context(
        [keeping(first, 0, 1, needs={1: (0,)}), keeping(second, 0, 1, 2, 3, needs={3: (0,), 2: (1,)})]
    )
    assert context.text == f"[1] {first.document}\n\n[2] {second.document}"


def test_what_belongs_together_is_a_copy_as_a_whole() -> None:
    table = "| city | mayor |\n| --- | --- |\n| Orlen | Petra Voss |"
    other = "| city | mayor |\n| --- | --- |\n| Dunbry | Sean Okoro |"
    context = build_context([table, other, f"{table}\n"])
    assert context.text == f"[1]\n{table}\n\n[2]\n{other}"
    assert [span.index for span in context.sources[0].spans] == [0, 2]


def test_many_sentences_take_linear_time() -> None:
    def seconds(size: int) -> float:
        texts = [
            " ".join(
                f"City {n % (size // 2)} has exactly {n % (size // 2)} inhabitants."
                for n in range(at, at + 10)
            )
            for at in range(0, size, 10)
        ]
        start = time.perf_counter()
        context = build_context(texts, max_tokens=10**6, count_tokens=count_words)
        assert context.text.count("exactly") == size // 2
        return time.perf_counter() - start

    seconds(200)  # loads what is loaded once
    # Linear time takes 5 times as long, quadratic time 25 times.
    assert min(seconds(1000) for _ in range(2)) < 15 * min(seconds(200) for _ in range(3))


def test_langdetect_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = language._ask_langdetect
    monkeypatch.setattr(language, "_ask_langdetect", lambda sample: asked.append(sample) or ask(sample))
    german = "Pinguine leben am Rand der Antarktis, z. B. auf Eis. Robben schwimmen unter ihnen hindurch."
    texts = [f"{german} Das war so im Jahr {n}." for n in range(50)]
    context = build_context([*texts, "Пингвины живут в Антарктиде, на льду и на скалах."])
    assert len(asked) == 2
    assert [span.start for span in context.sources[1].spans] == [len(german) + 1]


# --- budget ------------------------------------------------------------------------------------------------


def test_a_budget_counts_numbers_and_template() -> None:
    texts = [ANTARCTICA, ICE, "Fish swim below it."]
    context = build_context(texts, max_tokens=10, count_tokens=count_words)
    assert context.text == f"[1] {ANTARCTICA}\n\n[2] {ICE}"
    assert context.num_tokens == 10
    assert [span.text for span in context.left_out] == ["Fish swim below it."]
    assert build_context(texts, max_tokens=9, count_tokens=count_words).num_tokens == 5
    tags = '<source id="{number}">\n{text}\n</source>'
    assert build_context(texts, max_tokens=10, template=tags, count_tokens=count_words).num_tokens == 7


def test_a_budget_takes_the_best_sentences_of_all_passages(model: Provence) -> None:
    options = PruningOptions(threshold=0.0)
    texts = ["Fish swim below. Penguins live there.", "Many penguins swim very far away."]
    passages = model.process(QUERY, texts, options=options)
    context = build_context(passages, max_tokens=6, count_tokens=count_words)
    assert context.text == "[1] Penguins live there."
    assert [span.text for span in context.left_out] == ["Fish swim below.", texts[1]]


def recorded(document: str, kept: str, scores: list[float], *, text: str | None = None) -> ContextPassage:
    """What an adapter gives with `sentence_scores=True`; `kept` has an x for each sentence kept."""
    sentences = [f"{sentence}." for sentence in document.removesuffix(".").split(". ")]
    spans = [[start := document.index(one), start + len(one)] for one in sentences]
    chosen = [number for number, mark in enumerate(kept) if mark == "x"]
    record = {
        "kept_spans": [spans[number] for number in chosen],
        "original_length": len(document),
        "sentence_spans": spans,
        "sentence_scores": scores,
    }
    return ContextPassage.from_record(record, text=text or " ".join(sentences[number] for number in chosen))


def test_a_budget_takes_the_best_sentences_of_adapters() -> None:
    passages = [
        recorded("Fish swim. The market fell. Whales sing.", "x-x", [0.6, 0.9, 0.8]),
        recorded("Seals bark.", "x", [0.7]),
        recorded(
            "Cars stop. Owls hunt at night.", "-x", [0.1, 0.95], text="From owls.md: Owls hunt at night."
        ),
    ]
    texts = [
        build_context(passages, max_tokens=limit, count_tokens=count_words).text for limit in (7, 10, 13, 15)
    ]
    owls = "From owls.md: Owls hunt at night."
    assert texts == [
        f"[1] {owls}",
        f"[1] Whales sing.\n\n[2] {owls}",
        f"[1] Whales sing.\n\n[2] Seals bark.\n\n[3] {owls}",
        f"[1] Fish swim. Whales sing.\n\n[2] Seals bark.\n\n[3] {owls}",
    ]
    # One whose scores are unknown leaves the order of the passages.
    assert build_context([*passages, "Bees fly."], max_tokens=3, count_tokens=count_words).text == (
        "[1] Fish swim."
    )


def test_a_budget_without_room_for_anything_gives_an_empty_text() -> None:
    context = build_context([ICE], max_tokens=1)
    assert (context.text, context.sources, context.num_tokens) == ("", (), 0)
    assert [span.text for span in context.left_out] == [ICE]


def test_linked_sentences_are_left_out_together(model: Provence) -> None:
    page = "### Where do penguins live?\n\nThey live in Antarctica, on ice and on rocks.\n\n### Other\n\nNo."
    (passage,) = pruned(model, page)
    whole = build_context([passage], count_tokens=count_words).text
    assert whole.endswith("?\n\nThey live in Antarctica, on ice and on rocks.")
    assert build_context([passage], max_tokens=8, count_tokens=count_words).text == ""


def test_the_default_tokenizer_is_that_of_the_bundled_checkpoint() -> None:
    context = build_context([ANTARCTICA], max_tokens=100)
    assert context.num_tokens == Provence.from_pretrained().count_tokens(context.text)
    assert build_context([ANTARCTICA]).num_tokens is None


def test_a_counter_that_never_fits() -> None:
    for passages in ([ICE], []):
        with pytest.raises(InvalidInputError) as error:
            build_context(passages, max_tokens=10, count_tokens=lambda text: 1000)
        assert str(error.value) == (
            "count_tokens counts 1000 tokens for an empty text, more than max_tokens=10: let it count the "
            "tokens of the text alone, or raise max_tokens"
        )


def test_special_tokens_of_a_counter_are_counted_once() -> None:
    texts = [ANTARCTICA, ICE]
    context = build_context(texts, max_tokens=12, count_tokens=lambda text: count_words(text) + 2)
    assert context.num_tokens == 12


# --- structured data ---------------------------------------------------------------------------------------


def test_structured_data_still_parses(model: Provence) -> None:
    data = '{"birds": [{"ids": [1, 2], "penguins": "live"}, {"ids": [3], "x": "cars"}]}'
    (passage,) = pruned(model, data)
    context = build_context([passage])
    shown = context.sources[0].text
    assert json.loads(shown) == json.loads(passage.text)
    # the same from an adapter, which has only the pruned text
    again = build_context([ContextPassage(text=passage.text, kept_spans=passage.kept_spans)])
    assert again.text == context.text
    assert [(s.start, s.end) for s in again.sources[0].spans] == [
        (s.start, s.end) for s in context.sources[0].spans
    ]
    assert [s.text for s in again.sources[0].spans] == [data[s.start : s.end] for s in again.sources[0].spans]


def test_data_that_does_not_fit_is_left_out_whole(model: Provence) -> None:
    (passage,) = pruned(model, '[{"penguins": "live in Antarctica"}, {"penguins": "live on ice"}]')
    assert build_context([passage], max_tokens=8, count_tokens=count_words).text == ""


def test_a_text_that_was_changed_after_pruning_is_cited_as_a_whole() -> None:
    passage = ContextPassage(text=f"From birds.md: {ANTARCTICA} {ICE}", kept_spans=[[0, 28], [52, 73]])
    (source,) = build_context([passage]).sources
    assert [(span.start, span.end) for span in source.spans] == [(0, 28), (52, 73)]


# --- storing -----------------------------------------------------------------------------------------------


def test_a_context_is_json_and_comes_back(model: Provence) -> None:
    passages = [*pruned(model, f"{ANTARCTICA} \ud800", " "), ContextPassage(text=ICE, score=-float("1e9"))]
    context = build_context(passages, max_tokens=100)
    assert PromptContext.from_dict(json.loads(context.to_json())) == context


@pytest.mark.parametrize(
    "changes",
    [
        {"text": None},
        {"sources": None},
        {"sources": [3]},
        {"left_out": [{"id": 1}]},
        {"num_tokens": "3"},
        {"citations": 1},
        {"more": 1},
    ],
)
def test_what_is_no_stored_context(changes: dict[str, object]) -> None:
    stored = build_context([ANTARCTICA, ICE]).to_dict()
    source = stored["sources"][0]
    spans = [{**source["spans"][0], "start": "0"}]
    wrong = [
        {"text": "x"},
        stored["sources"],
        {**stored, **changes},
        {**stored, "sources": stored["sources"][1:]},
        *(
            {**stored, "sources": [{**source, **own}]}
            for own in ({"number": True}, {"id": 1.5}, {"spans": spans})
        ),
    ]
    for values in wrong:
        with pytest.raises(
            InvalidInputError, match=r"^values must be what PromptContext.to_dict\(\) returns, got "
        ):
            PromptContext.from_dict(values)


def test_a_score_of_numpy_is_a_float() -> None:
    (source,) = build_context([ContextPassage(text=ICE, score=np.float32(0.5))]).sources  # type: ignore[arg-type]
    assert type(source.score) is float


def test_passages_are_not_changed(model: Provence) -> None:
    passages = pruned(model, ANTARCTICA, ICE)
    before = [passage.to_dict() for passage in passages]
    build_context(passages, max_tokens=5)
    assert [passage.to_dict() for passage in passages] == before


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ("text", "passages must be a list of passages, got str 'text': put a single one into a list"),
        ([3], "passages[0] must be a PrunedPassage, a ContextPassage, a string or (id, passage), got int 3"),
        ([(None, "x")], "passages[0][0] must be an id, a string or an integer, got NoneType None"),
        (
            [(1, ContextPassage(text="x"))],
            "passages[0] is (id, ContextPassage): set ContextPassage.id instead",
        ),
        ([ContextPassage(text=1)], "passages[0].text must be a string, got int 1"),  # type: ignore[arg-type]
        (
            [ContextPassage(text="x", id=1.5)],
            "passages[0].id must be an id, a string or an integer, got float 1.5",
        ),  # type: ignore[arg-type]
        ([ContextPassage(text="x", score=float("nan"))], "passages[0].score must be a number, got nan"),
        (
            [ContextPassage(text="x", kept_spans=[[3, 1]])],
            "passages[0].kept_spans must be a list of [start, end] in ascending order, got list [[3, 1]]",
        ),
        (
            [ContextPassage(text="x", sentence_spans=[[0, 1]], sentence_scores=[0.5, 0.5])],
            "passages[0].sentence_scores must have an entry for each of the 1 sentences, got 2",
        ),
        (
            [ContextPassage(text="x", sentence_spans=[[0, 1]], sentence_scores=["0.5"])],  # type: ignore[list-item]
            "passages[0].sentence_scores[0] must be a number, got '0.5'",
        ),
        (
            [ContextPassage(text="x", original_length=-1)],
            "passages[0].original_length must be an integer >= 0, got -1",
        ),
    ],
)
def test_what_is_no_passage(passages: object, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        build_context(passages)  # type: ignore[arg-type]
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be an integer >= 1, got 0"),
        ({"citations": 1}, "citations must be True or False, got 1"),
        ({"order": "worst"}, "order must be one of best-first, edges, given, got str 'worst'"),
        ({"count_tokens": 3}, "count_tokens must be a function of a text, got int 3"),
        (
            {"count_tokens": str.split, "max_tokens": 1},
            "count_tokens(text) must be an integer >= 0, got ['[1]', 'Penguins', 'live', 'on', 'ice.']",
        ),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        build_context([ICE], **options)  # type: ignore[arg-type]
    assert str(error.value) == message
