"""provence-rag beside what else prunes or reranks: speed, memory, and answers kept against text removed.

python -m benchmarks.compare passages.jsonl.gz --embedding DIRECTORY
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common import RESULTS, Add, Data, Output, Runs, data_name, run
from benchmarks.open_provence_peer import PeerPath, PeerPython
from benchmarks.peers import SYSTEMS, kept_sentences, speed
from benchmarks.processes import in_fresh_process
from benchmarks.report import Figure, Report
from benchmarks.systems import Kept, Options, Question, sentences
from provence_training.evaluation import JudgedSentences, Scored, Topic, load_topics

__all__ = ["main"]

_DESCRIPTION = "{questions} questions of {data}, each with its passage and {distractors} that BM25 finds."
_SPEED = """
Speed: each system in a fresh process and its first setting; throughput of one question after the other,
latency of one question with {long} passages (median of {repeats} calls), memory at its peak, with imports and
weights. BM25's memory has torch in it, which our evaluation imports."""

_LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_PLOTTED = 0.8
_EQUAL = "Answers kept, at the share of characters removed from all passages"
_LONG, _REPEATS = 20, 3


def _half(value: str) -> str:
    if value not in ("speed", "quality"):
        raise typer.BadParameter(f"must be speed or quality, got {value!r}")
    return value


def main(
    data: Data,
    *,
    embedding: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A bi-encoder, for LlamaIndex's and LangChain's filters."),
    ] = None,
    query_prefix: Annotated[str, typer.Option(help="What it expects in front of a question.")] = "",
    passage_prefix: Annotated[str, typer.Option(help="The same, of a passage or sentence.")] = "",
    open_provence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A clone of github.com/hotchpotch/open_provence.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Its checkpoint.")] = None,
    peer_python: PeerPython = None,
    peer_path: PeerPath = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions that quality is measured on.")] = 100,
    timed: Annotated[int, typer.Option(min=1, help="How many of them throughput is measured on.")] = 10,
    distractors: Annotated[int, typer.Option(min=1, help="BM25 passages a question.")] = 9,
    runs: Runs = 3,
    only: Annotated[
        str | None,
        typer.Option(
            parser=_half, metavar="speed|quality", help="Measure one half; the other stays what it is in DIR."
        ),
    ] = None,
    add: Add = False,
    output: Output = RESULTS,
) -> None:
    """Compare with CrossEncoder, OpenProvence, LlamaIndex's and LangChain's filters and BM25."""
    options = Options(
        embedding=_text(embedding),
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        open_provence=_text(open_provence),
        weights=_text(weights),
        peer_python=_text(peer_python),
        peer_path=_text(peer_path),
    )
    absent = {name: lacking for name, system in SYSTEMS.items() if (lacking := system.missing(options))}
    present = [name for name in SYSTEMS if name not in absent]
    topics = load_topics(data, distractors=distractors, limit=questions).topics
    # Another embedding is another filter, so its figures stand beside those of the first.
    name = "-".join(["compare", data_name(data), *([embedding.name] if embedding else [])])
    earlier = _earlier(output / f"{name}.json")
    if only == "quality":
        figures = [Figure(figure["what"], figure["values"], figure["unit"]) for figure in earlier["figures"]]
    else:
        [long] = load_topics(data, distractors=_LONG - 1, limit=1).topics
        figures = _speed(present, options, topics[:timed], long, runs)
    tables = earlier["tables"] if only == "speed" else _quality(present, options, topics)
    description = _DESCRIPTION.format(questions=len(topics), data=data_name(data), distractors=distractors)
    if figures:
        description += _SPEED.format(long=_LONG, repeats=_REPEATS)
    if absent:
        left_out = "; ".join(f"{system} (no {', '.join(lacking)})" for system, lacking in absent.items())
        description += f" Left out: {left_out}."
    Report(name=name, description=description, figures=figures, tables=tables).save(
        output, add=add and only != "quality"
    )
    if figures and tables:
        _plot(output / f"{name}.json", output / f"{name}.svg")


def _earlier(path: Path) -> dict[str, Any]:
    """What was measured before, if anything was."""
    if not path.is_file():
        return {"figures": [], "tables": {}}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _text(path: Path | None) -> str | None:
    """A path for processes that start in another folder."""
    return None if path is None else str(path.absolute())


