"""Training, copying and saving a PruningCrossEncoder."""

from __future__ import annotations

import copy
import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

from provence_rag import CheckpointError
from tests.integrations.sentence_transformers.common import (
    DOCUMENTS,
    PAIRS,
    QUERIES,
    QUERY,
    block_of,
    edit_config,
    load,
    reference,
)

# --- training, copying, saving ----------------------------------------------------------------------------


def dataset() -> Any:
    from datasets import Dataset

    return Dataset.from_dict(
        {"query": QUERIES * 2, "document": DOCUMENTS[::-1] * 2, "label": [1.0, 0.0, 0.0, 1.0] * 2}
    )


def test_training_changes_what_is_pruned(
    joint_checkpoint: Path, tmp_path: Path, assert_prunes_alike: Any
) -> None:
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    model = load(joint_checkpoint)
    before = model.predict_with_pruning(QUERIES, DOCUMENTS)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        learning_rate=2e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset(),
        eval_dataset=dataset(),
        loss=BinaryCrossEntropyLoss(model),
    )
    trainer.train()
    after = model.predict_with_pruning(QUERIES, DOCUMENTS)
    assert after.pruning_probs[0] != pytest.approx(before.pruning_probs[0], abs=0.01)
    best = Path(trainer.state.best_model_checkpoint or "")
    assert_prunes_alike(load(best), reference(best))
    assert_prunes_alike(model, reference(best))
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
def test_fit(joint_checkpoint: Path, tmp_path: Path) -> None:
    from sentence_transformers import InputExample

    model = load(joint_checkpoint)
    before = model.prune(QUERY, DOCUMENTS[1], return_scores=True)[1]
    examples = [InputExample(texts=list(pair), label=float(i % 2)) for i, pair in enumerate(PAIRS)]
    loader: Any = torch.utils.data.DataLoader(examples, batch_size=4)  # type: ignore[arg-type]
    model.fit(
        loader, epochs=1, warmup_steps=0, optimizer_params={"lr": 1e-2}, output_path=str(tmp_path / "fit")
    )
    assert model.prune(QUERY, DOCUMENTS[1], return_scores=True)[1] != pytest.approx(before, abs=0.01)


def test_what_it_saves_all_three_load(
    joint_checkpoint: Path, tmp_path: Path, assert_ranks_alike: Any, assert_prunes_alike: Any
) -> None:
    model = load(joint_checkpoint)
    model.save_pretrained(str(tmp_path))
    for file in ("config.json", "modules.json", "config_sentence_transformers.json"):
        assert "sentence_transformers_provence" not in (tmp_path / file).read_text()
    assert block_of(tmp_path) == block_of(joint_checkpoint)
    assert {"pruning_head.weight", "pruning_head.bias"} < load_file(tmp_path / "model.safetensors").keys()
    assert_ranks_alike(load(tmp_path), model)
    assert_ranks_alike(CrossEncoder(str(tmp_path), device="cpu"), model)
    for provence in (reference(tmp_path), reference(joint_checkpoint)):
        assert_prunes_alike(model, provence)
        assert_prunes_alike(load(tmp_path), provence)


def test_half_precision_is_saved_as_such(
    joint_checkpoint: Path, tmp_path: Path, assert_prunes_alike: Any
) -> None:
    model = load(joint_checkpoint).half()
    model.save_pretrained(str(tmp_path), create_model_card=False)
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    assert_prunes_alike(load(tmp_path), reference(tmp_path, dtype="float16"), atol=0.01)
    assert_prunes_alike(load(tmp_path, model_kwargs={"dtype": "float32"}), reference(tmp_path))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_has_its_own_weights(
    joint_checkpoint: Path, duplicate: Any, used: bool, assert_prunes_alike: Any
) -> None:
    model = load(joint_checkpoint)
    if used:
        model.prune(QUERY, DOCUMENTS[0])
    twin = duplicate(model)
    with torch.no_grad():
        model.model.pruning_head.bias.copy_(torch.tensor([50.0, -50.0]))
    assert model.prune(QUERY, DOCUMENTS[0], min_sentences=0) == ""
    assert_prunes_alike(twin, reference(joint_checkpoint))


