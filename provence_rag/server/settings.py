"""What a server can be told: its model, its limits, and who may use it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, field_validator

from provence_rag.adapters import ModelFields
from provence_rag.hub import is_url
from provence_rag.provence import Provence
from provence_rag.remote import RemoteProvence
from provence_rag.server import defaults
from provence_rag.server.hosts import check_pattern

__all__ = ["LIMITS", "ServerSettings"]


def _check_key(key: SecretStr) -> SecretStr:
    """Return an API key that a header can bear.

    Raises:
        ValueError: It cannot.
    """
    value = key.get_secret_value()
    if not (value and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("an API key must be of printable ASCII characters without spaces, at least one")
    return key


class ServerSettings(ModelFields):
    """The settings of a server. Limits apply to each request; one beyond them is refused, never cut."""

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be a key

    model: str | Path | Provence | None = Field(
        default=None,
        description="Hub name or path of a checkpoint, or a loaded Provence; None is the bundled model.",
    )

    max_body_bytes: int = Field(
        default=defaults.MAX_BODY_BYTES, ge=1, description="Bytes of a request's body."
    )
    max_queries: int = Field(
        default=defaults.MAX_QUERIES, ge=1, description="Queries of a request to /v1/prune."
    )
    max_documents: int = Field(
        default=defaults.MAX_DOCUMENTS, ge=1, description="Documents of a request, of all its queries."
    )
    max_query_characters: int = Field(
        default=defaults.MAX_QUERY_CHARACTERS, ge=1, description="Characters of a query."
    )
    max_document_characters: int = Field(
        default=defaults.MAX_DOCUMENT_CHARACTERS,
        ge=1,
        description="Characters of a document, with its title.",
    )
    timeout: float = Field(
        default=defaults.TIMEOUT,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which a request that is not answered is given up.",
    )
    queue_characters: int = Field(
        default=defaults.QUEUE_CHARACTERS,
        ge=1,
        description="Characters that may wait to be read; beyond them, requests are refused (429). A request "
        "that has more is accepted if no other waits.",
    )
    share_batches: bool = Field(default=False, description="Whether the model reads small requests together.")
    api_keys: tuple[Annotated[SecretStr, AfterValidator(_check_key)], ...] = Field(
        default=(), description="A request must bear one of these; without any, everybody may use the server."
    )
    allowed_hosts: tuple[Annotated[str, AfterValidator(check_pattern)], ...] = Field(
        default=(),
        description="Names that requests may call the server by, beside localhost and IP addresses; "
        "`*.example.org` are all below that, `*` is any. Without any, names are checked only for requests "
        "that come in on a loopback address of a server without keys.",
    )

    @field_validator("model")
    @classmethod
    def _refuse_remote_model(cls, model: Any) -> Any:
        if is_url(model) or isinstance(model, RemoteProvence):
            raise ValueError("a model on a server cannot be served again: name its checkpoint")
        return model


LIMITS = tuple(
    name
    for name in ServerSettings.model_fields
    if name.startswith("max_") and name not in ModelFields.model_fields
)
"""The limits of a request, which /info tells clients."""
