"""When the model is loaded."""

from __future__ import annotations

from threading import Lock
from typing import Any

from provence_rag import Provence

__all__ = ["LazyModel"]


class LazyModel:
    """Loads a model on first use, once for all threads; a pickle or a deep copy of it starts empty."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._settings: dict[str, Any] | None = None
        self._model: Provence | None = None

    def get(self, **settings: Any) -> Provence:
        """Return the model of these settings, the keyword arguments of `Provence.from_pretrained`."""
        with self._lock:
            # Settings are compared because fields can be assigned to, and shallow copies share this object.
            if self._model is None or settings != self._settings:
                self._model, self._settings = Provence.from_pretrained(**settings), settings
            return self._model

    def __reduce__(self) -> tuple[type[LazyModel], tuple[()]]:
        return LazyModel, ()
