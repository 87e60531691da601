"""How provence_rag/models/mini was trained. Resumable: each step keeps its result in the work directory.

    python training/recipes/mini.py --data DATA --encoder ENCODER --work WORK --release MODEL

DATA holds `train/*.jsonl.gz` and `dev/*.jsonl.gz` with answer spans; ENCODER is multilingual-e5-small, or a
cut of it with fewer vocabulary pieces.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import TrainingArguments, set_seed

from provence_rag import Provence
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.export import export_onnx, quantize_onnx
from provence_rag.modeling.model import ProvenceModel
from provence_training.calibration import calibrate
from provence_training.collator import Example, ProvenceCollator
from provence_training.data import Passage, cut_window, load_passages, make_example
from provence_training.evaluation import ProvenceEvaluator, load_topics
from provence_training.loss import ProvenceLoss
from provence_training.negatives import BM25Neighbours
from provence_training.sampling import Mixture, PairSampler
from provence_training.shrink import select_pieces, shrink_encoder
from provence_training.teacher import BiEncoderTeacher, TeacherCache
from provence_training.trainer import ProvenceTrainer

VOCABULARY = 32_000
LAYERS = range(6)
WARM_UP_PAIRS = 3_200
PAIRS = 20_000
TEACHER_PAIRS = 3_000
TEACHER_PASSAGES = 2_560
MIXTURE = Mixture(
    weights={
        "jaquad": 32,
        "squadshifts_new_wiki": 15,
        "qed": 10,
        "selqa": 10,
        "boolq": 7,
        "squadshifts_amazon_reviews": 6,
        "squadshifts_reddit": 6,
        "multispanqa": 5,
        "bioasq": 5,
        "policyqa": 4,
    },
    window={"en": (150, 700), "ja": (80, 320)},
    leaning=frozenset({"squadshifts_amazon_reviews", "squadshifts_reddit", "policyqa"}),
)
log = logging.getLogger("mini")


def shrink(encoder: Path, passages: list[Passage], target: Path) -> None:
    """Cut vocabulary and layers."""
    if not (target / "model.safetensors").exists():
        tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
        corpus = [p.text for p in passages] + [q.text for p in passages for q in p.questions]
        pieces = select_pieces(tokenizer, corpus, VOCABULARY)
        shrink_encoder(encoder, target, pieces=pieces, layers=list(LAYERS))


def embed(encoder: Path, passages: list[Passage], target: Path, size: int = 256) -> None:
    """Let the teacher read a random part of the passages."""
    target.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(0).sample(passages, TEACHER_PASSAGES)
    teacher: BiEncoderTeacher | None = None
    for start in range(0, len(drawn), size):
        path = target / f"{start // size:04d}.npz"
        if not path.exists():
            teacher = teacher or BiEncoderTeacher(encoder)
            teacher.embed(drawn[start : start + size], path)


def teacher_examples(passages: list[Passage], cache: TeacherCache, count: int) -> list[Example]:
    """Pairs with the teacher's similarities, scaled so that right and random pairs give logits +3 and -4."""
    rng = random.Random(1)
    by_id = {p.id: p for p in passages if p.id in cache and p.sentences}
    pools = {lang: [p for p in by_id.values() if p.language == lang] for lang in ("en", "ja")}
    questions = [(p, q) for p in by_id.values() for q in p.questions if (p.id, q.id) in cache.questions]
    rows = []
    for own, question in rng.choices(questions, k=count):
        draw = rng.random()
        passage = own if draw < 0.5 else rng.choice(pools[own.language])
        low, high = MIXTURE.window[own.language]
        window = cut_window(passage, [0] * len(passage.sentences), rng.randint(low, high), rng)
        spans = [passage.sentences[i] for i in window]
        whole, each = cache.similarities((own.id, question.id), passage.id, spans)
        if np.isnan(whole):  # behind the teacher's window
            continue
        example = make_example(question.text, passage, window, label=None, pruning_labels=None)
        rows.append((passage is own, example, whole, each))
    right = [
        float(np.mean([w for own, _, w, _ in rows if own])),
        float(np.nanmean([max(e) for own, _, _, e in rows if own])),
    ]
    wrong = [
        float(np.mean([w for own, _, w, _ in rows if not own])),
        float(np.nanmean([x for own, *_, e in rows if not own for x in e])),
    ]
    log.info("teacher: right %s, wrong %s", right, wrong)
    return [
        replace(
            example,
            teacher_score=_scale(whole, right[0], wrong[0], 3.0),
            sentence_teacher_scores=[_scale(x, right[1], wrong[1], 1.0) for x in each],
        )
        for _, example, whole, each in rows
    ]


def _scale(x: float, right: float, wrong: float, top: float) -> float:
    return -4.0 + (top + 4.0) * (x - wrong) / (right - wrong)


