"""Defaults of a server's limits, for its settings and for the command line, which does not load these."""

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_DOCUMENTS",
    "MAX_DOCUMENT_CHARACTERS",
    "MAX_QUERIES",
    "MAX_QUERY_CHARACTERS",
    "QUEUE_CHARACTERS",
    "TIMEOUT",
]

MAX_BODY_BYTES = 16_000_000
MAX_QUERIES = 256
MAX_DOCUMENTS = 2_000
MAX_QUERY_CHARACTERS = 100_000
MAX_DOCUMENT_CHARACTERS = 1_000_000
TIMEOUT = 60.0
QUEUE_CHARACTERS = 2_000_000
