"""Citations in replies."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_rag import InvalidInputError
from provence_rag.prompting import (
    CitedReply,
    PromptContext,
    build_context,
    citation_messages,
    resolve_citations,
)
from provence_rag.prompting.markers import find_markers, without_markers

SENTENCES = ["Alpha comes first.", "Beta comes second.", "Gamma comes third.", "Delta comes last."]


@pytest.fixture(scope="module")
def context() -> PromptContext:
    return build_context([(f"doc-{n}", text) for n, text in enumerate(SENTENCES, start=1)])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Alpha [1].", [("[1]", [1], [])]),
        ("Alpha[1], beta[2].", [("[1]", [1], []), ("[2]", [2], [])]),
        ("Both [1][2].", [("[1]", [1], []), ("[2]", [2], [])]),
        ("Both [1, 3].", [("[1, 3]", [1, 3], [])]),
        ("Both [3,1,3].", [("[3,1,3]", [3, 1], [])]),
        ("All [1-3].", [("[1-3]", [1, 2, 3], [])]),
        ("All [1–2, 4].", [("[1–2, 4]", [1, 2, 4], [])]),
        ("All [3-1].", [("[3-1]", [1, 2, 3], [])]),
        ("最初【1】と【２、３】", [("【1】", [1], []), ("【２、３】", [2, 3], [])]),
        ("最初［１］。範囲［１〜３］", [("［１］", [1], []), ("［１〜３］", [1, 2, 3], [])]),
        ("Alpha【1†source】.", [("【1†source】", [1], [])]),
        ("Made up [7].", [("[7]", [], [7])]),
        ("Partly [2, 7, 0].", [("[2, 7, 0]", [2], [7, 0])]),
        ("Years [3-2024].", [("[3-2024]", [3, 4], [2024])]),
        ("All [1, 2, and 3].", [("[1, 2, and 3]", [1, 2, 3], [])]),
        (
            "Both [1 and 2], [1 & 3], [2 or 9].",
            [("[1 and 2]", [1, 2], []), ("[1 & 3]", [1, 3], []), ("[2 or 9]", [2], [9])],
        ),
        ("両方［１と２］[1、および3]", [("［１と２］", [1, 2], []), ("[1、および3]", [1, 3], [])]),
        ("Alpha [Source 1], [sources: 1, 3].", [("[Source 1]", [1], []), ("[sources: 1, 3]", [1, 3], [])]),
        ("Both [Doc. 2-Doc. 3, document 9].", [("[Doc. 2-Doc. 3, document 9]", [2, 3], [9])]),
        ("最初[出典1]、【出典：２】", [("[出典1]", [1], []), ("【出典：２】", [2], [])]),
        ("Alpha [^1] and [#2].", [("[^1]", [1], []), ("[#2]", [2], [])]),
        ("Alpha [1†L1-L3], 【2†source】", [("[1†L1-L3]", [1], []), ("【2†source】", [2], [])]),
        ("Both [1,  3].", [("[1,  3]", [1, 3], [])]),
        ("最初〔1〕", [("〔1〕", [1], [])]),
        ("Great![1]", [("[1]", [1], [])]),
        ("[1 and], [Source], [and 2], [Source 12345], [1 2], [Sourced 1], [1}", []),
        ("Nothing.", []),
        ("Slice x[0:3], list [a], [], [ 1 ], [12345], note [1.5].", []),
        ("A [1](https://example.org) link, ![1](x.png).", []),
        ("[1]: https://example.org\nAlpha [1].", [("[1]", [1], [])]),
        ("`x[1]` and [2]", [("[2]", [2], [])]),
        ("```python\nx[1]\n```\nBeta [2].", [("[2]", [2], [])]),
        ("```\nx[1]", []),
        (r"Escaped \[1] and [2].", [("[2]", [2], [])]),
    ],
)
def test_forms(context: PromptContext, reply: str, expected: list[tuple[str, list[int], list[int]]]) -> None:
    found = resolve_citations(reply, context)
    assert [
        (reply[one.start : one.end], list(one.numbers), list(one.unknown)) for one in found.citations
    ] == expected


def test_spans_and_sources_of_a_reply(context: PromptContext) -> None:
    reply = resolve_citations("Third [3], first [1], made up [9], third [3].", context)
    assert [source.id for source in reply.sources] == ["doc-3", "doc-1"]
    assert reply.unknown == [9]
    assert [span.text for span in reply.citations[0].spans] == [SENTENCES[2]]
    assert str(reply) == reply.text
    assert json.loads(json.dumps(reply.to_dict())) == reply.to_dict()
    assert reply.to_dict()["citations"][1] == {
        "start": 17,
        "end": 20,
        "numbers": [1],
        "unknown": [],
        "spans": [{"id": "doc-1", "index": 0, "start": 0, "end": 18, "text": SENTENCES[0]}],
    }


def test_a_context_without_numbers_cannot_be_cited() -> None:
    context = build_context(SENTENCES, citations=False)
    assert context.text == "\n\n".join(SENTENCES)
    with pytest.raises(
        InvalidInputError, match=r"^context was built with citations=False: its sources have no"
    ):
        resolve_citations("Alpha [1].", context)
    with pytest.raises(
        InvalidInputError, match=r"^context was built with citations=False: there are no numbers"
    ):
        citation_messages("Which?", context)


@pytest.mark.parametrize(
    ("reply", "context", "message"),
    [
        (None, build_context([]), "reply must be a string, got NoneType None"),
        ("x", "y", "context must be a PromptContext, got str 'y'"),
    ],
)
def test_what_cannot_be_resolved(reply: str, context: PromptContext, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        resolve_citations(reply, context)
    assert str(error.value) == message


BRACKETS = st.lists(
    st.sampled_from([*"[]［］【】〔〕†0123456789１２,、-–〜 (){}<>a^#:\n`\\", "and", "Source", "出典", "[1"]),
    max_size=40,
).map("".join)


@given(BRACKETS)
def test_no_text_can_forge_a_citation(text: str) -> None:
    shown = without_markers(text)
    assert list(find_markers(shown.replace("`", ""))) == []
    assert [c for c in shown if c != " "] == [c for c in text if c != " "]  # nothing is lost


@given(BRACKETS)
def test_positions_are_those_of_the_reply(reply: str) -> None:
    context = build_context(SENTENCES)
    end = 0
    for citation in resolve_citations(reply, context).citations:
        assert end <= citation.start < citation.end
        assert reply[citation.start] in "[［【〔"
        assert reply[citation.end - 1] in "]］】〕"
        assert citation.numbers or citation.unknown
        end = citation.end


def test_messages(context: PromptContext) -> None:
    system, user = citation_messages("Which is {first}?", context)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "[1, 3]" in system["content"]
    assert user["content"] == f"Sources:\n\n{context.text}\n\nQuestion: Which is {{first}}?"
    assert "角括弧" in citation_messages("最初はどれですか？", context)[0]["content"]
    assert "角括弧" in citation_messages("Which?", "[1] x", language="ja")[0]["content"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": " ", "context": "x"}, "question is blank (' '): a query needs words"),
        ({"question": "x", "context": 3}, "context must be a string, got int 3"),
        (
            {"question": "x", "context": "y", "language": "fr"},
            "language must be one of auto, en, ja, got str 'fr'",
        ),
    ],
)
def test_messages_that_cannot_be_made(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        citation_messages(**arguments)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_a_stored_context_resolves_a_reply(context: PromptContext) -> None:
    stored = PromptContext.from_dict(json.loads(context.to_json()))
    reply = resolve_citations("Alpha [1].", stored)
    assert isinstance(reply, CitedReply)
    assert reply == resolve_citations("Alpha [1].", context)