def labelled_examples(passages: list[Passage], tokenizer: PairTokenizer, count: int) -> list[Example]:
    """Positives, BM25 neighbours and random passages."""
    sampler = PairSampler(passages, MIXTURE, seed=2)
    drawn = sampler.questions(count)
    examples: list[Example] = []
    for language in ("en", "ja"):
        corpus = [p for p in passages if p.language == language]
        part = [(p, q) for p, q in drawn if p.language == language]
        found = BM25Neighbours(corpus, tokenizer).search([q.text for _, q in part], k=20)
        examples += [
            sampler.example(p, q, [corpus[i] for i in row]) for (p, q), row in zip(part, found, strict=True)
        ]
    random.Random(3).shuffle(examples)
    return examples


def train(
    model: ProvenceModel,
    collator: ProvenceCollator,
    examples: list[Example],
    loss: ProvenceLoss,
    target: Path,
    **kw: float,
) -> None:
    """One stage; picks up its own last checkpoint."""
    args = TrainingArguments(
        output_dir=str(target),
        per_device_train_batch_size=32,
        num_train_epochs=1,
        warmup_steps=0.1,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        max_grad_norm=1.0,
        logging_steps=20,
        save_steps=100,
        save_total_limit=1,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=kw["learning_rate"],
        seed=5,
    )
    trainer = ProvenceTrainer(
        model,
        args,
        loss=loss,
        collator=collator,
        examples=examples,
        head_learning_rate=kw["head_learning_rate"],
    )
    trainer.train(resume_from_checkpoint=any(target.glob("checkpoint-*")))


def release(trained: Path, dev: Path, target: Path) -> None:
    """Calibrate per language, export, and measure what is released."""
    model = ProvenceModel.from_pretrained(trained)
    tokenizer = PairTokenizer.from_directory(trained)
    target.mkdir(parents=True, exist_ok=True)
    tokenizer.save(target)
    with tempfile.TemporaryDirectory() as directory:
        export_onnx(model, Path(directory) / "model.onnx")
        quantize_onnx(Path(directory) / "model.onnx", target / "onnx" / "model_int8.onnx")
    model.save_pretrained(target, dtype=torch.float16)
    tuned = [load_topics(dev / f"{name}.jsonl.gz", limit=400) for name in ("qed", "jaquad")]
    calibration = calibrate(Provence.from_pretrained(target), tuned, keep=0.9, removed_off_topic=0.85)
    log.info("calibrated: %s", calibration)
    calibration.config.to_directory(target)
    files = [dev / f"{name}.jsonl.gz" for name in ("qed", "selqa", "jaquad", "rerank_dl21")]
    report = ProvenceEvaluator(files, limit=400)(Provence.from_pretrained(target))
    (target / "figures.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")


def main() -> None:
    """Run all steps that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "encoder", "work", "release"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    set_seed(0)
    torch.set_num_threads(2)

    passages = [p for path in sorted((args.data / "train").glob("*.jsonl.gz")) for p in load_passages(path)]
    log.info("%d passages", len(passages))
    base = args.work / "encoder"
    shrink(args.encoder, passages, base)
    embed(args.encoder, passages, args.work / "teacher")
    tokenizer = PairTokenizer.from_directory(base)
    config = ProvenceConfig(languages=("en", "ja"))
    model = ProvenceModel.from_encoder(
        str(base), config, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0
    )
    collator = ProvenceCollator(
        tokenizer,
        max_length=config.max_length,
        pad_token_id=model.transformer.config.pad_token_id,
        uses_token_types=False,
    )
    warm = args.work / "warm"
    if not (warm / "model.safetensors").exists():
        examples = teacher_examples(passages, TeacherCache(args.work / "teacher"), WARM_UP_PAIRS)
        # The ranking head learns later than the sentences do: at full weight its errors would drown theirs.
        loss = ProvenceLoss(ranking_weight=0.1, pruning_weight=1.0)
        train(
            model,
            collator,
            examples,
            loss,
            args.work / "run-warm",
            learning_rate=2e-4,
            head_learning_rate=1e-3,
        )
        model.save_pretrained(warm)
    model = ProvenceModel.from_pretrained(warm)
    examples = labelled_examples(passages, tokenizer, PAIRS)
    examples += teacher_examples(passages, TeacherCache(args.work / "teacher"), TEACHER_PAIRS)
    loss = ProvenceLoss(pruning_weight=2.0, teacher_weight=0.1)
    train(model, collator, examples, loss, args.work / "run", learning_rate=1.5e-4, head_learning_rate=5e-4)
    model.save_pretrained(args.work / "model")
    tokenizer.save(args.work / "model")
    release(args.work / "model", args.data / "dev", args.release)


if __name__ == "__main__":
    main()
