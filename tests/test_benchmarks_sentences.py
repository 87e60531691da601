"""The benchmark of sentence borders: what it reads and what it counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers")

from benchmarks.border_sets import Marked, golden_rules, legal_documents, treebank_documents
from benchmarks.common import run
from benchmarks.sentences import Agreement, main, measure
from provence_rag import InvalidInputError

_RULES = """
import pytest
GOLDEN_EN_RULES_TEST_CASES = [
    ("One dog. Two cats.", ["One dog.", "Two cats."]),
    pytest.param("A. B", ["A.", "B"], marks=pytest.mark.xfail),
]
OTHER_EN_CASES = [("x", ["x"])]
"""
_TREEBANK = """\
# newdoc id = a
# newpar
# text = One dog.
1\tOne\t_
2\tdog\tSpaceAfter=No
3\t.\t_

# text = Two.
1\tTwo\tSpaceAfter=No
2\t.\tSpaceAfter=No

# text = Three.
1\tThree\tSpaceAfter=No
2\t.\t_

# newpar
# text = Four
1\tFour\t_

# newdoc id = b
# text = Five. Six
1\tFive\t_
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    rules = tmp_path / "pySBD" / "tests" / "lang" / "test_english.py"
    rules.parent.mkdir(parents=True)
    rules.write_text(_RULES, encoding="utf-8")
    (tmp_path / "bank.conllu").write_text(_TREEBANK, encoding="utf-8")
    (tmp_path / "data_set").mkdir()
    annotations = [{"start": 0, "end": 3}, {"start": 5, "end": 8}]
    (tmp_path / "data_set" / "court.json").write_text(
        json.dumps({"1": {"text": "Yes. No.", "annotations": annotations}}), encoding="utf-8"
    )
    return tmp_path


def test_golden_rules(checkout: Path) -> None:
    assert golden_rules(checkout / "pySBD", "en") == [
        Marked("One dog. Two cats.", ["One dog.", "Two cats."]),
        Marked("A. B", ["A.", "B"]),
    ]
    with pytest.raises(InvalidInputError, match=r"pySBD: no Golden Rules of language 'fr' in tests/lang$"):
        golden_rules(checkout / "pySBD", "fr")


def test_sentences_of_a_treebank_are_joined_as_in_the_document(checkout: Path) -> None:
    assert [document.text for document in treebank_documents(checkout / "bank.conllu")] == [
        "One dog. Two.Three.\n\nFour",
        "Five. Six",
    ]


def test_what_annotators_left_out_belongs_to_the_sentence_before(checkout: Path) -> None:
    assert legal_documents(checkout, "court") == [Marked("Yes. No.", ["Yes. ", "No."])]


def test_borders_do_not_depend_on_white_space() -> None:
    document = Marked("One dog. Two\ncats. Three", ["One dog.", "Two cats.", "Three"])
    assert document.borders == {7, 15}
    found = [["One dog. ", "Two\n", "cats. Three"]]
    assert measure([document], found) == Agreement(found=1, extra=1, missed=1)
    assert measure([document], found).f1 == pytest.approx(50)
    assert measure([document], [["lost", "One dog.", "Two cats.", "Three"]]) == Agreement(2, 0, 0)


def test_it_runs_from_its_command_line(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--rules", "pySBD", "--treebank", "bank.conllu", "--legal", ".", "--output", "results"]
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(sys, "argv", ["benchmarks/sentences.py", "en", *arguments])
    with pytest.raises(SystemExit) as exit_:
        run(main)
    assert exit_.value.code == 0
    found = json.loads((tmp_path / "results" / "sentences-en.json").read_text(encoding="utf-8"))
    [ours, *others] = found["tables"]["Borders"]
    assert ours["splitter"] == "provence-rag"
    assert ours["F1, legal, court"] == "100.00"
    assert {row["splitter"] for row in others} >= {"Punkt (NLTK)"}
    assert found["figures"][0]["what"] == "provence-rag, Golden Rules"
    assert "| provence-rag |" in capsys.readouterr().out
