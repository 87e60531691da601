"""Which sentences belong together: questions and answers, lead-ins and lists, headings, rows and headers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from provence_rag.chunking.lines import LINE_BREAK
from provence_rag.chunking.links import Chunks, Link
from provence_rag.chunking.markdown import heading_level

__all__ = ["LONGEST_SECTION", "with_partners"]

_LONGEST_ANSWER = 600
_LONGEST_LIST = 1500
LONGEST_SECTION = 300
"""Characters that a question, a lead-in and a heading take along. Of more, the scores decide."""

_TABLE_HEADER = re.compile(r"[^\n]*\|[^\n]*\n[ \t]*\|?[ \t]*:?-+:?[ \t]*\|[ \t:|-]*$")
_TAGS = re.compile(r"<[^<>]*>")
# What may stand after the last mark of a sentence: quotation marks, brackets, emphasis.
_CLOSERS = "\"'”’»)*_]】」』 \t"
# Without any of these nothing belongs together: most prose is done with at this point.
_SIGN = re.compile(
    r"[?？؟⸮|#•\n\r:：か吗嗎呢*_]"
    r"(?:(?<=[?？؟⸮|#•\n\r])|(?<=[:：])(?:\s|$)|(?<=[か吗嗎呢])(?:[。．]|\s|$)|(?<=\*)\*|(?<=_)_)"
)
_QUESTION_MARKS = ("?", "？", "؟", "⸮")
_KA = re.compile(r"(?:です|ます|でしょう|ません|ました|の|だろう|い|る|た)か[。．]?$")
_PARTICLES = frozenset("か吗嗎呢")
_LONGEST_QUESTION = 80
_MA = re.compile(r"[吗嗎呢][。．]?$")
_ITEM = re.compile(
    r"""[ \t\u3000>]*(?:
      [-*+•‣◦▪●○・➢➤►▶✓✔☑✅→–—·■□◆◇※\uf0b7①-⑳][ \t\u3000]*(?=\S)
    | \(?\d{1,3}[.):）、．](?!\d)[ \t\u3000]*(?=\S)
    | \(?[a-z]\)[ \t]+
    | (?:[Ss]tep|STEP|手順|ステップ)[ \t]*\d+\b
    )""",
    re.VERBOSE,
)
_LABEL = re.compile(
    r"""[ \t>*_#\-•・]*(?:
      (?P<side>(?:[QAＱＡ]|[Qq]uestion|[Aa]nswer|問|答|質問|回答|Frage|Antwort|Pregunta|Respuesta|Réponse)
        [ \t]*\d{0,3})[ \t]*[.:：．)）、][*_ \t]*
    | (?P<name>[^\W\d_][^\s:：.!?,。、]{0,19}(?:[ \t][^\W\d_][^\s:：.!?,。、]{0,19}){0,2})
        [*_]{0,2}[:：](?!/)[ \t*_]*(?=\S)
    )""",
    re.VERBOSE,
)
# A full stop may end a lead-in that says what comes: "You need the following documents."
_POINTER = re.compile(
    r"""(?<![一-鿿])次の | (?<![0-9０-９A-Za-z%％一-鿿])以下[のをに] | 下記[のをに] | 如下 | 下列
    | \b(?:following|these|below|folgend\w*|suivant\w*|siguientes?|seguent\w*|seguintes?|следующ\w*)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_BOLD_LINE = re.compile(r"(?:\*\*|__)[^*_\n]{1,100}(?:\*\*|__)[:：]?$")
_MARKED_HEADING = re.compile(r"[【■●◆▼□◇]\s*[^。\n]{1,40}$")
_HTML_HEADING = re.compile(r"<(?:h[1-6]|dt|summary|legend|caption)\b", re.IGNORECASE)


@dataclass(slots=True)
class _Piece:
    """What links are found by, of one sentence."""

    number: int
    start: int
    end: int
    content: str
    """Without tags, and without quotation marks and emphasis at its end."""

    breaks: int
    """Line breaks in front of it: 0, 1, or 2 for a blank line."""

    depth: int
    """How many elements of markup it is in."""

    is_heading: bool
    is_row: bool
    is_question: bool
    is_item: bool

    @property
    def is_lead_in(self) -> bool:
        return self.content.endswith((":", "："))

    @property
    def label(self) -> str | None:
        """Who speaks, or "Q" or "A"."""
        match = _LABEL.match(self.content) if self.breaks or not self.number else None
        return None if match is None else match["side"] or match["name"]


