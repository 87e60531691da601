"""Questions and answers as structured data that parsers can read, such as JSON, CSV, YAML and XML."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal
from xml.sax.saxutils import escape

from provence_training.augmentation.page import Page
from provence_training.augmentation.pool import Item, Pool
from provence_training.augmentation.wordings import keywords

__all__ = ["FORMATS", "records"]

_FIELDS = {
    "en": (
        ("question", "answer"),
        ("topic", "value"),
        ("name", "description"),
        ("key", "value"),
        ("item", "detail"),
    ),
    "ja": (("質問", "回答"), ("項目", "内容"), ("名称", "説明"), ("key", "value")),
}

Fields = tuple[str, str]
"""Names of the two fields, or their values."""


@dataclass(frozen=True, kw_only=True)
class _Serialized:
    """A document of records: `head`, the records with `separator` between them, `tail`."""

    records: Sequence[str]
    head: str = ""
    separator: str = "\n"
    tail: str = ""


def records(pool: Pool, rng: Random) -> Page | None:
    """One record for each question, in a random format; the answer is the whole record."""
    if not (entries := pool.entries(rng)):
        return None
    rows = [(entry.printed, _value(entry.item, rng)) for entry in entries]
    name = rng.choice(list(FORMATS))
    if name == "key-value":
        rows = [(keywords(question, pool.language), value) for question, value in rows]
    serialized = FORMATS[name](rng.choice(_FIELDS[pool.language]), rows, rng)
    page = Page()
    page.write(serialized.head)
    for number, (entry, record) in enumerate(zip(entries, serialized.records, strict=True)):
        if number:
            page.write(serialized.separator)
        start = page.end + len(record) - len(record.lstrip())
        page.write(record)
        page.ask(entry.query, [(start, page.end)], reworded=entry.reworded)
    page.write(serialized.tail)
    return page


def _value(item: Item, rng: Random) -> str:
    return item.answer if rng.random() < 0.6 else item.sentence


def _json(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    objects = [f"  {_json_object(dict(zip(fields, row, strict=True)))}" for row in rows]
    return _Serialized(records=objects, head="[\n", separator=",\n", tail="\n]")


def _json_lines(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    numbered = enumerate(rows, 1)
    return _Serialized(
        records=[_json_object({"id": n, **dict(zip(fields, row, strict=True))}) for n, row in numbered]
    )


def _json_object(value: dict[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _csv(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    quotes_all = rng.random() < 0.5
    table: list[Sequence[str]] = [fields, *rows]
    if rng.random() < 0.5:
        table = [("id", *fields), *((str(number), *row) for number, row in enumerate(rows, 1))]
    head, *lines = [_delimited(row, ",", quotes_all=quotes_all) for row in table]
    return _Serialized(records=lines, head=f"{head}\n")


def _tsv(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    head, *lines = [_delimited(row, "\t", quotes_all=False) for row in (fields, *rows)]
    return _Serialized(records=lines, head=f"{head}\n")


def _delimited(values: Sequence[str], delimiter: str, *, quotes_all: bool) -> str:
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quotes_all else csv.QUOTE_MINIMAL
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, quoting=quoting, lineterminator="").writerow(values)
    return line.getvalue()


def _markdown(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    lines = [[text.replace("|", r"\|") for text in row] for row in rows]
    return _Serialized(
        records=[f"| {' | '.join(line)} |" for line in lines],
        head=f"| {' | '.join(fields)} |\n| --- | --- |\n",
    )


def _yaml(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    import yaml

    def dump(row: Fields) -> str:
        entry = [dict(zip(fields, row, strict=True))]
        text: str = yaml.safe_dump(entry, allow_unicode=True, sort_keys=False, width=10**9)
        return text.rstrip("\n")

    return _Serialized(records=[dump(row) for row in rows])


def _key_value(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    return _Serialized(records=[f"{key.rstrip('?？')}: {value}" for key, value in rows])


def _html(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    cells = [f"<tr>{''.join(f'<td>{html.escape(t, quote=False)}</td>' for t in row)}</tr>" for row in rows]
    return _Serialized(records=cells, head="<table>\n", tail="\n</table>")


def _xml(fields: Fields, rows: Sequence[Fields], rng: Random) -> _Serialized:
    def element(row: Fields) -> str:
        return "".join(f"<{name}>{escape(text)}</{name}>" for name, text in zip(fields, row, strict=True))

    entries = [f"  <entry>{element(row)}</entry>" for row in rows]
    return _Serialized(records=entries, head="<entries>\n", tail="\n</entries>")


FORMATS: dict[str, Callable[[Fields, Sequence[Fields], Random], _Serialized]] = {
    "json": _json,
    "jsonl": _json_lines,
    "csv": _csv,
    "tsv": _tsv,
    "markdown": _markdown,
    "yaml": _yaml,
    "key-value": _key_value,
    "html": _html,
    "xml": _xml,
}
