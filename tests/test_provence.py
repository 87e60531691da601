"""The facade, through its public names: what comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from provence_rag import CheckpointError, InvalidInputError, Provence, PrunedPassage, PruningOptions
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
DOCUMENTS = [
    "The market fell today. Penguins were not asked.",
    "Penguins live on ice. They eat fish. The weather is fine.",
    " \n",
    "ペンギンは南極にいる。天気がよい。",
]
MODEL = fake_provence()


def plain(passages: list[PrunedPassage]) -> list[dict[str, Any]]:
    return [passage.to_dict() for passage in passages]


def test_results_are_in_the_order_given() -> None:
    passages = MODEL.process(QUERY, DOCUMENTS)
    assert [passage.index for passage in passages] == [0, 1, 2, 3]
    assert [passage.document for passage in passages] == DOCUMENTS
    assert passages[1].text == "Penguins live on ice."


def test_reordering() -> None:
    everything = MODEL.process(QUERY, DOCUMENTS, reorder=True)
    assert [passage.index for passage in everything] == [1, 0, 3, 2]
    assert [p.index for p in MODEL.process(QUERY, DOCUMENTS, top_k=2)] == [1, 0]
    assert [p.index for p in MODEL.process(QUERY, DOCUMENTS, top_k=99)] == [1, 0, 3, 2]
    assert [p.index for p in MODEL.process(QUERY, DOCUMENTS, score_threshold=0.5)] == [1]
    assert [p.index for p in MODEL.process(QUERY, DOCUMENTS, top_k=1, score_threshold=0.0)] == [1]
    everything_below = MODEL.process(QUERY, DOCUMENTS, score_threshold=1.0, min_documents=2)
    assert [p.index for p in everything_below] == [1, 0]
    assert [p.index for p in MODEL.process(QUERY, DOCUMENTS, score_threshold=0.1, min_documents=1)] == [1, 0]
    assert len(MODEL.process(QUERY, DOCUMENTS, score_threshold=1.0, min_documents=99)) == 4
    by_index = sorted(everything, key=lambda passage: passage.index)
    assert plain(by_index) == plain(MODEL.process(QUERY, DOCUMENTS))


def test_equally_good_documents_stay_in_order() -> None:
    passages = MODEL.process(QUERY, ["A cat.", "Penguins.", "A dog.", "Penguins."], reorder=True)
    assert [passage.index for passage in passages] == [1, 3, 0, 2]


def test_a_blank_document_ranks_last_and_takes_no_place() -> None:
    documents = ["", "A cat.", " \n\u3000", "A dog."]
    passages = MODEL.process(QUERY, documents, reorder=True)
    assert [passage.index for passage in passages] == [1, 3, 0, 2]
    assert [passage.score for passage in passages[2:]] == [0.0, 0.0]
    assert [p.index for p in MODEL.process(QUERY, documents, top_k=2)] == [1, 3]
    few = MODEL.process(QUERY, documents, score_threshold=1.0, min_documents=2)
    assert [p.index for p in few] == [1, 3]
    assert [p.score for p in MODEL.process(QUERY, ["", "\t"], titles=["Penguins", None])] == [0.0, 0.0]
    assert MODEL.predict([(QUERY, ""), (QUERY, "Penguins.")])[0] == 0.0


def test_a_blank_document_as_json() -> None:
    (passage,) = MODEL.process(QUERY, [" "])
    output = MODEL.predict_with_pruning([QUERY], [" "])
    assert passage.logit == output.ranking_logits[0] == -math.inf
    for shown in (json.loads(passage.to_json(), parse_constant=pytest.fail), output.to_dict()):
        json.dumps(shown, allow_nan=False)
    assert output.to_dict()["ranking_logits"] == [None]


def test_a_budget_goes_to_the_documents_that_are_returned() -> None:
    documents = ["Penguins swim.", "Penguins live here. Penguins swim."]
    passages = MODEL.process(QUERY, documents, options=PruningOptions(max_tokens=4), top_k=1)
    assert [(p.index, p.text) for p in passages] == [(1, "Penguins live here.")]


def test_a_budget_keeps_the_best_part_of_a_sentence_that_is_longer() -> None:
    long = (
        "They walked for days across the plain, while penguins live on ice near the coast, as all know well."
    )
    document = f"A cat sleeps. {long} Dogs bark."
    whole = MODEL.process(QUERY, [document], options=PruningOptions(max_tokens=30))[0]
    assert long in [sentence.text for sentence in whole.sentences]
    (passage,) = MODEL.process(QUERY, [document], options=PruningOptions(max_tokens=10, threshold=0.2))
    assert passage.text == "while penguins live on ice near the coast,"
    assert passage.num_kept_tokens <= 10
    assert "".join(s.text.replace(" ", "") for s in passage.sentences) == document.replace(" ", "")
    untouched = MODEL.process(QUERY, [document], options=PruningOptions(threshold=0.2))[0]
    assert long in [sentence.text for sentence in untouched.sentences]


def test_a_budget_that_is_smaller_than_one_unit_of_text(model_on: Callable[[str, int], Provence]) -> None:
    emoji = "\U0001f427"  # four tokens
    for max_tokens, kept in ((3, ""), (4, emoji)):
        options = PruningOptions(max_tokens=max_tokens)
        (passage,) = model_on("bytes", 64).process(QUERY, [emoji * 5], options=options)
        assert passage.text == kept


def test_white_space_gives_an_empty_passage_at_its_place() -> None:
    for options in (None, PruningOptions(mode="off"), PruningOptions(min_sentences=2)):
        passage = MODEL.process(QUERY, DOCUMENTS, options=options)[2]
        assert (passage.index, passage.document, passage.text, passage.sentences) == (2, " \n", "", ())
        assert passage.is_empty


def test_nothing_gives_nothing() -> None:
    assert MODEL.process(QUERY, []) == []
    assert MODEL.process(QUERY, [], top_k=3) == []
    assert MODEL.process_batch([], []) == []
    assert MODEL.process_batch([QUERY, QUERY], [[], ["Penguins."]])[0] == []
    assert MODEL.rank(QUERY, []) == []
    assert MODEL.predict([]).shape == (0,)
    assert MODEL.predict([]).dtype == np.float32
    assert len(MODEL.predict_with_pruning([], [])) == 0
    assert MODEL.prune(QUERY, "") == ""
    assert MODEL.prune(QUERY, " ", return_scores=True) == ("", [])


def test_prune() -> None:
    text = "Penguins live on ice. They eat fish. The weather is fine."
    assert MODEL.prune(QUERY, text) == "Penguins live on ice."
    assert MODEL.prune(QUERY, text, threshold=0.0) == text
    assert MODEL.prune("zebras", text) == "Penguins live on ice."
    assert MODEL.prune("zebras", text, min_sentences=0) == ""
    pruned, scores = MODEL.prune(QUERY, text, return_scores=True)
    assert pruned == "Penguins live on ice."
    assert scores == [s.score for s in MODEL.process(QUERY, [text])[0].sentences]


def test_keep_answers() -> None:
    text = "Penguins live on ice. Cold penguins swim. The weather is fine."
    careful = "Penguins live on ice. Cold penguins swim."
    assert MODEL.prune(QUERY, text, keep_answers=0.9) == "Penguins live on ice."
    assert MODEL.prune(QUERY, text, keep_answers=0.97) == MODEL.prune(QUERY, text) == careful
    pruned, _ = MODEL.prune(QUERY, text, return_scores=True, keep_answers=0.9)
    (passage,) = MODEL.process(QUERY, [text], options=PruningOptions(keep_answers=0.9))
    output = MODEL.predict_with_pruning([QUERY], [text], return_documents=True, keep_answers=0.9)
    assert pruned == passage.text == output.pruned_documents[0] == "Penguins live on ice."


def test_what_is_not_promised_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(MODEL._engine), "score", pytest.fail)
    with pytest.raises(InvalidInputError, match=r"keep_answers=0\.999 is more .* \(0\.9, 0\.97, 0\.99\)"):
        MODEL.process(QUERY, DOCUMENTS, options=PruningOptions(keep_answers=0.999))
    with pytest.raises(CheckpointError, match="only ranks: keep_answers needs a pruning head"):
        fake_provence(can_prune=False).process(QUERY, DOCUMENTS, options=PruningOptions(keep_answers=0.9))


def test_rank_is_that_of_a_cross_encoder() -> None:
    ranked = MODEL.rank(QUERY, DOCUMENTS, top_k=2, return_documents=True)
    assert [set(entry) for entry in ranked] == [{"corpus_id", "score", "text"}] * 2
    assert [entry["corpus_id"] for entry in ranked] == [1, 0]
    assert [entry["text"] for entry in ranked] == [DOCUMENTS[1], DOCUMENTS[0]]
    assert all(set(entry) == {"corpus_id", "score"} for entry in MODEL.rank(QUERY, DOCUMENTS))
    assert [entry["score"] for entry in MODEL.rank(QUERY, DOCUMENTS)] == [
        passage.score for passage in MODEL.process(QUERY, DOCUMENTS, reorder=True)
    ]


def test_predict_is_that_of_a_cross_encoder() -> None:
    pairs = [(QUERY, document) for document in DOCUMENTS]
    scores = MODEL.predict(pairs)
    assert scores.dtype == np.float32
    assert scores.tolist() == pytest.approx([p.score for p in MODEL.process(QUERY, DOCUMENTS)])
    assert MODEL.predict([list(pair) for pair in pairs]).tolist() == scores.tolist()
    assert MODEL.predict(np.array(pairs)).tolist() == scores.tolist()  # type: ignore[call-overload]
    assert MODEL.predict(pair for pair in pairs).tolist() == scores.tolist()  # type: ignore[call-overload]
    single = MODEL.predict(pairs[1])
    assert isinstance(single, np.float32)
    assert single == scores[1]
    assert MODEL.predict(pairs[1:2]).shape == (1,)


def test_predict_with_pruning() -> None:
    queries = [QUERY, "What fell?"]
    documents = [DOCUMENTS[1], DOCUMENTS[0]]
    for settings_, options in [
        ({}, PruningOptions(min_sentences=1)),
        (
            {"pruning_mode": "threshold", "pruning_threshold": 0.3},
            PruningOptions(threshold=0.3, min_sentences=1),
        ),
        (
            {"pruning_mode": "threshold", "pruning_threshold": None, "min_sentences": 0},
            PruningOptions(mode="threshold"),
        ),
        ({"pruning_mode": "ratio", "pruning_ratio": 0.5}, PruningOptions(ratio=0.5, min_sentences=1)),
        ({"pruning_mode": "budget", "max_tokens": 5}, PruningOptions(max_tokens=5, min_sentences=1)),
        ({"pruning_mode": "off"}, PruningOptions(mode="off")),
        ({"keep_answers": 0.9, "min_sentences": 0}, PruningOptions(keep_answers=0.9)),
        ({"context_after": 1}, PruningOptions(context_after=1, min_sentences=1)),
    ]:
        groups = MODEL.process_batch(queries, [[d] for d in documents], options=options)
        output = MODEL.predict_with_pruning(queries, documents, return_documents=True, **settings_)  # type: ignore[arg-type]
        assert output.pruned_documents == [group[0].text for group in groups]
        assert output.ranking_scores == [group[0].score for group in groups]
        json.dumps(output.to_dict())
    assert MODEL.predict_with_pruning(queries, documents).pruned_documents is None


def test_totals_and_logits_of_pairs() -> None:
    output = MODEL.predict_with_pruning([QUERY] * 2, DOCUMENTS[:2], return_documents=True)
    assert output.pruned_documents is not None
    lengths = [len(document) for document in DOCUMENTS[:2]]
    pruned = [len(document) for document in output.pruned_documents]
    assert output.compression_ratio == pytest.approx(1 - sum(pruned) / sum(lengths))
    assert output.compression_ratios == [1 - a / b for a, b in zip(pruned, lengths, strict=True)]
    assert output.num_pruned_sentences == sum(output.pruned_sentence_counts) == 3
    logits = [math.log(p / (1 - p)) for row in output.pruning_probs for p in row if p is not None]
    assert [x for row in output.pruning_logits for x in row] == pytest.approx(logits)


def test_documents_that_are_split_already() -> None:
    sentences = ["Penguins live on ice. They eat fish.", " The weather is fine."]
    (passage,) = MODEL.process(QUERY, [sentences])
    assert passage.document == "Penguins live on ice. They eat fish.  The weather is fine."
    assert [s.text for s in passage.sentences] == sentences
    assert [(s.start, s.end) for s in passage.sentences] == [(0, 36), (37, 58)]
    assert passage.text == sentences[0]
    (joined,) = MODEL.process(QUERY, [("ペンギンは南極にいる。", "天気がよい。")], separator="")
    assert joined.document == "ペンギンは南極にいる。天気がよい。"
    assert joined.to_dict() == MODEL.process(QUERY, [joined.document])[0].to_dict()
    mixed = MODEL.process_batch([QUERY], [[sentences, DOCUMENTS[1], []]], separator="\n")[0]
    assert [p.document for p in mixed] == ["\n".join(sentences), DOCUMENTS[1], ""]
    assert [len(p.sentences) for p in mixed] == [2, 3, 0]
    output = MODEL.predict_with_pruning([QUERY], [sentences], separator=" | ")
    assert output.sentences == [sentences]
    assert output.original_positions == [[(0, 36), (39, 60)]]
    # The same text, split in two ways, is two documents.
    text = "Penguins live on ice. They eat fish."
    whole, parts = MODEL.process(QUERY, [text, ["Penguins live", "on ice. They eat fish."]])
    assert (len(whole.sentences), len(parts.sentences), whole.document) == (2, 2, parts.document)
    assert whole.sentences != parts.sentences


def test_a_ranking_checkpoint_returns_documents_as_they_are() -> None:
    model = fake_provence(can_prune=False)
    passages = model.process(QUERY, DOCUMENTS, reorder=True)
    assert [p.index for p in passages] == [1, 0, 3, 2]
    assert passages[0].text == DOCUMENTS[1]
    assert model.predict((QUERY, DOCUMENTS[1])) > 0.5
    with pytest.raises(CheckpointError, match=r"^this checkpoint only ranks: it has no pruning head$"):
        model.prune(QUERY, DOCUMENTS[1])
    with pytest.raises(
        CheckpointError, match=r"^this checkpoint only ranks: mode 'ratio' needs a pruning head$"
    ):
        model.process(QUERY, DOCUMENTS, options=PruningOptions(ratio=0.5))


def test_a_pruning_checkpoint_does_not_order() -> None:
    model = fake_provence(can_rank=False)
    passages = model.process(QUERY, DOCUMENTS)
    assert passages[1].text == "Penguins live on ice."
    assert (passages[1].score, passages[1].logit) == (None, None)
    calls: list[Callable[[], Any]] = [
        lambda: model.process(QUERY, DOCUMENTS, top_k=1),
        lambda: model.process(QUERY, DOCUMENTS, score_threshold=0.5),
        lambda: model.process(QUERY, [], reorder=True),
        lambda: model.rank(QUERY, DOCUMENTS),
        lambda: model.predict([(QUERY, "a")]),
    ]
    for call in calls:
        with pytest.raises(CheckpointError, match=r"^this checkpoint only prunes: it has no ranking head"):
            call()


# Many at once

OTHERS = [
    "Penguins swim. " * 40,
    "東京は日本の首都です。" * 30,
    "ice " * 200,
    "Fish.\n\nPenguins on ice. A fish.",
]


@pytest.mark.parametrize("kind", ["fake", "unigram", "wordpiece", "bytes"])
def test_batches_do_not_change_results(model_on: Callable[[str, int], Provence], kind: str) -> None:
    model = model_on(kind, 80)
    documents = [*DOCUMENTS, *OTHERS]
    alone = [p.to_dict() for d in documents for p in model.process(QUERY, [d])]
    for batch_size in (None, 1, 3, 1000):
        together = plain(model.process(QUERY, documents, batch_size=batch_size))
        assert together == [{**passage, "index": index} for index, passage in enumerate(alone)]
    queries = [QUERY, "fish", QUERY]
    groups = [documents, documents[1:], documents[::-1]]
    batched = [plain(group) for group in model.process_batch(queries, groups)]
    assert batched == [plain(model.process(q, g)) for q, g in zip(queries, groups, strict=True)]


def test_threads_share_a_model() -> None:
    documents = [*DOCUMENTS, *OTHERS]
    model = fake_provence(max_length=64)
    expected = plain(fake_provence(max_length=64).process(QUERY, documents, reorder=True))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: plain(model.process(QUERY, documents, reorder=True)), range(32)))
    assert all(result == expected for result in results)


def test_a_progress_bar_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    shown = MODEL.process(QUERY, OTHERS, show_progress=True, batch_size=1)
    assert plain(shown) == plain(MODEL.process(QUERY, OTHERS))
    assert MODEL.process(QUERY, [], show_progress=True) == []
    assert capfd.readouterr().out == ""