def with_partners(text: str, chunks: Chunks, *, is_markup: bool = False) -> Chunks:
    """Add the links between sentences that the layout of a text shows.

    - A question announces its answer: the rest of its paragraph, the lines below it, the next paragraph or
      the next speaker's turn, up to the next question or heading. The answer needs the question.
    - A sentence that ends with a colon announces the list or block below it, whose items need it. So does one
      that says what comes ("the following", 次の) directly before a list.
    - The items of a list are steps.
    - A heading announces the text below if that is short.
    - A row of a Markdown table needs its header.

    Args:
        text: The whole text.
        chunks: Its sentences; frames are passed over.
        is_markup: Whether tags are markup: each element begins a line, and its tags are no part of it.
    """
    if _SIGN.search(text) is None and not is_markup:
        return chunks
    pieces = _pieces(text, chunks, is_markup=is_markup)
    links = [
        *chunks.links,
        *_answers(pieces),
        *_lists(pieces),
        *_sections(pieces),
        *(_rows(pieces) if "|" in text else ()),
    ]
    rows = {piece.number for piece in pieces if piece.is_row and not _TABLE_HEADER.match(piece.content)}
    records = chunks.records | rows
    return replace(chunks, links=links, records=records)


def _pieces(text: str, chunks: Chunks, *, is_markup: bool) -> list[_Piece]:
    pieces: list[_Piece] = []
    depth = 0
    position = 0
    breaks = 0
    for number, span in enumerate(chunks.spans):
        start, end = span
        gap = text[position:start]
        if gap and gap != " ":
            breaks = max(breaks, min(2, len(LINE_BREAK.findall(gap))))
        position = end
        if number in chunks.frames:
            depth += -1 if text.startswith("</", start) else 1
            breaks = max(breaks, 1)
            continue
        sentence = text[start:end]
        content = _TAGS.sub(" ", sentence).strip() if is_markup else sentence
        content = content.rstrip(_CLOSERS)
        if is_markup and sentence.startswith("<"):
            breaks = max(breaks, 1)
        is_heading = _is_heading(sentence, is_markup)
        is_row = "|" in sentence and _is_row(sentence, pieces)
        is_item = not is_row and _ITEM.match(content) is not None
        is_question = _is_question(content)
        pieces.append(
            _Piece(number, start, end, content, breaks, depth, is_heading, is_row, is_question, is_item)
        )
        breaks = 1 if is_markup and sentence.endswith(">") else 0
    return pieces


def _is_question(content: str) -> bool:
    if content.endswith(_QUESTION_MARKS):
        return True
    if len(content) > _LONGEST_QUESTION or _PARTICLES.isdisjoint(content[-2:]):
        return False
    return _KA.search(content) is not None or _MA.search(content) is not None


def _is_row(sentence: str, pieces: Sequence[_Piece]) -> bool:
    """Whether text with a bar is a row of a Markdown table, or the header, with which a table begins."""
    if sentence[0] == sentence[-1] == "|" or _TABLE_HEADER.match(sentence):
        return True
    return bool(pieces) and pieces[-1].is_row


def _is_heading(sentence: str, is_markup: bool) -> bool:
    if is_markup and _HTML_HEADING.match(sentence):
        return True
    if len(sentence) > 200:
        return False
    if sentence[0] in "#*_【■●◆▼□◇" or sentence[-1] in "=-":
        return bool(_BOLD_LINE.match(sentence) or _MARKED_HEADING.match(sentence) or heading_level(sentence))
    return False


def _answers(pieces: Sequence[_Piece]) -> Iterator[Link]:
    for index, question in enumerate(pieces):
        if not question.is_question:
            continue
        length = 0
        for answer in _answer_of(pieces, index):
            length += answer.end - answer.start
            yield Link(answer.number, question.number, "needs")
            if length <= _LONGEST_ANSWER or answer is pieces[index + 1]:
                yield Link(question.number, answer.number, "answer")


