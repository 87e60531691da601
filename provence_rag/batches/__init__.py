"""Tables of questions and passages: one batch at a time, or a whole file."""

from provence_rag.batches.batch import ProvenceBatch
from provence_rag.batches.files import prune_table

__all__ = ["ProvenceBatch", "prune_table"]
