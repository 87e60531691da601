from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from provence_rag import CheckpointError, Provence
from provence_rag.cli import app
from provence_rag.hub import BUNDLED
from provence_rag.modeling.checkpoints import PUBLISHED, Published, example_of_card
from provence_rag.modeling.checkpoints.published import Expected

CARD = """---
license: {licence}
language: [en, ja]
---

# A card

```bash
pip install something
```

```python
from somewhere import Model
context = "A fox sleeps. Penguins swim in the sea."
question: str = 'Who swims in the sea?'
```

{text}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the bundled model with another card."""
    directory = Path(shutil.copytree(BUNDLED, tmp_path / "mini", copy_function=os.link))
    (directory / "README.md").unlink()
    (directory / "README.md").write_text(CARD.format(licence="mit", text="Free."), encoding="utf-8")
    return directory


# inspect


def test_inspect() -> None:
    done = run("inspect", BUNDLED)
    assert done.exit_code == 0
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert lines == {
        "family": "provence-rag",
        "architecture": "BertForSequenceClassification",
        "parameters": "24,818,691",
        "heads": "ranking, pruning",
        "languages": "en, ja",
        "licence": "cc-by-sa-4.0",
        "window": "512 tokens",
        "threshold": "0.0103",
        "scores": "probabilities",
        "weights": "torch, onnx-int8",
    }
    assert done.stderr == ""


def test_inspect_as_json() -> None:
    summary = json.loads(run("inspect", "--json", BUNDLED).stdout)
    assert summary["num_parameters"] == 24_818_691
    assert summary["heads"] == ["ranking", "pruning"]
    assert summary["weights"] == ["torch", "onnx-int8"]
    assert summary["non_commercial"] is False


@pytest.mark.parametrize(
    ("licence", "text", "warns"),
    [
        ("cc-by-nc-nd-4.0", "", True),
        ("cc-by-4.0", "Licensed under CC BY-NC 4.0.", True),
        ("cc-by-4.0", "For non-commercial use.", True),
        ("cc-by-4.0", "For NonCommercial use.", True),
        ("mit", "For commercial use as well.", False),
        ("apache-2.0", "Sync by ncurses.", False),
    ],
)
def test_inspect_warns_of_a_licence_for_non_commercial_use(
    checkpoint: Path, licence: str, text: str, warns: bool
) -> None:
    (checkpoint / "README.md").write_text(CARD.format(licence=licence, text=text), encoding="utf-8")
    done = run("inspect", checkpoint)
    assert f"licence         {licence}\n" in done.stdout
    assert (
        done.stderr
        == "warning: the licence allows non-commercial use only: read it before you use this checkpoint\n"
        * warns
    )


def test_inspect_without_a_card_or_weights(checkpoint: Path) -> None:
    (checkpoint / "README.md").unlink()
    (checkpoint / "model.safetensors").unlink()
    done = run("inspect", checkpoint)
    assert "parameters      unknown\n" in done.stdout
    assert "licence         unknown\n" in done.stdout
    assert "weights         onnx-int8\n" in done.stdout


def test_inspect_shows_nothing_that_drives_a_terminal(checkpoint: Path) -> None:
    card = CARD.format(licence=r'"mit\e]0;owned\a\e[2J"', text="")
    (checkpoint / "README.md").write_text(card, encoding="utf-8")
    done = run("inspect", checkpoint)
    assert "mit" in done.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stdout)


def test_inspect_with_a_card_that_cannot_be_read(checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text("---\n[1, 2\n---\n")
    done = run("inspect", checkpoint)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"provence: {checkpoint}/README.md is not a readable model card: ")


def test_inspect_something_else(tmp_path: Path) -> None:
    done = run("inspect", tmp_path)
    assert (done.exit_code, done.stderr) == (
        2,
        f"provence: {tmp_path} is not a checkpoint: it has no config.json\n",
    )


# verify


