"""The calls of the plan that this project implements, each as the plan wrote it, positionally too.

docs/plan.md maps the plan's names to where they live.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from provence_rag import (
    BaseChunker,
    CheckpointError,
    EnglishChunker,
    JapaneseChunker,
    MultilingualChunker,
    Provence,
    ProvenceOutput,
)
from provence_rag.testing import fake_provence
from sentence_transformers_provence import (
    CrossEncoder,
    ProvenceCrossEncoderDataCollator,
    ProvenceEvaluator,
    ProvenceLoss,
    PruningCrossEncoder,
)

MODEL = fake_provence()
QUERY = "Where do penguins live?"
DOCUMENT = "Penguins live on ice. They eat fish. The weather is fine."
OTHER = "The market fell today. Penguins were not asked."


def call(function: Any) -> dict[str, Any]:
    """The names and defaults of what a function takes."""
    found = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in found if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"}


# --- inference ----------------------------------------------------------------------------------------------


def test_predict_with_pruning() -> None:
    assert call(Provence.predict_with_pruning) == {
        "queries": inspect.Parameter.empty,
        "documents": inspect.Parameter.empty,
        "batch_size": 32,
        "show_progress_bar": False,
        "pruning_mode": "dynamic",
        "pruning_threshold": 0.5,
        "pruning_ratio": None,
        "min_sentences": 1,
        "return_documents": False,
    }
    queries, documents = [QUERY, "What fell?"], [DOCUMENT, OTHER]
    output = MODEL.predict_with_pruning(queries, documents)
    assert output == MODEL.predict_with_pruning(queries, documents, 32, False, "dynamic", 0.5, None, 1, False)
    assert output.pruned_documents is None
    with_threshold = MODEL.predict_with_pruning(queries, documents, 32, False, "threshold", 0.3, 0.9, 1, True)
    assert with_threshold.pruned_documents == ["Penguins live on ice.", "The market fell today."]
    with_ratio = MODEL.predict_with_pruning(queries, documents, 32, False, "ratio", 0.3, 0.4, 1, True)
    assert with_ratio.pruned_documents == [
        "Penguins live on ice. They eat fish.",
        "The market fell today. Penguins were not asked.",
    ]


def test_a_value_that_the_mode_does_not_use_is_ignored() -> None:
    plain = MODEL.predict_with_pruning([QUERY], [DOCUMENT])
    assert MODEL.predict_with_pruning([QUERY], [DOCUMENT], pruning_threshold=1.0, pruning_ratio=1.0) == plain


def test_other_arguments_reach_the_chunker() -> None:
    text = "「寒い。暗い。」と言った。"
    for language, whole in (("ja", True), ("en", False)):
        output = MODEL.predict_with_pruning([QUERY], [text], language=language)
        assert (output.sentences == [[text]]) is whole
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        MODEL.predict_with_pruning([QUERY], [DOCUMENT], colour="red")


def test_the_output() -> None:
    output = MODEL.predict_with_pruning([QUERY, QUERY], [DOCUMENT, OTHER], return_documents=True)
    assert isinstance(output, ProvenceOutput)
    names = {
        "ranking_scores",
        "ranking_logits",
        "pruning_masks",
        "pruning_probs",
        "pruning_logits",
        "sentences",
        "sentence_boundaries",
        "original_positions",
        "compression_ratio",
        "num_pruned_sentences",
        "pruned_documents",
    }
    values = output.to_dict()
    assert names <= values.keys()
    assert json.loads(json.dumps(values)) == values
    assert type(output.compression_ratio) is float
    assert type(output.num_pruned_sentences) is int
    assert output.num_pruned_sentences == 3
    assert all(logit is not None for logit in output.ranking_logits)
    assert [len(row) for row in output.pruning_logits] == [3, 2]


def test_prune() -> None:
    assert MODEL.prune(QUERY, DOCUMENT, 0.5, 1, False) == "Penguins live on ice."
    assert MODEL.prune(QUERY, DOCUMENT, threshold=0.5, min_sentences=1) == "Penguins live on ice."
    text, scores = MODEL.prune(QUERY, DOCUMENT, 0.5, 1, True)
    assert (text, len(scores)) == ("Penguins live on ice.", 3)
    assert MODEL.prune("zebras", DOCUMENT) == "Penguins live on ice."  # at least one sentence
    assert list(call(Provence.prune)) == ["query", "document", "threshold", "min_sentences", "return_scores"]


def test_predict_and_rank() -> None:
    assert MODEL.predict([(QUERY, DOCUMENT), (QUERY, OTHER)]).shape == (2,)
    (best,) = MODEL.rank(QUERY, [OTHER, DOCUMENT], 1, True)
    assert (best["corpus_id"], best["text"]) == (1, DOCUMENT)


def test_documents_that_are_split_already() -> None:
    (passage,) = MODEL.process(QUERY, [["Penguins live on ice.", "They eat fish."]], separator="\n")
    assert passage.document == "Penguins live on ice.\nThey eat fish."
    assert [(s.text, s.start, s.end) for s in passage.sentences] == [
        ("Penguins live on ice.", 0, 21),
        ("They eat fish.", 22, 36),
    ]


# --- chunkers -----------------------------------------------------------------------------------------------


class Lines(BaseChunker):
    def chunk(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        return [(match[0], match.span()) for match in re.finditer(r"[^\n]+", text)]


def test_a_chunker_of_your_own(checkpoint: Path) -> None:
    model = Provence.from_pretrained(checkpoint, backend="onnx", chunker=Lines())
    (passage,) = model.process(QUERY, ["A fox. A dog.\nA cat."])
    assert [s.text for s in passage.sentences] == ["A fox. A dog.", "A cat."]


def test_the_chunkers() -> None:
    assert EnglishChunker().chunk("One. Two.") == [("One.", (0, 4)), ("Two.", (5, 9))]
    assert JapaneseChunker().chunk("一。二。") == [("一。", (0, 2)), ("二。", (2, 4))]
    chunker = MultilingualChunker()
    assert chunker.chunk_text("One. Two.", "auto", None, None) == EnglishChunker().chunk("One. Two.")


# --- sentence-transformers ----------------------------------------------------------------------------------

RECORDS: list[dict[str, Any]] = [
    {
        "query": "Who sat on the mat?",
        "document": "The old cat sat on the mat. Rain is cold. A red house.",
        "label": 1.0,
        "pruning_labels": [1, 0, 0],
        "teacher_score": 3.0,
    },
    {
        "query": "Who sat on the mat?",
        "document": "Tea is hot. What is tea?",
        "label": 0.0,
        "pruning_labels": [0, 0],
        "sentences": ["Tea is hot.", "What is tea?"],
        "teacher_score": -3.0,
    },
    {
        "query": "What is hot?",
        "document": "A red house. Tea is hot. The dog.",
        "label": 1.0,
        "pruning_labels": [0, 1, 0],
        "teacher_score": 2.0,
    },
    {
        "query": "What is hot?",
        "document": "The old cat sat. Rain is cold.",
        "label": 0.0,
        "pruning_labels": [0, 0],
        "teacher_score": -2.0,
    },
]


def with_new_head(tiny_reranker: str) -> CrossEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return CrossEncoder(
            tiny_reranker,
            enable_pruning=True,
            pruning_mode="sentence",
            pruning_head_config={"hidden_size": 32, "num_labels": 2, "dropout": 0.1},
            device="cpu",
        )


def test_a_new_head_on_any_cross_encoder(tiny_reranker: str, tmp_path: Path) -> None:
    assert CrossEncoder is PruningCrossEncoder
    pairs = [(QUERY, DOCUMENT), (QUERY, "The cat.")]
    plain = CrossEncoder(tiny_reranker, device="cpu")
    with pytest.raises(CheckpointError, match=r"only ranks: .* enable_pruning=True$"):
        plain.prune(QUERY, DOCUMENT)
    model = with_new_head(tiny_reranker)
    scores = model.predict(inputs=pairs, convert_to_tensor=True, activation_fn=torch.nn.Identity())
    assert isinstance(scores, torch.Tensor)
    expected = plain.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scores.numpy(), expected, rtol=0, atol=1e-5)
    record = RECORDS[0]
    output = model.predict_with_pruning(
        [record["query"]], [record["document"]], 32, False, "threshold", 0.0, None, 1, True
    )
    assert output.pruned_documents == [record["document"]]
    assert model.prune(record["query"], record["document"], 1.0, 1, True)[0] in record["document"]
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = Provence.from_pretrained(tmp_path, backend="torch", device="cpu")
    assert again.config == model.provence.config
    assert again.prune(record["query"], record["document"]) == model.prune(
        record["query"], record["document"]
    )


def test_the_collator(tiny_reranker: str) -> None:
    model = with_new_head(tiny_reranker)
    collate = ProvenceCrossEncoderDataCollator(model.tokenizer, None, 64, True, True)
    assert list(call(ProvenceCrossEncoderDataCollator))[1:] == [
        "chunker",
        "max_sentences",
        "sentence_level",
        "include_positions",
    ]
    batch = collate(RECORDS)
    assert batch["label"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert batch["pruning_labels"].tolist() == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert batch["teacher_scores"].tolist() == [3.0, -3.0, 2.0, -2.0]
    assert batch["query_ids"].tolist() == [0, 0, 1, 1]
    assert batch["sentence_positions"][1] == [(0, 11), (12, 24)]
    # The model reads the same ids in use.
    text = RECORDS[0]["query"], RECORDS[0]["document"]
    ids = model.tokenizer(*text)["input_ids"]
    assert batch["input_ids"][0, : len(ids)].tolist() == ids
    few = ProvenceCrossEncoderDataCollator(model.tokenizer, max_sentences=1, include_positions=False)(RECORDS)
    assert few["pruning_labels"].tolist() == [1, -100, -100, 0, -100, 0, -100, -100, 0, -100]
    assert "sentence_positions" not in few
    of_tokens = ProvenceCrossEncoderDataCollator(model.tokenizer, sentence_level=False)(RECORDS)
    labels = of_tokens["pruning_labels"]
    assert labels.shape == of_tokens["input_ids"].shape
    assert (labels == 1).sum(1).tolist() == [8, 0, 4, 0]
    assert set(labels[of_tokens["sentence_ids"] == -1].tolist()) == {-100}


def losses(model: CrossEncoder, collate: Any, loss: torch.nn.Module) -> dict[str, float]:
    """The losses of all records, in evaluation mode."""
    batch = collate(RECORDS)
    labels = batch.pop("label")
    model.eval()
    with torch.no_grad():
        found = loss(list(batch.values()), labels)
    return {name: value.item() for name, value in found.items()}


@pytest.mark.parametrize("use_teacher_scores", [False, True])
@pytest.mark.parametrize("sentence_level", [True, False])
def test_both_heads_train_with_the_trainer_of_sentence_transformers(
    tiny_reranker: str, tmp_path: Path, use_teacher_scores: bool, sentence_level: bool
) -> None:
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    model = with_new_head(tiny_reranker)
    collate = ProvenceCrossEncoderDataCollator(model.tokenizer, sentence_level=sentence_level)
    loss = ProvenceLoss(model, None, None, 1.0, 0.5, use_teacher_scores, sentence_level)
    before = losses(model, collate, loss)
    evaluator = ProvenceEvaluator(
        ["Who sat on the mat?"], [[r["document"] for r in RECORDS[:2]]], [[0]], [[[1, 0, 0], [0, 0]]]
    )
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=str(tmp_path),
            max_steps=12,
            per_device_train_batch_size=4,
            learning_rate=3e-3,
            eval_strategy="steps",
            eval_steps=6,
            save_strategy="steps",
            save_steps=6,
            logging_steps=6,
            load_best_model_at_end=True,
            metric_for_best_model=evaluator.primary_metric,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(RECORDS * 2),
        eval_dataset=Dataset.from_list(RECORDS),
        loss=loss,
        data_collator=collate,
        evaluator=evaluator,
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "ranking_loss" in entry]
    assert all({"ranking_loss", "pruning_loss"} <= entry.keys() for entry in logged)
    assert logged[-1]["ranking_loss"] < logged[0]["ranking_loss"]
    assert logged[-1]["pruning_loss"] < logged[0]["pruning_loss"]
    after = losses(model, collate, loss)
    assert after["ranking_loss"] < before["ranking_loss"]
    assert after["pruning_loss"] < before["pruning_loss"]
    evaluated = [entry for entry in trainer.state.log_history if "eval_reranking_ndcg@10" in entry]
    assert len(evaluated) == 2
    assert trainer.state.best_metric == max(entry["eval_reranking_ndcg@10"] for entry in evaluated)
    assert (tmp_path / "eval" / "ProvenceEvaluator_provence_results.csv").is_file()


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
def test_the_training_of_the_guide_runs(
    tiny_reranker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = Path(__file__).parents[1] / "docs" / "sentence-transformers.md"
    (block,) = re.findall(r"^```py\n(.*?)^```$", guide.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    name = "cross-encoder/ms-marco-MiniLM-L6-v2"
    assert name in block
    monkeypatch.chdir(tmp_path)
    exec(block.replace(name, tiny_reranker), {})
    assert "reranking_ndcg@10" in capsys.readouterr().out
    assert Provence.from_pretrained("runs/mine/final", backend="torch", device="cpu").config.mode == "joint"


def test_the_loss(tiny_reranker: str) -> None:
    assert call(ProvenceLoss) == {
        "model": inspect.Parameter.empty,
        "ranking_loss_fn": None,
        "pruning_loss_fn": None,
        "ranking_weight": 1.0,
        "pruning_weight": 0.5,
        "use_teacher_scores": False,
        "sentence_level_pruning": True,
    }
    model = with_new_head(tiny_reranker)
    collate = ProvenceCrossEncoderDataCollator(model.tokenizer)
    default = losses(model, collate, ProvenceLoss(model))
    bce, cross_entropy = torch.nn.BCEWithLogitsLoss(), torch.nn.CrossEntropyLoss()
    for sentence_level in (True, False):
        plain = losses(model, collate, ProvenceLoss(model, sentence_level_pruning=sentence_level))
        spelt = ProvenceLoss(model, bce, cross_entropy, sentence_level_pruning=sentence_level)
        assert losses(model, collate, spelt) == pytest.approx(plain, abs=1e-6)
    heavier = losses(model, collate, ProvenceLoss(model, None, None, 2.0, 1.0))
    assert heavier == pytest.approx({name: 2 * value for name, value in default.items()})
    taught = losses(model, collate, ProvenceLoss(model, torch.nn.MSELoss(), use_teacher_scores=True))
    assert taught == pytest.approx(losses(model, collate, ProvenceLoss(model, use_teacher_scores=True)))
    of_tokens = ProvenceCrossEncoderDataCollator(model.tokenizer, sentence_level=False)
    for function in (None, cross_entropy):
        loss = ProvenceLoss(model, None, function, sentence_level_pruning=False)
        assert losses(model, of_tokens, loss) == pytest.approx(losses(model, collate, loss), abs=1e-6)
    unknown = [{"query": "Who?", "document": "A cat."}]
    batch = collate(unknown)
    found = ProvenceLoss(model, bce, cross_entropy)(list(batch.values()), batch.pop("label"))
    assert [value.item() for value in found.values()] == [0.0, 0.0]


def test_the_evaluator(tmp_path: Path) -> None:
    queries = [QUERY, "Where do zebras live?"]
    documents = [[OTHER, DOCUMENT, "A cat."], ["Zebras live here.", ["Nothing is here.", "A dog."]]]
    labels = [[[0, 0], [1, 0, 1], None], None]
    evaluator = ProvenceEvaluator(queries, documents, [[1], {0}], labels, [1, 3, 5, 10], "provence")
    metrics = evaluator(MODEL, output_path=str(tmp_path), epoch=1, steps=2)
    names = [f"reranking_{name}@{k}" for k in (1, 3, 5, 10) for name in ("map", "mrr", "ndcg")]
    pruning = ["pruning_precision", "pruning_recall", "pruning_f1", "avg_compression_ratio"]
    assert list(metrics) == [*names, *pruning]
    assert {type(value) for value in metrics.values()} == {float}
    assert [metrics[name] for name in names] == [1.0] * 12
    passages = MODEL.process_batch(queries, documents)
    kept = [s.kept for passage in passages[0][:2] for s in passage.sentences]
    right = kept[2] + kept[4]
    assert metrics["pruning_precision"] == pytest.approx(right / sum(kept))
    assert metrics["pruning_recall"] == pytest.approx(right / 2)
    ratios = [passage.compression for row in passages for passage in row]
    assert metrics["avg_compression_ratio"] == pytest.approx(np.mean(ratios))
    assert evaluator.primary_metric == "reranking_ndcg@10"
    evaluator(MODEL, str(tmp_path), 2, 4)
    rows = (tmp_path / "ProvenceEvaluator_provence_results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]
    named = ProvenceEvaluator(queries, documents, [[0], []], k_values=[2], name="dev")
    assert named.primary_metric == "dev_reranking_ndcg@2"
    figures = named(MODEL)
    assert figures == {
        "dev_reranking_map@2": 0.5,  # the relevant document is second; the other query has none
        "dev_reranking_mrr@2": 0.5,
        "dev_reranking_ndcg@2": pytest.approx(1 / np.log2(3)),
        "dev_avg_compression_ratio": pytest.approx(np.mean(ratios)),
    }
