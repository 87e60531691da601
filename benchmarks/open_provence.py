"""OpenProvence's `process()` against ours: the same weights, the same sentences, in turns.

python -m benchmarks.open_provence CHECKOUT DATA --peer-path DIRECTORY_WITH_TRANSFORMERS_4
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks.common import RESULTS, Add, Data, Output, Runs, data_name, run
from benchmarks.open_provence_peer import Job, OpenProvencePeer, PeerPath, PeerPython, cut
from benchmarks.report import Figure, Report
from benchmarks.timing import paired_times, ratios
from provence_rag import Provence, PrunedPassage, PruningOptions, Sentence

__all__ = ["compare"]

OURS, THEIRS, CAREFUL = "provence-rag", "OpenProvence", "OpenProvence, no gradients"


def main(
    checkout: Annotated[
        Path, typer.Argument(metavar="CHECKOUT", help="A clone of github.com/hotchpotch/open_provence.")
    ],
    data: Data,
    *,
    questions: Annotated[int, typer.Option(min=1, help="Questions of a run.")] = 1,
    documents: Annotated[int, typer.Option(min=2, help="Documents of each question.")] = 20,
    runs: Runs = 5,
    peer_python: PeerPython = None,
    peer_path: PeerPath = None,
    add: Add = False,
    output: Output = RESULTS,
) -> None:
    """Rerank and prune with OpenProvence's code and with ours, on a ModernBERT of the size of its xsmall."""
    from benchmarks.random_checkpoint import XSMALL, write_random_checkpoint
    from provence_training.evaluation import load_topics

    topics = load_topics(data, distractors=documents - 1, limit=questions).topics
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name)
        write_random_checkpoint(weights, **XSMALL)
        model = Provence.from_pretrained(weights, backend="torch", device="cpu", dtype="float32")
        with OpenProvencePeer(checkout, weights, python=peer_python, path=peer_path) as peer:
            report = compare(model, peer, [(t.query, t.documents) for t in topics], runs=runs)
    replace(report, name=f"{report.name}-{data_name(data)}").save(output, add=add)


def compare(
    model: Provence, peer: OpenProvencePeer, queries: Sequence[tuple[str, Sequence[str]]], *, runs: int
) -> Report:
    """Time both and compare what they found.

    Args:
        model: Ours.
        peer: Theirs, with the same weights.
        queries: Questions, each with its documents.
        runs: How often each is timed.
    """

    def ours(options: PruningOptions | None) -> list[list[PrunedPassage]]:
        return [model.process(query, documents, options=options) for query, documents in queries]

    first = ours(None)
    jobs: list[Job] = [
        (query, [cut(p.document, [s.start for s in p.sentences]) for p in passages])
        for (query, _), passages in zip(queries, first, strict=True)
    ]
    # Random weights know no threshold of their own: the middle one makes both keep some and drop some.
    threshold = _between([_probability(s) for passages in first for p in passages for s in p.sentences])
    options = PruningOptions(threshold=threshold)
    found: dict[str, Any] = {}
    systems: dict[str, Callable[[], object]] = {
        OURS: lambda: found.update({OURS: ours(options)}),
        THEIRS: lambda: found.update({THEIRS: peer.process(jobs, threshold=threshold)}),
        CAREFUL: lambda: peer.process(jobs, threshold=threshold, gradients=False),
    }
    times = paired_times(systems, runs=runs)
    texts = [p for passages in first for p in passages]
    return Report(
        name="open-provence",
        description=_description(peer, len(queries), texts),
        figures=[
            *(Figure(name, values, "s") for name, values in times.items()),
            Figure(f"{THEIRS} / {OURS}", ratios(times[THEIRS], times[OURS]), at_least=2),
            Figure(f"{CAREFUL} / {OURS}", ratios(times[CAREFUL], times[OURS])),
            *_agreement(found[OURS], found[THEIRS], jobs),
        ],
    )


def _between(values: Sequence[float]) -> float:
    """Half-way between the two in the middle. Of an odd number the first is left out: no value is hit."""
    return median(sorted(values)[len(values) % 2 :])


def _probability(sentence: Sentence) -> float:
    assert sentence.score is not None, "a joint model scores every sentence"
    return sentence.score


def _agreement(
    ours: Sequence[Sequence[PrunedPassage]], theirs: Sequence[dict[str, Any]], jobs: Sequence[Job]
) -> list[Figure]:
    """How many sentences both decide alike, and how far probabilities and scores are apart."""
    total = kept = other = 0
    probabilities, scores = [0.0], [0.0]
    for passages, found, (_, documents) in zip(ours, theirs, jobs, strict=True):
        columns = found["scores"], found["kept"], found["probabilities"]
        for passage, parts, score, own, keep in zip(passages, documents, *columns, strict=True):
            mine = [part for part, s in zip(parts, passage.sentences, strict=True) if s.kept]
            total, kept = total + len(parts), kept + len(mine)
            other += 0 if mine == own else _different(mine, own)
            scores.append(abs(passage.score - score))
            probabilities += [abs(_probability(s) - p) for s, p in zip(passage.sentences, keep, strict=True)]
    return [
        Figure("sentences", [total]),
        Figure("sentences kept", [kept]),
        Figure("sentences that only one of them keeps", [other], at_most=0),
        Figure("largest difference of a keep probability", [max(probabilities)]),
        Figure("largest difference of a score", [max(scores)]),
    ]


def _different(mine: Sequence[str], own: Sequence[str]) -> int:
    """At least one: sentences may be the same text at another place."""
    return max(1, len(set(mine) ^ set(own)))


def _description(peer: OpenProvencePeer, queries: int, passages: Sequence[PrunedPassage]) -> str:
    lengths = sorted(p.num_tokens for p in passages)
    versions = ", ".join(f"{name} {number}" for name, number in peer.versions.items())
    return (
        f"Seconds to rerank and prune {len(passages)} documents (questions: {queries}), with "
        f"a ModernBERT of {peer.parameters / 1e6:.1f} million random weights (the size of "
        f"open-provence-reranker-xsmall-v1), float32 on a CPU. Documents have {lengths[0]} to {lengths[-1]} "
        f"tokens, {median(lengths):.0f} in the middle. OpenProvence's own `process()` runs with its defaults "
        f"in a process of its own ({versions}) and gets the sentences without splitting; ours splits them in "
        "the time that is measured. Its `process()` records gradients; the third line is what it takes when "
        "the caller switches them off (`torch.inference_mode()`)."
    )


if __name__ == "__main__":
    run(main)