def test_a_head_that_another_class_has_left_out(
    joint_checkpoint: Path, tmp_path: Path, assert_ranks_alike: Any
) -> None:
    stock = CrossEncoder(str(joint_checkpoint), device="cpu")
    stock.save_pretrained(str(tmp_path), create_model_card=False)
    model = load(tmp_path)
    assert_ranks_alike(model, stock)
    with pytest.raises(CheckpointError) as raised:
        model.prune(QUERY, DOCUMENTS[0])
    assert str(raised.value) == (
        f"the weights in {tmp_path} have no pruning head: the class that saved them leaves it out. Use "
        "predict and rank, load a joint checkpoint, such as the bundled one in provence_rag/models/mini, or "
        "train a new head with enable_pruning=True"
    )
    model.save_pretrained(str(tmp_path / "again"), create_model_card=False)


def test_a_head_that_does_not_fit(joint: Path) -> None:
    tensors = load_file(joint / "model.safetensors")
    save_file({**tensors, "pruning_head.bias": torch.zeros(3)}, joint / "model.safetensors")
    model = load(joint)
    assert len(model.predict(PAIRS)) == len(PAIRS)
    with pytest.raises(CheckpointError, match=r"the pruning head in .* does not fit: (.|\n)*size mismatch"):
        model.prune(QUERY, DOCUMENTS[0])


def test_a_block_of_a_newer_version(joint: Path) -> None:
    edit_config(joint, provence={**block_of(joint), "colour": "red"})
    model = load(joint)
    assert len(model.predict(PAIRS)) == len(PAIRS)
    with pytest.raises(
        CheckpointError, match="unknown keys colour; it may need a newer version of provence-rag"
    ):
        model.prune(QUERY, DOCUMENTS[0])


def test_the_load_report_does_not_speak_of_the_pruning_head(
    joint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)  # it does not propagate
    try:
        CrossEncoder(str(joint), device="cpu")
        assert "pruning_head" in caplog.text  # else this test would say nothing
        caplog.clear()
        load(joint)
        assert caplog.text == ""
        tensors = load_file(joint / "model.safetensors")
        del tensors["bert.pooler.dense.bias"]
        save_file(tensors, joint / "model.safetensors", metadata={"format": "pt"})
        load(joint)
        assert "bert.pooler.dense.bias" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def test_the_model_card(joint_checkpoint: Path, tmp_path: Path) -> None:
    load(joint_checkpoint).save_pretrained(str(tmp_path))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "library_name: sentence-transformers" in card
    assert 'model = CrossEncoder("cross_encoder_model_id")' in card
    model = load(tmp_path)  # reuses the card
    model.save_pretrained(str(tmp_path / "named"), model_name="owner/name")
    assert 'model = CrossEncoder("owner/name")' in (tmp_path / "named" / "README.md").read_text(
        encoding="utf-8"
    )


def test_pushing_to_the_hub(
    joint_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_prunes_alike: Any
) -> None:
    from huggingface_hub import CommitInfo, HfApi, RepoUrl

    uploads: list[dict[str, Any]] = []

    def upload_folder(self: HfApi, *, folder_path: str, **settings: Any) -> CommitInfo:
        uploads.append(settings)
        shutil.copytree(folder_path, tmp_path / "pushed")
        url = "https://huggingface.co/owner/name/commit/0"
        return CommitInfo(commit_url=url, commit_message="", commit_description="", oid="0")

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: RepoUrl("https://huggingface.co/owner/name"))
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    model = load(joint_checkpoint)
    model.push_to_hub("owner/name", create_pr=True)
    (upload,) = uploads
    assert "from sentence_transformers_provence import PruningCrossEncoder" in upload["commit_description"]
    assert_prunes_alike(model, reference(tmp_path / "pushed"))
