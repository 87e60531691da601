"""Where the answers of a page lie, whatever form it has."""

from __future__ import annotations

import html
import re
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_training.augmentation import FORMS, Wordings
from provence_training.augmentation.page import AskedQuestion, Page
from provence_training.augmentation.pool import Pool
from provence_training.data import load_passages
from provence_training.data.passages import Passage

ENTRY_FORMS = ("faq", "dialogue", "list", "records")
CASES = [(form.name, language) for form in FORMS.values() for language in form.languages]

WORDS = {
    "en": (
        "a",
        "The",
        "oz",
        "İs",
        "it;",
        "(x)",
        "1,5",
        "<b>",
        "&",
        '"so"',
        "|",
        "it's",
        "no.5",
        "unbelievable",
        "ß🙂",
    ),
    "ja": ("東京", "は", "カメラ", "（注）", "「新」", "、", "A&B", "<5", "12", "です", " ", "|"),
}


def random_records(language: str, rng: Random) -> list[dict[str, Any]]:
    """Questions have numbers of their own; answers are parts of a sentence, or of two."""
    space, stop, ask = (" ", ".", "What is") if language == "en" else ("", "。", "何ですか")
    found = []
    for number in range(rng.randint(1, 4)):
        text = ""
        for i in range(rng.randint(1, 7)):
            words = rng.choices(WORDS[language], k=rng.randint(1, 9))
            text += space.join([*words, f"x{number}{i}{stop}"]) + rng.choice((space, space, "\n", "\n\n"))
        questions = []
        for index in range(rng.randint(1, 3)):
            start = rng.randrange(len(text))
            answer = {"start": start, "end": rng.randint(start + 1, min(len(text), start + 60))}
            questions.append({"question": f"{ask} Q{number}{index}?", "answers": [answer]})
        title = rng.choice(("", "Title & <x>", f"題{number}"))
        found.append(
            {"id": f"p{number}", "lang": language, "title": title, "text": text, "questions": questions}
        )
    return found


def make(name: str, passages: list[Passage], language: str, seed: int) -> Page | None:
    return FORMS[name].make(Pool(passages, language, Wordings(), paraphrase=0.0), Random(seed))


def bare(text: str) -> str:
    """Letters and digits alone, without regard to case."""
    return re.sub(r"[\W_]", "", text).casefold()


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)


def answers_of(passages: list[Passage]) -> dict[str, tuple[str, str]]:
    """For each question, the answer and the sentences that it touches."""
    found = {}
    for passage in passages:
        for question in passage.questions:
            ((start, end),) = question.answers or ()
            touched = [s for s in passage.sentences if s.start < end and start < s.end]
            whole = passage.text[touched[0].start : touched[-1].end] if touched else ""
            found[question.text] = (passage.text[start:end].strip(), whole)
    return found


def assert_marks(name: str, marked: str, answer: str, sentence: str) -> None:
    """What is marked is the answer, changed as the form changes text and in no other way."""
    if name == "sections":
        assert marked == answer
    elif name in ("bullets", "logs") and "\n" not in marked:
        assert marked == re.sub(r"\s", " ", answer)
    elif name == "html":
        shown = html.unescape(re.sub(r"</?(?:p|li)>", "", marked))
        assert "".join(shown.split()) == "".join(answer.split())
    elif name == "glued":
        assert "".join(marked.split()) == "".join(answer.split())
    elif name in ("wrapped", "unpunctuated"):
        assert bare(marked) == bare(answer)
    elif name in ENTRY_FORMS:
        shown = bare(html.unescape(marked))
        assert bare(answer) in shown or bare(sentence) in shown
    else:  # times, levels and markers come between
        assert is_subsequence("".join(answer.split()), marked)
        assert (marked[0], marked[-1]) == (answer[0], answer[-1])


@pytest.mark.parametrize(("name", "language"), CASES)
def test_answers_are_where_the_page_has_them(name: str, language: str) -> None:
    made = 0

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32))  # drawn word by word, the data took a hundred times as long
    def check(seed: int) -> None:
        nonlocal made
        passages = load_passages(random_records(language, Random(seed)))
        page = make(name, passages, language, seed)
        if page is None:
            return
        made += 1
        expected = answers_of(passages)
        assert page.questions
        for question in page.questions:
            for start, end in question.answers:
                assert 0 <= start < end <= len(page.text)
                marked = page.text[start:end]
                assert marked == marked.strip()
                assert_marks(name, marked, *expected[question.text])

    check()
    assert made >= 10


@pytest.mark.parametrize("name", ENTRY_FORMS)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_entries_do_not_overlap(name: str, language: str, passages: list[Passage]) -> None:
    for seed in range(50):
        page = make(name, passages, language, seed)
        assert page is not None
        spans = sorted(span for question in page.questions for span in question.answers)
        assert len(spans) == len(page.questions)
        assert all(first[1] <= second[0] for first, second in pairwise(spans))


def asked(page: Page, text: str) -> AskedQuestion:
    return next(question for question in page.questions if question.text == text)


