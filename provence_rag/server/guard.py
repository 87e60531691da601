"""What every request passes: host names, keys, limits of bodies, headers of responses, what errors become."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provence_rag.server.failures import RequestError, log_unexpected
from provence_rag.server.hosts import is_accepted, is_loopback
from provence_rag.server.metrics import Metrics
from provence_rag.server.responses import JsonResponse
from provence_rag.server.settings import ServerSettings

__all__ = ["Guard"]

_OPEN = ("/", "/health", "/ready", "/openapi.json", "/docs")
_OPEN_FOLDER = "/playground/"
"""What says nothing about texts or the model needs no key."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_logger = logging.getLogger(__name__)


class Guard:
    """Middleware around the whole application.

    Args:
        app: The application.
        settings: Host names, keys and limits.
        metrics: Counts the requests.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._keys = [_digest(key.get_secret_value()) for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status: int | None = None

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        failure: RequestError | None = None
        try:
            self._check_host(scope)
            self._check_key(scope)
            await self._app(scope, _Body(scope, receive, self._settings).receive, send_guarded)
        except RequestError as error:
            failure = error
        except Exception as error:
            log_unexpected(_logger, error)
            failure = RequestError(500, "internal", "this request failed: see the server's log")
        if failure is not None and status is None:
            response = JsonResponse(failure.body(scope["path"]), failure.status_code, failure.headers)
            await response(scope, receive, send_guarded)
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.request(route, status or 500, time.perf_counter() - start)

    def _check_host(self, scope: Scope) -> None:
        # A page of evil.example cannot read from 127.0.0.1, unless it makes evil.example lead there: then it
        # is of the same origin. It cannot change the Host header, and does not know a key.
        patterns = self._settings.allowed_hosts
        if not patterns and (self._keys or not is_loopback(str((scope.get("server") or [""])[0]))):
            return
        host = Headers(scope=scope).get("host", "")
        if not is_accepted(host, patterns):
            raise RequestError(
                421,
                "misdirected",
                f"this server does not go by the name in the header `Host: {host[:200]}`: call it by its IP "
                "address or localhost, or start it with --allowed-host NAME (ServerSettings: allowed_hosts)",
            )

    def _check_key(self, scope: Scope) -> None:
        path = scope["path"]
        if not self._keys or path in _OPEN or path.startswith(_OPEN_FOLDER):
            return
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        given = _digest(key.strip()) if scheme.lower() == "bearer" else b""
        # All keys are compared, so that the time tells neither which one is right nor how much of it.
        if not sum(hmac.compare_digest(given, known) for known in self._keys):
            problem = "does not know this key" if key.strip() else "needs a key"
            message = (
                f"this server {problem}: send the header `Authorization: Bearer KEY` with one of its own"
            )
            raise RequestError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


class _Body:
    """The body of a request, as long as it is within the limits."""

    def __init__(self, scope: Scope, receive: Receive, settings: ServerSettings) -> None:
        self._receive = receive
        self._settings = settings
        self._declared = Headers(scope=scope).get("content-length", "")
        self._deadline = time.monotonic() + settings.timeout
        self._size = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """The next part.

        Raises:
            RequestError: The body is too large, or takes too long.
        """
        if self._is_complete:
            return await self._receive()
        self._check(int(self._declared) if self._declared.isdecimal() else 0)
        try:
            # One deadline for all parts: a client could send a byte now and then for ever.
            left = max(0.0, self._deadline - time.monotonic())
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError as error:
            raise RequestError(408, "timeout", "the body did not arrive in time") from error
        self._size += len(message.get("body", b""))
        self._check(self._size)
        self._is_complete = not message.get("more_body", False)
        return message

    def _check(self, size: int) -> None:
        if size > (limit := self._settings.max_body_bytes):
            message = (
                f"the body is larger than the {limit:,} bytes that this server takes (--max-body-bytes): "
                "send fewer documents"
            )
            raise RequestError(413, "too_large", message)


def _digest(key: str) -> bytes:
    """Of one length for all keys."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
