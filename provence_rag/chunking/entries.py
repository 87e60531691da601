"""Lines that are entries of their own: logs, rows, fields, turns of a dialogue."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

__all__ = ["entry_lines", "turn_borders"]

# A date, a time, an address, a level, or a place in a file at the start of a line.
_LOG = re.compile(
    r"[ \t]*(?:[\[(<]?(?:"
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?!\w*[.-])|\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?\b(?! ?[ap]\.?m)|"
    r"\d{1,2}[-/](?:\d{1,2}|[A-Z][a-z]{2})[-/]\d{2,4}|"
    r"(?:[A-Z][a-z]{2},? )?[A-Z][a-z]{2} +\d{1,2},? \d{2}:\d{2}|"
    r"\d{1,3}(?:\.\d{1,3}){3}\b|\d{10,13}(?:\.\d+)?\b|"
    r"(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|SEVERE|FATAL|CRITICAL)\b(?=[\]:\s|]))"
    r"|(?:[\w./\\-]+\.\w{1,5}|<\w+>)[:(]\d+(?:[:,]\d+)?\)?:|(?:error|warning|note)(?:\[\w+\])?: |"
    r"File \"[^\"]+\", line \d+|at [\w.$<>]+\([^()]*\)|--> )"
)
_FIELD = re.compile(
    r"[ \t]*(?:-[ \t]+|>{1,2}[ \t]*)?[*_]{0,2}"
    r"(?!(?:if|else|elif|for|while|try|except|finally|with|def|class|case|default)\b)"
    r"([\"']?(?:[^\W\d_]|\d+[A-Za-z])[\w ./&’'-]{0,30}?[\"']?)[ \t]*(?:[:：](?=[\s*_]|$)|[ \t]=[ \t]|=(?=\S))"
)
_EAST_ASIAN_FIELD = re.compile(r"[ \t\u3000]*([^\s：:。、「」（）]{1,12})(?:：|[:.．](?=\s))")
_COLON = re.compile(r"[:：=.．]")
_LONGEST_NAME = 50
_FIELD_SHARE = 0.5
_DELIMITERS = re.compile(r"[,;|](?=\S)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")

_FEWEST_ROWS, _FEWEST_COMMAS = 3, 2

_INLINE_TURN = re.compile(r"(?<!\S)([A-Z][\w.'’-]{0,20}(?: [A-Z][\w.'’-]{0,20})?):(?=[ \t]+\S)")
_FIRST_TURN = re.compile(rf"\s*{_INLINE_TURN.pattern}")


def entry_lines(lines: Sequence[str]) -> list[bool]:
    """Return, for each line of a paragraph, whether it is an entry: nothing runs into it from above.

    Lines that begin like those of a log or of a compiler's messages are entries wherever they are. A row
    needs another one with as many delimiters above or below. Fields ("key: value") and turns ("Ana: Hello.")
    need another one with the same name, or make up half of the lines.
    """
    found = [line[0].isascii() and _LOG.match(line) is not None for line in lines]
    if len(lines) < 2:
        return found
    for number, is_row in enumerate(_rows(lines)):
        found[number] = found[number] or is_row
    names = [_name(line) if _COLON.search(line, 0, _LONGEST_NAME) else None for line in lines]
    counts = Counter(name for name in names if name)
    n_named = sum(counts.values())
    if n_named >= 2 and (n_named >= _FIELD_SHARE * len(lines) or max(counts.values()) > 1):
        found = [entry or name is not None for entry, name in zip(found, names, strict=True)]
    return found


def _name(line: str) -> str | None:
    match = _FIELD.match(line) or (None if line.isascii() else _EAST_ASIAN_FIELD.match(line))
    return match.group(1) if match else None


def _rows(lines: Sequence[str]) -> list[bool]:
    delimiters = [_delimiters(line) for line in lines]
    found = [False] * len(lines)
    for number in range(1, len(lines)):
        if delimiters[number] and delimiters[number] == delimiters[number - 1]:
            found[number - 1] = found[number] = True
    return found if any(found) or not _has_columns(lines) else [True] * len(lines)


def _delimiters(line: str) -> list[str]:
    if "," in line and ("、" in line or "。" in line):  # prose: no row of numbers
        line = _THOUSANDS.sub("", line)
    delimiters = _DELIMITERS.findall(line)
    if "\t" in line:
        delimiters += ["\t"] * line.strip().count("\t")
    delimiters.sort()
    return delimiters


def _has_columns(lines: Sequence[str]) -> bool:
    """Whether every line has as many commas, with a space after each: prose has not, three lines long."""
    commas = {line.count(",") for line in lines}
    if len(commas) > 1 or len(lines) < _FEWEST_ROWS or any(line.rstrip()[-1] in ".,;:" for line in lines):
        return False
    return min(commas) >= _FEWEST_COMMAS


def turn_borders(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where the turns of a dialogue in running text begin.

    There is one where the text begins with a name and a colon, and a name comes twice.
    """
    if text.count(": ", start, end) < 2 or _FIRST_TURN.match(text, start, end) is None:
        return
    turns = list(_INLINE_TURN.finditer(text, start, end))
    if len(turns) < 2:
        return
    counts = Counter(turn.group(1) for turn in turns)
    if max(counts.values()) > 1:
        yield from (turn.start() for turn in turns[1:])
