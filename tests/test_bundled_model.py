"""The model that users get by default, judged by people's answers to questions on the example collection."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from provence_rag import Provence, PruningOptions
from provence_rag.hub import BUNDLED

COLLECTION = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "examples" / "collection.jsonl").read_text("utf-8").splitlines()
]
TEXTS = {record["id"]: record["text"] for record in COLLECTION}
ANSWERS = [
    ("Who invented the paper coffee filter?", "en-pourover", "Melitta Bentz"),
    ("How many hearts does an octopus have?", "en-octopus", "three hearts"),
    ("How long do refunds take to reach my bank account?", "en-policy", "five to ten working days"),
    ("In which year was the first Fresnel lens lit?", "en-lighthouse", "1823"),
    ("How often should a sourdough starter in the refrigerator be fed?", "en-sourdough", "once a week"),
    ("東海道新幹線はいつ開業しましたか？", "ja-shinkansen", "1964年10月1日"),
    ("煎茶は何度の湯でいれますか？", "ja-tea", "70度から80度"),
    ("返品は何日以内ならできますか？", "ja-refund", "14日以内"),
    ("ゲンジボタルの幼虫は何を食べますか？", "ja-firefly", "カワニナ"),
]


@pytest.fixture(scope="module")
def model() -> Provence:
    return Provence.from_pretrained()


def test_it_is_small() -> None:
    sizes = [path.stat().st_size for path in BUNDLED.rglob("*") if path.suffix in (".onnx", ".safetensors")]
    assert len(sizes) == 2
    assert sum(sizes) <= 76e6


def test_the_card_has_the_size_and_the_hash_of_the_weights() -> None:
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| .* \| (.+) MB \| `(\w+)` \|$", card, re.MULTILINE)
    weights = {name: (BUNDLED / name).read_bytes() for name in ("onnx/model_int8.onnx", "model.safetensors")}
    assert rows == [
        (name, f"{len(content) / 1e6:.1f}", hashlib.sha256(content).hexdigest())
        for name, content in weights.items()
    ]


def test_it_runs_on_onnx_runtime_by_default(model: Provence) -> None:
    assert (model.backend.name, model.backend.device) == ("onnx", "cpu")
    assert model.config.languages == ("en", "ja")


@pytest.mark.parametrize(("question", "identifier", "answer"), ANSWERS)
def test_the_answer_survives(model: Provence, question: str, identifier: str, answer: str) -> None:
    assert answer in model.process(question, [TEXTS[identifier]])[0].text


def test_answering_passages_are_shortened(model: Provence) -> None:
    passages = [model.process(question, [TEXTS[identifier]])[0] for question, identifier, _ in ANSWERS]
    assert np.mean([passage.compression for passage in passages]) >= 0.25


def test_the_answering_passage_ranks_among_the_first(model: Provence) -> None:
    ranks = []
    for question, identifier, _ in ANSWERS:
        ranked = [list(TEXTS)[entry["corpus_id"]] for entry in model.rank(question, list(TEXTS.values()))]
        ranks.append(1 + ranked.index(identifier))
    assert np.mean([1 / rank for rank in ranks]) >= 0.8


def test_other_passages_are_emptied(model: Provence) -> None:
    kept = total = 0
    for question, identifier, _ in ANSWERS:
        others = [text for name, text in TEXTS.items() if name != identifier]
        passages = model.process(question, others)
        kept += sum(len(passage.text) for passage in passages)
        total += sum(map(len, others))
    assert kept / total <= 0.2


FAQ = [
    ("Do I need to register?", "Only for workshops."),
    ("How do I cancel a booking?", "Answer the mail that confirmed it."),
    ("Is there parking?", "Behind the mill, for twelve cars."),
    ("When are the guided tours?", "Every Sunday at eleven."),
    ("Can I bring food?", "In the courtyard, yes."),
]


@pytest.mark.parametrize("layout", ["Q: {}\nA: {}", "## {}\n\n{}", "**{}**\n{}", "{} {}", "{}\n{}"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_the_answer_below_its_question_survives(model: Provence, layout: str, line_break: str) -> None:
    page = "\n\n".join(layout.format(*entry) for entry in FAQ).replace("\n", line_break)
    for question, answer in FAQ:
        (passage,) = model.process(question, [page])
        assert answer in passage.text, question
        assert len(passage.text) < 0.7 * len(page), question


def test_a_question_in_other_words_finds_its_answer(model: Provence) -> None:
    page = "\n\n".join(f"{question}\n{answer}" for question, answer in FAQ)
    asked = {
        "What is the time of the guided tour?": 3,
        "where to park the car": 2,
        "Is registration required?": 0,
    }
    for query, kept in asked.items():
        assert FAQ[kept][1] in model.process(query, [page])[0].text, query


GLUED = "The clinic opens at eight.The harbour was rebuilt in 1950.Boats still use it.It often rains."


def test_glued_sentences_score_as_with_blanks(model: Provence) -> None:
    apart = GLUED.replace(".T", ". T").replace(".B", ". B").replace(".It", ". It")
    glued, spaced = model.process("When does the clinic open?", [GLUED, apart])
    assert [s.text for s in glued.sentences] == [s.text for s in spaced.sentences]
    assert [s.score for s in glued.sentences] == pytest.approx([s.score for s in spaced.sentences], abs=0.02)
    assert glued.text == "The clinic opens at eight."
    for passage, text in ((glued, GLUED), (spaced, apart)):
        assert all(text[s.start : s.end] == s.text for s in passage.sentences)


TOWNS = [
    ["city", "mayor", "population"],
    ["Orlen", "Petra Voss", "48210"],
    ["Mirefield", "Ivo Lund", "9120"],
    ["Dunbry", "Sean Okoro", "22871"],
]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("row", TOWNS[1:], ids=lambda row: row[0])
def test_the_row_that_a_question_names_survives(model: Provence, row: list[str], end: str) -> None:
    markdown = "\n".join(f"| {' | '.join(cells)} |" for cells in [TOWNS[0], ["---"] * 3, *TOWNS[1:]])
    csv = "\n".join(map(",".join, TOWNS))
    for question in (f"Who is the mayor of {row[0]}?", f"How many people live in {row[0]}?"):
        for passage in model.process(question, [markdown + end, csv + end]):
            assert ", ".join(row) in passage.text.replace(" |", ",").replace(",", ", ").replace("  ", " ")


@pytest.mark.parametrize(
    "text",
    [
        "그는 1908년에 종이 커피 필터를 발명했다.",
        "उन्होंने 1908 में इसका आविष्कार किया था।",
        "اخترعها في عام 1908.",
    ],
)
def test_what_it_cannot_read_scores_low(model: Provence, text: str) -> None:
    assert model.process("Who invented the paper coffee filter?", [text])[0].score < 0.2


def test_each_promise_keeps_what_the_lower_ones_keep(model: Provence) -> None:
    assert list(model.config.promises) == [0.9, 0.93, 0.95, 0.97, 0.99]
    assert model.config.dynamic == 0.97
    for question, identifier, _ in ANSWERS:
        kept = [
            {
                s.start
                for s in model.process(question, [TEXTS[identifier]], options=options)[0].sentences
                if s.kept
            }
            for options in (PruningOptions(keep_answers=promise) for promise in model.config.promises)
        ]
        assert all(low <= high for low, high in pairwise(kept))


def test_int8_agrees_with_the_float_weights(model: Provence) -> None:
    pytest.importorskip("torch")
    exact = Provence.from_pretrained(backend="torch", device="cpu")
    same = total = 0
    for question, identifier, _ in ANSWERS:
        ours, theirs = (m.process(question, [TEXTS[identifier]])[0] for m in (model, exact))
        assert ours.score == pytest.approx(theirs.score, abs=0.1)
        pairs = list(zip(ours.sentences, theirs.sentences, strict=True))
        same += sum(a.kept == b.kept for a, b in pairs)
        total += len(pairs)
    assert same / total >= 0.95


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_results_do_not_depend_on_neighbours(model: Provence, batch_size: int | None) -> None:
    question, texts = ANSWERS[0][0], list(TEXTS.values())
    backwards = model.process(question, texts[::-1], batch_size=batch_size)
    for text, other in zip(texts, backwards[::-1], strict=True):
        (alone,) = model.process(question, [text])
        # Integers are summed exactly; what is left are the floats of attention, summed in other orders.
        assert other.logit == pytest.approx(alone.logit, abs=1e-5)
        for mine, theirs in zip(alone.sentences, other.sentences, strict=True):
            assert theirs.score == pytest.approx(mine.score, abs=1e-5)
        assert other.text == alone.text


def test_a_stock_cross_encoder_gives_the_scores_of_the_torch_backend() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    pairs = [(question, TEXTS[identifier]) for question, identifier, _ in ANSWERS]
    stock = sentence_transformers.CrossEncoder(str(BUNDLED), device="cpu", model_kwargs={"dtype": "float32"})
    ours = Provence.from_pretrained(backend="torch", device="cpu").predict(pairs)
    np.testing.assert_allclose(ours, stock.predict(pairs), atol=1e-5)


def test_a_saved_copy_gives_the_same_results(model: Provence, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "copy")
    copy = Provence.from_pretrained(tmp_path / "copy")
    question, identifier, _ = ANSWERS[0]
    assert copy.process(question, [TEXTS[identifier]]) == model.process(question, [TEXTS[identifier]])
