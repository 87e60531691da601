"""From a trained checkpoint to a released one: calibration, exports, figures."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from provence_rag import Provence
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.convert import write_export
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import CalibrationConfig, ReleaseConfig
from provence_training.data import write_json_lines
from provence_training.data.passages import Passage
from provence_training.evaluation import ProvenceEvaluator, load_topics
from provence_training.evaluation.calibration import Calibration, calibrate
from provence_training.run.starting_point import copy_tokenizer

__all__ = ["release"]

log = logging.getLogger(__name__)


def release(trained: Path, target: Path, dev: Sequence[Passage], config: ReleaseConfig) -> None:
    """Write the checkpoint to use.

    The development data are written beside it, a file for each source (`dev/`), and so are the figures that
    it reached on them (`evaluation/`).

    Args:
        trained: A checkpoint.
        target: Directory to write; it appears when complete.
        dev: Development data; may be empty.
        config: What to do.

    Raises:
        MissingExtraError: An export needs the extra `export` or `export-openvino`.
        InvalidInputError: No development data have marked answers to calibrate on.
    """
    files = _write_dev(dev, target.with_name("dev"))
    if not target.exists():
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _make(trained, partial, files, config)
        partial.rename(target)
        if config.calibration is None and ProvenceConfig.from_directory(target).promises:
            log.warning(
                "the promises of %s are those of the model that training started from; its new weights may "
                "keep fewer answers: set release.calibration, or run provence calibrate",
                target,
            )
    report = target.with_name("evaluation")
    if files and config.evaluate and not report.exists():
        evaluator = ProvenceEvaluator(files, limit=config.evaluate)
        evaluator(Provence.from_pretrained(target)).save(report)


def _make(trained: Path, target: Path, files: Sequence[Path], config: ReleaseConfig) -> None:
    model = ProvenceModel.from_pretrained(trained)
    model.save_pretrained(target, dtype=getattr(torch, config.precision))
    copy_tokenizer(trained, target)
    tokenizer = PairTokenizer.from_directory(trained, model.provence_config.pair_template)
    for to in config.exports:
        write_export(model, tokenizer, target, to)
    if config.calibration is not None:
        # With the exported model, if there is one: int8 gives other scores than floats.
        calibration = _calibration(Provence.from_pretrained(target), files, config.calibration)
        calibration.config.to_directory(target)
        log.info("calibrated:\n%s", calibration.to_markdown())


def _calibration(model: Provence, files: Sequence[Path], config: CalibrationConfig) -> Calibration:
    return calibrate(
        model,
        [load_topics(path, limit=config.limit) for path in files],
        keep=config.keep,
        evidence=config.evidence,
        removed_off_topic=config.removed_off_topic,
        allow_few_questions=True,  # checked before the training
    )


def _write_dev(passages: Sequence[Passage], directory: Path) -> list[Path]:
    """Write a file with answer spans for each source, and return those that have answered questions."""
    directory.mkdir(exist_ok=True)
    files = []
    for source in dict.fromkeys(p.source for p in passages):
        part = [p for p in passages if p.source == source]
        path = directory / f"{source}.jsonl"
        write_json_lines(path, map(_record, part))
        if any(q.is_answered for p in part for q in p.questions):
            files.append(path)
    return files


def _record(passage: Passage) -> dict[str, Any]:
    questions = [
        {
            "id": q.id,
            "question": q.text,
            "answers": None if q.answers is None else [s._asdict() for s in q.answers],
            "relevance": q.relevance,
        }
        for q in passage.questions
        if q.is_judged
    ]
    return {
        "id": passage.id,
        "lang": passage.language,
        "title": passage.title,
        "text": passage.text,
        "questions": questions,
    }
