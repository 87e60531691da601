"""Checkpoints of other projects, translated into our own terms. Only this package knows their names."""

from provence_rag.modeling.checkpoints.base import PRUNING_LABELS, Checkpoint, label_settings
from provence_rag.modeling.checkpoints.families import find_checkpoint, read_checkpoint
from provence_rag.modeling.checkpoints.published import PUBLISHED, Published, example_of_card
from provence_rag.modeling.checkpoints.sizes import check_sizes, check_vocabulary
from provence_rag.modeling.checkpoints.summary import Summary, summarize
from provence_rag.modeling.checkpoints.weights import StoredTensors

__all__ = [
    "PRUNING_LABELS",
    "PUBLISHED",
    "Checkpoint",
    "Published",
    "StoredTensors",
    "Summary",
    "check_sizes",
    "check_vocabulary",
    "example_of_card",
    "find_checkpoint",
    "label_settings",
    "read_checkpoint",
    "summarize",
]