@pytest.mark.parametrize(("name", "language"), [(n, lang) for n in ENTRY_FORMS for lang in ("en", "ja")])
def test_question_and_answer_are_marked_together(name: str, language: str, passages: list[Passage]) -> None:
    question = {"en": "Who patented the paper filter?", "ja": "返品の期限はいつですか？"}[language]
    words = {"en": "paper filter", "ja": "返品"}[language]
    pages = [make(name, passages, language, seed) for seed in range(30)]
    found = [p for p in pages if p and any(q.text == question for q in p.questions)]
    assert found
    for page in found:
        ((start, end),) = asked(page, question).answers
        assert words in page.text[start:end].replace("\n", " ")


def test_a_list_has_all_parts_of_its_answer() -> None:
    text = "Bring cups, spoons and 2 small jugs."
    spans = [(6, 10), (12, 18), (23, 35), (25, 30)]
    question = {"question": "What to bring?", "answers": [{"start": s, "end": e} for s, e in spans]}
    passages = load_passages([{"text": text, "lang": "en", "questions": [question]}])
    pages = [make("list", passages, "en", seed) for seed in range(20)]
    bodies = {re.sub(r"(?m)^\W*(?:\d\. )?", "", page.text.partition("\n")[2]) for page in pages if page}
    assert bodies == {"cups\nspoons\n2 small jugs"}  # "small" is in another part


def test_no_entry_answers_the_question_of_another() -> None:
    """One passage repeats what another says: they are on no page together, not even as a filler."""
    rows = [("a", "Tea is hot."), ("b", "Why tea? Tea is hot."), ("c", "Rain is wet.")]
    found = [
        {"id": n, "lang": "en", "text": t, "questions": [{"question": f"What of {n}?", "answers": [span(t)]}]}
        for n, t in rows
    ]
    passages = load_passages(found)
    for name in ENTRY_FORMS:
        for seed in range(40):
            page = make(name, passages, "en", seed)
            assert page is not None
            assert page.text.lower().count("hot") <= 1


def span(text: str) -> dict[str, int]:
    """The last word, without its stop."""
    return {"start": text.rindex(" ") + 1, "end": len(text) - 1}


def test_a_question_of_two_sections_has_both_answers() -> None:
    found = [
        {
            "id": t,
            "lang": "en",
            "title": t,
            "text": t,
            "questions": [{"question": "Why?", "answers": [span(t)]}],
        }
        for t in ("Tea is hot.", "Rain is wet.")
    ]
    page = make("sections", load_passages(found), "en", 0)
    assert page is not None
    (question,) = page.questions
    assert sorted(page.text[start:end] for start, end in question.answers) == ["hot", "wet"]


def test_long_sections_are_cut_between_sentences() -> None:
    text = " ".join(f"Sentence number {n} has {'many ' * 20}words." for n in range(12))
    answers = [{"start": text.index(f"number {n} "), "end": text.index(f"number {n} ") + 8} for n in (1, 11)]
    questions = [{"question": f"Which {a['start']}?", "answers": [a]} for a in answers]
    passages = load_passages([{"text": text, "lang": "en", "title": "T", "questions": questions}])
    lengths = set()
    for seed in range(30):
        page = make("sections", passages, "en", seed)
        assert page is not None
        lengths.add((page.text.count("Sentence"), len(page.questions)))
    assert lengths == {(5, 1), (12, 2)}


@pytest.mark.parametrize("name", ["glued", "unpunctuated"])
def test_a_passage_that_a_form_does_not_change_is_no_page(name: str) -> None:
    question = {"question": "Who?", "answers": [{"start": 0, "end": 3}]}
    passages = load_passages([{"text": "tea", "lang": "en", "questions": [question]}])
    assert [make(name, passages, "en", seed) for seed in range(20)] == [None] * 20


@pytest.mark.parametrize("language", ["en", "ja"])
def test_wrapped_lines_have_a_width(language: str) -> None:
    text = "Wonderful machines rumble. " * 40 if language == "en" else "東京は日本の首都です。" * 40
    question = {"question": "Who?", "answers": [{"start": 0, "end": 3}]}
    passages = load_passages([{"text": text, "lang": language, "questions": [question]}])
    most = {"en": 80, "ja": 36}[language]
    for seed in range(20):
        page = make("wrapped", passages, language, seed)
        assert page is not None
        lines = page.text.split("\n")
        assert len(lines) > 5
        assert max(map(len, lines)) <= most + len("> ")
        assert not any(line.lstrip("> ").startswith(("。", "、")) for line in lines)


def test_subtitles_count_and_follow_each_other(passages: list[Passage]) -> None:
    pattern = re.compile(r"(\d+)\n(\d\d:\d\d:\d\d),000 --> (\d\d:\d\d:\d\d),000\n.+")
    texts = [page.text for seed in range(20) if (page := make("captions", passages, "en", seed))]
    found = [[pattern.fullmatch(block) for block in t.split("\n\n")] for t in texts if "-->" in t]
    assert found
    for blocks in found:
        rows = [block.groups() for block in blocks if block]
        assert len(rows) == len(blocks)
        assert [int(row[0]) for row in rows] == [*range(1, len(rows) + 1)]
        assert all(first[2] == second[1] for first, second in pairwise(rows))
        assert all(row[1] < row[2] for row in rows)


def test_html_is_escaped(passages: list[Passage]) -> None:
    for seed in range(20):
        page = make("html", passages, "en", seed)
        assert page is not None
        assert not re.search(r"<(?!/?(?:p|ul|li|h2|div|article)\b)|&(?!amp;|lt;|gt;)", page.text)