@pytest.fixture
def published(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The bundled model's output, as if it was published; at the threshold's place one sentence stays."""
    (passage,) = Provence.from_pretrained(checkpoint).process(*reversed(example_of_checkpoint(checkpoint)))
    assert passage.score is not None
    text = "Penguins swim in the sea."
    entry = Published(
        source="a paper",
        threshold=max(s.score or 0.0 for s in passage.sentences),
        outputs=(
            Expected(score=passage.score, num_kept=len(text)),
            Expected(score=passage.score, num_kept=len(f"A fox sleeps. {text}"), keep_title=True),
        ),
    )
    monkeypatch.setitem(PUBLISHED, "owner/name", entry)
    return entry


def example_of_checkpoint(checkpoint: Path) -> tuple[list[str], str]:
    question, context = example_of_card((checkpoint / "README.md").read_text(encoding="utf-8"))
    return [context], question


def test_verify(checkpoint: Path, published: Published) -> None:
    done = run("verify", checkpoint, "--as", "owner/name")
    score = f"{published.outputs[0].score:.6g}"
    assert done.stdout.split() == [
        *("published", "ours", "score", score, score, "agrees", "characters", "kept", "25", "25", "agrees"),
        *("score,", "with", "title", score, score, "agrees"),
        *("characters", "kept,", "with", "title", "39", "39", "agrees", "published:", "a", "paper"),
    ]
    assert done.exit_code == 0


def test_verify_says_what_differs(
    checkpoint: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Published(source="", threshold=0.5, outputs=(Expected(score=9.75, num_kept=25),))
    monkeypatch.setitem(PUBLISHED, "owner/name", other)
    done = run("verify", checkpoint, "--as", "owner/name", "--json")
    score, _ = json.loads(done.stdout)
    assert (score["what"], score["published"], score["agrees"]) == ("score", 9.75, False)
    assert done.exit_code == 1


def test_verify_what_was_not_published(checkpoint: Path) -> None:
    done = run("verify", checkpoint)
    assert done.exit_code == 2
    assert (
        f"no published figures are known for {str(checkpoint)!r}, only for hotchpotch/open-provence"
        in done.stderr
    )
    assert "if it is a copy of one of these, name that with --as" in done.stderr


def test_verify_what_cannot_be_had() -> None:
    done = run("verify", "naver/xprovence-reranker-bgem3-v2")
    assert done.exit_code == 2
    assert "could not be downloaded from the hub" in done.stderr


@pytest.mark.parametrize(
    "card",
    [
        "",
        "```python\nquestion = 'a'\n```",
        "```python\ncontext = question = f(x)\n```",
        "```python\ncontext = (\n```",
        "```text\nquestion = 'a'; context = 'b'\n```",
    ],
)
def test_a_card_without_an_example(card: str) -> None:
    with pytest.raises(CheckpointError, match=r"^the card has no example with a question and a context"):
        example_of_card(card)


def test_the_code_of_a_card_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    card = f"```python\nopen({str(trace)!r}, 'w')\nquestion = 'a'\ncontext = 'b'\n```"
    assert example_of_card(card) == ("a", "b")
    assert not trace.exists()


def test_published_figures_are_those_of_the_compression_rates() -> None:
    """The cards give rates: 100 * (1 - kept / original) of 1047 characters, and 44.37 of 444."""
    plain, with_title = PUBLISHED["naver/xprovence-reranker-bgem3-v2"].outputs
    assert 100 * (1 - plain.num_kept / 1047) == pytest.approx(59.50334288443171)
    assert 100 * (1 - with_title.num_kept / 1047) == pytest.approx(57.97516714422159)
    (readme,) = PUBLISHED["hotchpotch/open-provence-reranker-xsmall-v1"].outputs
    line_break = 1  # theirs ends with one
    assert 100 * (1 - (readme.num_kept + line_break) / 444) == pytest.approx(44.37, abs=0.005)


# export


@pytest.mark.parametrize("to", ["cross-encoder", "token-classification"])
def test_export(checkpoint: Path, tmp_path: Path, to: str) -> None:
    done = run("export", "--to", to, checkpoint, tmp_path / "out")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"wrote {tmp_path / 'out'}\n")
    mode = {"cross-encoder": "ranking", "token-classification": "pruning"}[to]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["provence"]["mode"] == mode


def test_export_to_something_unknown(checkpoint: Path, tmp_path: Path) -> None:
    done = run("export", "--to", "gguf", checkpoint, tmp_path / "out")
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [checkpoint])
    formats = "safetensors, onnx, onnx-int8, openvino-int8, token-classification, cross-encoder"
    assert done.stderr == f"provence: to must be one of {formats}, got 'gguf'\n"


def test_commands_say_what_is_missing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("provence_rag.modeling.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    done = run("export", checkpoint, tmp_path / "out")
    assert done.exit_code == 2
    assert re.search(r"pip install .*\[torch\]'", done.stderr)


def test_inspect_needs_no_torch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    done: Any = run("inspect", checkpoint)
    assert done.exit_code == 0
