"""The images of the documentation show what the model says today."""

from __future__ import annotations

import html
import re
import runpy
from pathlib import Path

import pytest

from provence_rag import Provence

IMAGES = Path(__file__).parents[2] / "docs" / "images"
NUMBER = re.compile(r"\d+\.\d+")


def texts_of(svg: str) -> str:
    """The texts of an image, one after the other."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return " ".join(html.unescape(" ".join(found)).replace("\xa0", " ").split())


def test_the_highlighted_view_is_that_of_the_model() -> None:
    drawn = texts_of(runpy.run_path(str(IMAGES / "highlighted_view.py"))["draw"]())
    stored = texts_of((IMAGES / "highlighted-view.svg").read_text(encoding="utf-8"))
    assert "Melitta Bentz" in stored
    # int8 kernels differ between processors in the last digits of a score
    assert NUMBER.sub("#", drawn) == NUMBER.sub("#", stored)
    scores = [[float(n) for n in NUMBER.findall(text)] for text in (drawn, stored)]
    assert scores[0] == pytest.approx(scores[1], abs=0.03)


def test_the_figure_has_the_numbers_of_the_model() -> None:
    page = (IMAGES.parent / "how-it-works.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(from.*?)^\(passage", page, re.DOTALL | re.MULTILINE)
    namespace: dict[str, str] = {}
    exec(code, namespace)
    (passage,) = Provence.from_pretrained().process(namespace["question"], [namespace["text"]])
    texts = texts_of((IMAGES / "how-it-works.svg").read_text(encoding="utf-8"))
    shown = [float(number) for number in NUMBER.findall(texts)]
    assert shown == pytest.approx([*(s.score for s in passage.sentences), passage.score], abs=0.03)
    assert " to ".join(map(str, passage.kept_spans[0])) in texts
    assert passage.text in texts


@pytest.mark.parametrize("image", sorted(IMAGES.glob("*.svg")), ids=lambda path: path.name)
def test_an_image_loads_nothing_from_the_web(image: Path) -> None:
    text = image.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert re.findall(r"(?:src|href|url)\W{1,3}https?://", text) == []
