"""What transformers reports of a checkpoint's weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["unreported"]

_LOGGER = logging.getLogger("transformers.modeling_utils")


@contextmanager
def unreported(prefix: str) -> Iterator[None]:
    """Keep back the report that tensors with this prefix are unexpected, unless there is more in it."""

    def tells_more(record: logging.LogRecord) -> bool:
        # A table with a tensor a row, below its heads.
        rows = [line for line in record.getMessage().splitlines() if "|" in line][1:]
        return not rows or not all(row.startswith(prefix) for row in rows)

    _LOGGER.addFilter(tells_more)
    try:
        yield
    finally:
        _LOGGER.removeFilter(tells_more)