def _answer_of(pieces: Sequence[_Piece], index: int) -> Iterator[_Piece]:
    """Yield the pieces that answer the question `pieces[index]`."""
    question = pieces[index]
    begins_line = question.breaks > 0 or index == 0
    turn = question.label
    label: str | None = None
    seen_blank = False
    for offset, piece in enumerate(pieces[index + 1 : index + 60]):
        if piece.depth < question.depth or piece.is_heading or piece.is_question:
            return
        own = piece.label
        if own is not None:
            if label is not None or (turn is not None and own == turn):
                return  # the next turn but one, or the same speaker's
            label = own
        elif turn is not None and offset == 0 and piece.breaks:
            label = ""  # an answer without a label
        if piece.breaks == 2:
            # One blank line may part question and answer, but not one answer from the next text.
            if (
                offset
                or seen_blank
                or not ((begins_line and question.is_heading) or _stands_alone(pieces, index))
            ):
                return
            seen_blank = True
        if not begins_line and offset:
            return  # within prose only the next sentence
        yield piece


def _stands_alone(pieces: Sequence[_Piece], index: int) -> bool:
    """Whether a piece has its lines for itself."""
    begins = pieces[index].breaks > 0 or index == 0
    return begins and (index + 1 == len(pieces) or pieces[index + 1].breaks > 0)


def _lists(pieces: Sequence[_Piece]) -> Iterator[Link]:
    index = 0
    while index < len(pieces):
        piece = pieces[index]
        if piece.is_item and not piece.is_heading:
            end = _list_end(pieces, index)
            yield from _list_links(pieces[index:end], None)
            index = end
            continue
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if following is None:
            return
        if following.is_item and not piece.is_heading and (piece.is_lead_in or _is_open(piece, following)):
            end = _list_end(pieces, index + 1)
            yield from _list_links(pieces[index + 1 : end], piece)
            index = end
            continue
        if piece.is_lead_in and following.breaks and not (following.is_row or following.is_heading):
            yield Link(piece.number, following.number, "announces")
            yield Link(following.number, piece.number, "needs")
        index += 1


def _is_open(piece: _Piece, following: _Piece) -> bool:
    """Whether a line ends without the end of a sentence, or points at what comes below it."""
    if _POINTER.search(piece.content):
        return True
    return piece.content[-1:] not in ".!?。！？…" and following.breaks == 1


def _list_end(pieces: Sequence[_Piece], first: int) -> int:
    """Return where the list that begins at `first` ends."""
    is_inline = pieces[first].breaks == 0
    end = first + 1
    while end < len(pieces):
        piece = pieces[end]
        continues = not is_inline and piece.breaks == 0
        if not (piece.is_item or continues) or piece.is_heading or piece.is_row:
            break
        if piece.depth < pieces[first].depth:
            break
        end += 1
    return end


def _list_links(members: Sequence[_Piece], lead_in: _Piece | None) -> Iterator[Link]:
    for previous, member in pairwise(members):
        yield Link(previous.number, member.number, "steps")
        yield Link(member.number, previous.number, "steps")
    length = 0
    for member in members if lead_in else ():
        assert lead_in is not None
        length += member.end - member.start
        yield Link(member.number, lead_in.number, "needs")
        if length <= _LONGEST_LIST:
            yield Link(lead_in.number, member.number, "announces")


def _sections(pieces: Sequence[_Piece]) -> Iterator[Link]:
    for index, heading in enumerate(pieces):
        if not heading.is_heading or heading.is_question:
            continue
        section: list[_Piece] = []
        length = 0
        for piece in pieces[index + 1 :]:
            if piece.is_heading or piece.depth < heading.depth or piece.is_row:
                break
            section.append(piece)
            length += piece.end - piece.start
            if length > LONGEST_SECTION:
                section = []
                break
        for piece in section:
            yield Link(heading.number, piece.number, "announces")


def _rows(pieces: Sequence[_Piece]) -> Iterator[Link]:
    header: _Piece | None = None
    for piece in pieces:
        if _TABLE_HEADER.match(piece.content):
            header = piece
        elif not piece.is_row:
            header = None
        elif header is not None:
            yield Link(piece.number, header.number, "needs")
