"""Models on a server: `Provence` over HTTP."""

from provence_rag.remote.provence import RemoteProvence

__all__ = ["RemoteProvence"]
