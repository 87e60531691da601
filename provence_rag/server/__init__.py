"""The model as an HTTP service: `provence serve`, or an ASGI application for a server of your own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from provence_rag.errors import MissingExtraError

if TYPE_CHECKING:
    from provence_rag.server.app import create_app
    from provence_rag.server.settings import ServerSettings

__all__ = ["ServerSettings", "create_app"]

_MODULES = {"ServerSettings": "settings", "create_app": "app"}


def __getattr__(name: str) -> Any:
    # Resolved on first use (PEP 562): the command line reads this package on installations without the extra.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "prometheus_client", "pydantic", "uvicorn"):
            raise
        raise MissingExtraError("provence_rag.server", "server") from error
