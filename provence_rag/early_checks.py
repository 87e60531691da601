"""What `Provence.from_pretrained` would refuse, refused where it is asked for: before a worker or a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provence_rag.backends.loading import fitting_backends
from provence_rag.errors import InvalidInputError
from provence_rag.hub import check_remote_settings, is_url
from provence_rag.inference.score_cache import check_score_cache
from provence_rag.provence import Provence

__all__ = ["check_model"]


def check_model(model: Any, loading: Mapping[str, Any]) -> None:
    """Check how a model is to be loaded, and load nothing.

    Args:
        model: A loaded model, or the `name_or_path` of `Provence.from_pretrained`.
        loading: Other arguments of it, those that were given.

    Raises:
        InvalidInputError: They contradict each other or the model.
        MissingExtraError: The backend's libraries are not installed.
    """
    if isinstance(model, Provence) and loading:
        raise InvalidInputError(
            f"{', '.join(loading)} cannot be set on a loaded model: pass them to Provence.from_pretrained"
        )
    if is_url(model):
        from provence_rag.remote.http import check_url  # takes time to import

        check_url(model)
        check_remote_settings(loading)
    fitting_backends(loading.get("backend", "auto"), loading.get("device"), loading.get("dtype"))
    if (score_cache := loading.get("score_cache")) is not None:
        check_score_cache(score_cache)
