"""docs/training.md names every setting of a run as the source does, and docs/augmentation.md every form."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from provence_training import config
from provence_training.augmentation import FORMS

DOCUMENTS = Path(__file__).parents[2] / "docs"
DOCUMENT = DOCUMENTS / "training.md"
SECTIONS = {
    "TrainingConfig": "The run",
    "DataConfig": "`data`",
    "DataSource": "Each entry of `data.train` and `data.dev`",
    "ModelConfig": "`model`",
    "ShrinkConfig": "`model.shrink`",
    "TeacherConfig": "Each entry of `teachers`",
    "ScaleConfig": "`teachers.scale`",
    "StageConfig": "Each entry of `stages`",
    "PairConfig": "Each entry of `stages.pairs`",
    "LossConfig": "`stages.loss`",
    "GuideConfig": "`stages.guide`",
    "RangesConfig": "`stages.ranges`",
    "ReleaseConfig": "`release`",
    "CalibrationConfig": "`release.calibration`",
}


def descriptions(name: str) -> dict[str, str]:
    """The docstring after each field of a class; "" without one."""
    tree = ast.parse(Path(inspect.getfile(getattr(config, name))).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            found[node.target.id] = " ".join(following.value.value.split()) if is_text else ""
    return found


def default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    parts = value if isinstance(value, tuple) else (value,)
    if any(map(dataclasses.is_dataclass, parts)):
        return "see below"
    return f"`{json.dumps(value)}`"


def table(name: str) -> str:
    texts = descriptions(name)
    rows = [
        f"| `{key}` | {default(field)} | {texts[key] or 'see below'} |"
        for key, field in getattr(config, name).__pydantic_fields__.items()
    ]
    header = [f"### {SECTIONS[name]}", "", "| key | default | meaning |", "| --- | --- | --- |"]
    return "\n".join([*header, *rows])


def test_every_part_is_documented() -> None:
    assert sorted(SECTIONS) == sorted(config.__all__)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_reference_is_what_the_source_says(name: str) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert table(name) in document, f"docs/training.md should have:\n{table(name)}"


def test_every_form_is_documented() -> None:
    rows = [
        f"| `{form.name}` | {form.description} | {', '.join(form.languages)} | {form.share} |\n"
        for form in FORMS.values()
    ]
    table = f"| form | what it looks like | languages | share |\n| --- | --- | --- | --- |\n{''.join(rows)}\n"
    assert table in (DOCUMENTS / "augmentation.md").read_text(encoding="utf-8")