def _fields(topic: Topic) -> tuple[str, str, Sequence[str]]:
    """Those of a `Question`."""
    return topic.query, topic.language, topic.documents


def _speed(
    names: Sequence[str], options: Options, topics: Sequence[Topic], long: Topic, runs: int
) -> list[Figure]:
    """In turns, so that what slows the machine down meanwhile meets all of them."""
    arguments = asdict(options), [_fields(topic) for topic in topics], _fields(long), _REPEATS
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            found[name].append(in_fresh_process(speed, name, *arguments)[0])
    kinds = {
        "throughput": ("passages_per_second", "passages/s", 1.0),
        f"latency of {_LONG} passages": ("seconds", "ms", 1e3),
        "peak memory": ("bytes", "MiB", 2**-20),
    }
    return [
        Figure(f"{kind}, {name}", [run[key] * factor for run in own], unit)
        for kind, (key, unit, factor) in kinds.items()
        for name, own in found.items()
    ]


def _quality(
    names: Sequence[str], options: Options, topics: Sequence[Topic]
) -> dict[str, list[dict[str, Any]]]:
    """Each system in each setting, and all of them read off where as much is removed."""
    arguments = asdict(options) | {"remember": True}, [_fields(topic) for topic in topics]
    spans = [sentences(Question(*_fields(topic))) for topic in topics]
    # The scores do not count: what is kept is known.
    judged = JudgedSentences(
        topics,
        [
            Scored(
                relevance=None, sentences=tuple(map(tuple, own)), keep=tuple(np.zeros(len(s)) for s in own)
            )
            for own in spans
        ],
    )
    settings = []
    for name in names:
        if len(SYSTEMS[name].settings) == 1:
            continue  # it only ranks
        for setting, kept in in_fresh_process(kept_sentences, name, *arguments)[0].items():
            settings.append({"system": name, "setting": setting, **_figures(judged, kept)})
    return {
        "Answers kept, in each setting": settings,
        _EQUAL: _at_equal_removal(settings),
    }


def _at_equal_removal(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each curve read off where as much is removed: between two settings, or the first and none at all."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(lambda: [(0.0, 1.0)])
    for row in settings:
        curves[f"{row['system']}, {row['setting'].split()[0]}"].append((row["removed"], row["answers kept"]))
    rows = []
    for name, points in curves.items():
        removed, kept = zip(*sorted(points), strict=True)
        if len(points) > 2:
            levels = {
                f"{level:.0%}": float(np.interp(level, removed, kept)) if level <= removed[-1] else ""
                for level in _LEVELS
            }
            rows.append({"system": name, **levels})
    return rows


def _figures(judged: JudgedSentences, kept: Sequence[Kept]) -> dict[str, float]:
    mask = np.array([keep for passages in kept for own in passages for keep in own], dtype=bool)
    figures = judged.figures(mask)
    return {
        "answers kept": figures.answer_kept,
        "removed": 1.0 - float(judged.lengths[mask].sum() / judged.lengths.sum()),
        "removed from the answering passage": figures.removed,
        "removed from the others": figures.removed_off_topic or 0.0,
    }


def _plot(report: Path, path: Path) -> None:
    """Quality over speed: answers kept where as much is removed, over passages per second."""
    from matplotlib.figure import Figure as Picture

    found = json.loads(report.read_text(encoding="utf-8"))
    speeds = {figure["what"]: figure["median"] for figure in found["figures"]}
    rows = found["tables"][_EQUAL]
    picture = Picture(figsize=(7, 4.5), layout="constrained")
    axes = picture.subplots()
    for row in rows:
        system = row["system"].rpartition(", ")[0]
        kept, passages = row[f"{_PLOTTED:.0%}"], speeds.get(f"throughput, {system}")
        if kept != "" and passages is not None:
            axes.plot(passages, kept, marker="o", linestyle="none", label=row["system"])
    axes.set(
        title=found["name"],
        xlabel="passages per second",
        ylabel=f"answers kept with {_PLOTTED:.0%} of the text removed",
        xscale="log",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    picture.savefig(path)


if __name__ == "__main__":
    run(main)
