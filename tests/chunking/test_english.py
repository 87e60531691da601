from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from provence_rag.chunking import EnglishChunker, english
from provence_rag.chunking.english import PUNKT_LANGUAGES, PunktChunker
from provence_rag.errors import InvalidInputError


def cut(text: str, language: str = "en") -> list[str]:
    chunker = EnglishChunker() if language == "en" else PunktChunker(language)
    return [sentence for sentence, _ in chunker.chunk(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["It works.", "Does it?", "Yes!", "Good"],
        ["Dr. Smith met Mr. Jones on Jan. 5.", "They talked."],
        ["He lives in the U.S. and works for the U.N. in Geneva.", "He likes it."],
        ["The U.S. Army was there.", "So was J. S. Bach.", "J.R.R. Tolkien was not."],
        ["They play in the N.F.L. in May.", "It is the N.F.L.", "They like it."],
        ["Use a vector, e.g. a list, i.e. a row.", "It holds."],
        ["It cost $3.50 in 1990.", "It grew by 4.2 percent."],
        ["See Fig. 3 and No. 7 in Vol. 2.", "The answer is no.", "It is a fig."],
        ["Smith et al. found it, etc. and so on.", "They left."],
        ["Wait... what?", "Well… maybe.", "Who knows?"],
        ['"Why?" he asked.', "She said “Go.”", "He went."],
        ["He can't.", "She won’t.", "'U.S. troops went.'", "It is Mr. O'Brien's.", "'Tis."],
        ["(This is so.)", "[That is not.]", "End."],
        ["It is known.[1][12]", "It was proved.[a]", "So it is.²", "Done."],
        ["Yahoo! is a company.", "Stop!", "Now."],
        ["What?!", "No!!!", "Really?..", "Yes."],
        ["Hello world .", "How are you ?", "Fine ."],
        ["He left . . . and came back.", "Good."],
        ["**Note.**", "It is *so.*", "End."],
        ["C. We may share data.", "We do not sell it."],
        ["Visit https://example.com/a.b?c=d!e now.", "Thanks."],
        ["i like it.", "it is good."],
        ["It was in World War I.", "Some say so.", "Then came Plan B.", "It failed."],
    ],
    ids=lambda expected: expected[0][:20],
)
def test_sentences(expected: list[str]) -> None:
    assert cut(" ".join(expected)) == expected


def test_offsets_are_of_the_text() -> None:
    text = "  One.  Two!\n"
    assert EnglishChunker().chunk(text) == [("One.", (2, 6)), ("Two!", (8, 12))]


@pytest.mark.parametrize("text", ["", " ", "\n\n \t", "\u3000"])
def test_white_space_has_no_sentence(text: str) -> None:
    assert EnglishChunker().spans(text) == []


def test_blank_line_is_a_border() -> None:
    assert cut("A heading\n\nsome text\n \t\nmore text") == ["A heading", "some text", "more text"]


def test_wrapped_prose_is_not_cut() -> None:
    prose = (
        "The quick brown fox jumped over the lazy dog, as it was seen in\n"
        "London by the people of the town, who had never heard of such a\n"
        "thing. They were surprised."
    )
    assert cut(prose) == [prose.removesuffix(" They were surprised."), "They were surprised."]


