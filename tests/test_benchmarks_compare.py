"""The comparisons with other projects: what each adapter keeps, and that both sides are asked the same."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("matplotlib")

from benchmarks import compare, open_provence, peers
from benchmarks.common import run
from benchmarks.open_provence_peer import OpenProvencePeer, cut
from benchmarks.peers import SYSTEMS
from benchmarks.random_checkpoint import write_random_checkpoint
from benchmarks.systems import Options, Question
from provence_rag import InvalidInputError, Provence

ROOT = Path(__file__).parents[1]
DATA = ROOT / "examples" / "finetune" / "train.jsonl"

QUESTION = Question(
    "penguins swim", "en", ["Penguins swim fast. Cats do not. Owls fly at night.", "Dogs bark. Owls hoot."]
)

PEER = """
# Stands in for OpenProvence: asks provence-rag, and can be told to judge another way.
import sys
from types import SimpleNamespace
import torch
from provence_rag import Provence

class OpenProvenceForSequenceClassification:
    @classmethod
    def from_pretrained(cls, weights, device):
        self = cls()
        self.inner = Provence.from_pretrained(weights, backend="torch", device=device)
        return self

    def parameters(self):
        return iter([torch.zeros(3, 5)])

    def process(self, *, question, context, threshold, sentence_splitter, **_):
        print("noise on the standard output")
        found = self.inner.process(question, context)
        scores = [[sentence.score + SHIFT for sentence in passage.sentences] for passage in found]
        parts = [sentence_splitter(text) for text in context]
        kept = [[p for p, s in zip(own, s) if s > threshold] for own, s in zip(parts, scores)]
        return {
            "reranking_score": [torch.tensor(passage.score) for passage in found],
            "kept_sentences": kept,
            "sentence_probabilities": scores,
        }
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("weights")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    write_random_checkpoint(directory, **sizes, vocab_size=36_002)
    return directory


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose code judges every sentence 0.2 more likely than ours does."""
    directory = tmp_path_factory.mktemp("checkout")
    (directory / "open_provence").mkdir()
    code = PEER.replace("SHIFT", "0.2")
    (directory / "open_provence" / "modeling_open_provence_standalone.py").write_text(code, encoding="utf-8")
    return directory


# --- OpenProvence --------------------------------------------------------------------------------------


def test_random_weights_are_read_as_open_provence_and_differ_by_sentence(weights: Path) -> None:
    model = Provence.from_pretrained(weights, backend="torch", device="cpu")
    assert model.config.mode == "joint"
    assert model.config.hidden_states == "before_final_norm"
    assert model.config.pair_template == ("<s>", "$A", "</s>", "$B", "</s>")
    scores = [s.score for p in model.process(QUESTION.query, QUESTION.passages) for s in p.sentences]
    assert len(set(scores)) == 5


def test_documents_are_cut_where_sentences_start() -> None:
    parts = cut(" One. Two.\nThree. ", [1, 6, 11])
    assert parts == [" One. ", "Two.\n", "Three. "]
    assert cut("No sentence", []) == ["No sentence"]


def test_both_sides_are_timed_and_their_disagreement_is_counted(weights: Path, checkout: Path) -> None:
    model = Provence.from_pretrained(weights, backend="torch", device="cpu")
    with OpenProvencePeer(checkout, weights, path=ROOT) as peer:
        assert peer.parameters == 15
        assert peer.peak_memory > 50 * 2**20
        report = open_provence.compare(model, peer, [(QUESTION.query, QUESTION.passages)], runs=2)
    found = {figure.what: figure for figure in report.figures}
    assert found["sentences"].median == 5
    assert found["largest difference of a keep probability"].median == pytest.approx(0.2)
    assert found["largest difference of a score"].median == pytest.approx(0, abs=1e-6)
    # Ours keeps those above the middle; with 0.2 more, theirs keeps others, too.
    assert 0 < found["sentences kept"].median < 5
    assert found["sentences that only one of them keeps"].median >= 1
    assert found["sentences that only one of them keeps"].met is False
    ratio = found["OpenProvence / provence-rag"].values
    times = [found[name].values for name in ("OpenProvence", "provence-rag")]
    assert ratio == [theirs / ours for theirs, ours in zip(*times, strict=True)]


def test_a_peer_that_does_not_start_says_what_it_needs(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"exit code 1, see above; its code needs transformers 4"):
        OpenProvencePeer(tmp_path, weights)


# --- the systems ---------------------------------------------------------------------------------------


class Words:
    """Embeds by which of three words a text has."""

    def __init__(self, options: Options) -> None:
        pass

    def query(self, text: str) -> list[float]:
        return [float(word in text.lower()) for word in ("penguins", "swim", "owls")]

    def passages(self, texts: Sequence[str]) -> list[list[float]]:
        return [[value + 1e-3 for value in self.query(text)] for text in texts]


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_Embedder", Words)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_settings_judged_in_one_reading_are_those_of_single_calls(language: str) -> None:
    question = Question(QUESTION.query, language, QUESTION.passages)
    system = peers.ProvenceInt8(Options())
    kept = system.in_all_settings([question])
    assert kept == {label: [system(question, setting)] for label, setting in system.settings.items()}
    assert len({str(one) for one in kept.values()}) > 2


def test_bm25_keeps_the_best_sentences_of_all_passages() -> None:
    system = peers.BM25(Options())
    assert system(QUESTION, 1) == [[True, False, False], [False, False]]
    assert system(QUESTION, 9) == [[True, True, True], [True, True]]


@pytest.mark.usefixtures("words")
def test_llama_index_keeps_near_sentences_and_neighbours_unless_told_not_to() -> None:
    pytest.importorskip("llama_index.core")
    system = peers.LlamaIndex(Options())
    near = {"threshold_cutoff": 0.9}
    # No sentence of the second passage is near: SentenceEmbeddingOptimizer raises, nothing stays.
    alone = near | {"context_before": 0, "context_after": 0}
    assert system(QUESTION, alone) == [[True, False, False], [False, False]]
    assert system(QUESTION, near) == [[True, True, False], [False, False]]


@pytest.mark.usefixtures("words")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_langchain_keeps_near_sentences_of_any_number() -> None:
    pytest.importorskip("langchain_community")
    system = peers.LangChain(Options())
    assert system(QUESTION, 0.9) == [[True, False, False], [False, False]]
    many = Question("penguins", "en", [" ".join(f"Penguins swim {n} miles." for n in range(30))])
    assert system(many, 0.5) == [[True] * 30]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SYSTEMS["OpenProvence"].missing(Options(open_provence="clone")) == ["--weights"]
    assert SYSTEMS["provence-rag, int8"].missing(Options()) == []
    found = importlib.util.find_spec

    def find(name: str) -> Any:
        return None if name.startswith("llama_index") else found(name)

    monkeypatch.setattr("importlib.util.find_spec", find)
    assert SYSTEMS["LlamaIndex"].missing(Options()) == ["llama_index", "--embedding"]


# --- the command ---------------------------------------------------------------------------------------


def test_curves_are_read_off_between_settings_but_not_beyond_the_last() -> None:
    points = {"cosine 0.2": (0.6, 0.9), "cosine 0.4": (0.8, 0.5), "dynamic": (0.95, 0.8)}
    rows = [
        {"system": "a", "setting": setting, "removed": removed, "answers kept": kept}
        for setting, (removed, kept) in points.items()
    ]
    [row] = compare._at_equal_removal(rows)
    assert row["system"] == "a, cosine"
    assert [row["30%"], row["70%"]] == pytest.approx([0.95, 0.7])
    assert row["90%"] == ""


def test_the_command_measures_both_halves_and_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "in_fresh_process", lambda function, *values: (function(*values), 0))

    def report(*arguments: str, name: str = "compare-train") -> dict[str, Any]:
        command = ["compare.py", str(DATA), "--questions=4", "--distractors=2", "-o", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        with pytest.raises(SystemExit) as ended:
            run(compare.main)
        assert ended.value.code == 0
        found: dict[str, Any] = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        return found

    chosen = ("provence-rag, int8", "LlamaIndex", "BM25")
    monkeypatch.setattr(compare, "SYSTEMS", {name: SYSTEMS[name] for name in chosen})
    first = report("--runs=1", "--timed=1")
    assert "Left out: LlamaIndex (no --embedding)." in first["description"]
    assert [figure["what"] for figure in first["figures"]][:2] == [
        "throughput, provence-rag, int8",
        "throughput, BM25",
    ]
    settings, equal = first["tables"].values()
    rows = {(row["system"], row["setting"]): row for row in settings}
    assert rows["provence-rag, int8", "threshold 1e-05"]["answers kept"] == 1.0
    assert rows["BM25", "best 40 of all"]["removed"] == 0.0
    assert [row["system"] for row in equal] == ["provence-rag, int8, threshold", "BM25, best"]
    assert (tmp_path / "compare-train.svg").is_file()

    again = report("--only=speed", "--runs=1", "--timed=1", "--add")
    assert [len(figure["values"]) for figure in again["figures"]] == [2] * 6
    assert again["tables"] == first["tables"]
    assert report("--only=quality")["figures"] == again["figures"]

    monkeypatch.setattr(compare, "SYSTEMS", {"BM25": SYSTEMS["BM25"]})
    options = ("--embedding=models/bi-encoder", "--only=quality")
    alone = report(*options, name="compare-train-bi-encoder")
    assert not alone["figures"]
    assert "Speed" not in alone["description"]
    assert not (tmp_path / "compare-train-bi-encoder.svg").exists()
