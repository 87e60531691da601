"""What each process of a distributed run in test_trainer.py does: `torchrun distributed_run.py job.json`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from provence_rag.chunking import Span
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import GuideConfig
from provence_training.learning.collator import Example, example_pairs
from provence_training.learning.guide import GuideLoss
from provence_training.learning.loss import ProvenceLoss
from provence_training.learning.trainer import ProvenceTrainer, last_checkpoint

job = json.loads(Path(sys.argv[1]).read_text())
start, result = Path(job["start"]), Path(job["result"])

found = last_checkpoint(job["settings"]["output_dir"])


class Kill(TrainerCallback):
    """Kills the process in the middle of the fourth step, once."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3 and found is None:
            os.kill(os.getpid(), signal.SIGKILL)


examples = [Example(**{**e, "sentences": [Span(*s) for s in e["sentences"]]}) for e in job["examples"]]
fixed = {"learning_rate": 3e-3, "logging_steps": 1, "use_cpu": True, "seed": 3}
model, encoder = ProvenceModel.from_pretrained(start), PairEncoder.from_directory(start)
trainer = ProvenceTrainer(
    model,
    TrainingArguments(**{**fixed, "report_to": [], "disable_tqdm": True, **job["settings"]}),
    loss=ProvenceLoss(),
    auxiliary_losses=[
        GuideLoss(model, ProvenceModel.from_pretrained(job["guide"]), GuideConfig(model=job["guide"]))
    ],
    pairs=example_pairs(examples, encoder),
    dev_pairs=example_pairs(examples[:7], encoder),
    batch_tokens=job["batch_tokens"],
    callbacks=[Kill()],
)
assert trainer.args.world_size == 2
trainer.train(resume_from_checkpoint=found)
if trainer.is_world_process_zero():
    model.save_pretrained(result)
    (result / "history.json").write_text(json.dumps(trainer.state.log_history))