@pytest.mark.parametrize(
    "lines",
    [
        ["Introduction", "This paper is about the way in which sentences are cut from a text."],
        ["Name: Foo", "Age: 12", "City: Oslo"],
        ["We sell:", "- apples", "* pears", "• plums", "1. nuts", "2) figs", "(3) dates", "(a) oil"],
        ["# Title", "text below it", "## Next"],
        ["Sunny in the morning", "1990 was a good year for it"],
    ],
    ids=lambda lines: lines[0],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\u2028"])
def test_lines_that_are_items(lines: list[str], newline: str) -> None:
    assert cut(newline.join(lines)) == lines


def test_item_number_belongs_to_the_item() -> None:
    assert cut("1. Install it. Then run it.\n2. Stop.") == ["1. Install it.", "Then run it.", "2. Stop."]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", ["Am 3. Oktober traf Dr. Meier ein.", "Das kostet z.B. 3,50 Euro.", "Gut."]),
        ("de", ["„Komm!“ rief er.", "»Nein.«", "Er ging."]),
        ("fr", ["M. Dupont est arrivé.", "« Bonjour ! »", "Il est parti."]),
        ("es", ["El Sr. García llegó.", "¿Cómo está?", "¡Bien!"]),
        ("it", ["Il dott. Rossi è qui.", "Va bene."]),
        ("nl", ["Dhr. Jansen is hier.", "Het kost 3,50 euro."]),
        ("pt", ["O Sr. Silva chegou.", "Está bem."]),
        ("ru", ["Он пришёл.", "Всё хорошо!", "Да."]),
        ("el", ["Τι κάνεις;", "Είμαι καλά.", "Ναι."]),
        ("pl", ["To jest dom.", "Jest duży."]),
    ],
)
def test_other_languages(language: str, expected: list[str]) -> None:
    assert cut(" ".join(expected), language) == expected


@pytest.mark.parametrize("language", sorted(PUNKT_LANGUAGES))
def test_every_language_has_parameters(language: str) -> None:
    assert cut("Xyzzy plugh qwx. Xyzzy plugh qwx.", language) == ["Xyzzy plugh qwx."] * 2


def test_full_stops_of_other_scripts() -> None:
    assert cut("यह एक वाक्य है। यह दूसरा है।") == ["यह एक वाक्य है।", "यह दूसरा है।"]
    assert cut("هل هذا جيد؟ نعم.") == ["هل هذا جيد؟", "نعم."]
    assert cut("It is 东京。It is big.") == ["It is 东京。", "It is big."]


def test_unknown_language() -> None:
    with pytest.raises(
        InvalidInputError, match=r"^language must be one of Punkt's \(cs, da, .*\), got 'xx'$"
    ):
        PunktChunker("xx")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "." * 100_000,
        " " * 100_000 + ".",
        ". " * 50_000,
        "a." * 50_000,
        "!" * 100_000 + "a",
        ".)" * 50_000,
        '."' * 50_000,
        ".[" * 50_000,
        "." + ")" * 100_000 + "a",
        "a\n" * 50_000,
        "- " * 50_000,
        "a" * 99_990 + ". Next one",
        "A b c d. " * 2_000,
        "one . ) " * 10_000,
        "one. ) " * 10_000,
    ],
    ids=lambda text: repr(text[:3] + text[-3:]),
)
def test_long_input_ends(text: str) -> None:
    assert sum(end - start for start, end in EnglishChunker().spans(text)) <= len(text)


def test_a_megabyte_ends() -> None:
    text = (
        "The company of Mr. Smith was founded in the spring of the year, and closed in the autumn. " * 11_500
    )
    assert len(EnglishChunker().spans(text)) == 11_500


def test_threads_share_one_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = english._build_punkt

    def count(name: str) -> Any:
        built.append(name)
        return build(name)

    monkeypatch.setattr(english, "_tokenizers", {})
    monkeypatch.setattr(english, "_build_punkt", count)
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(cut("Dr. Who is. He is."))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == ["english"]
    assert results == [["Dr. Who is.", "He is."]] * 8


_OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import provence_rag.chunking
heavy = {"nltk", "punkt", "budoux", "langdetect", "torch", "transformers", "tokenizers"} & set(sys.modules)
assert not heavy, heavy
print(provence_rag.chunking.EnglishChunker().spans("Dr. Smith met J. Bach in the U.S. in May. He left."))
"""


def test_no_download_and_cheap_import(tmp_path: Path) -> None:
    environment = {**os.environ, "NLTK_DATA": str(tmp_path / "nowhere"), "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", _OFFLINE], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[Span(start=0, end=41), Span(start=42, end=50)]"
