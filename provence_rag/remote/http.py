"""JSON over HTTP with the standard library: connections that stay open, proxies, retries."""

from __future__ import annotations

import json
import os
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from provence_rag.errors import InvalidInputError, RemoteError
from provence_rag.hub import is_url
from provence_rag.validation import check_count, check_number, shown

__all__ = ["Answer", "JsonClient", "check_key", "check_url"]

_RETRIED = (429, 502, 503)
"""Statuses of a server that is full, restarting, or behind a proxy that does not reach it yet."""

_FIRST_PAUSE = 0.5
"""Seconds before the first retry; each further pause is twice as long. Up to half of it is left to chance, so
that clients that failed together do not come back together."""


def check_url(url: Any) -> str:
    """Return the URL of a server without the slash at its end.

    Raises:
        InvalidInputError: It is no URL, or has parts that a server's URL lacks.
    """
    if not is_url(url):
        raise InvalidInputError(f"url must begin with http:// or https://, got {shown(url)}")
    try:
        parts = urlsplit(url)
        is_complete = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets of an IPv6 address, or a port that is no number
        is_complete = False
    if is_complete and (parts.username is not None or parts.password is not None):
        raise InvalidInputError("url holds a user name or a password, which would be shown: give api_key")
    if not is_complete or not url.isascii() or url.split() != [url]:
        raise InvalidInputError(f"url must be like http://host:8000, got {url!r}")
    if (parts.hostname or "").endswith("huggingface.co"):
        raise InvalidInputError(f"a model on the hub is named owner/name, without a URL; got {url!r}")
    if parts.query or parts.fragment:
        raise InvalidInputError(f"url must be that of the server alone, without ? and #, got {url!r}")
    return str.__str__(url).rstrip("/")


def check_key(key: Any) -> str | None:
    """Return an API key that fits into a header; no message shows it.

    Raises:
        InvalidInputError: It is not a string of visible ASCII characters.
    """
    if key is None:
        return None
    if not isinstance(key, str) or not key or not all("!" <= character <= "~" for character in key):
        raise InvalidInputError(
            "api_key must be a string of ASCII characters without spaces, "
            f"got a {type(key).__name__} that is not (the value is not shown)"
        )
    return str.__str__(key)


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int

    headers: Mapping[str, str]
    """By their names in lower case."""

    body: bytes

    def json(self) -> Any:
        """The body.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.body)


class JsonClient:
    """Sends requests to one server. Threads may share a client.

    Requests are repeated where that cannot do harm: as long as no connection comes about or one breaks, and
    after an answer that says that the server is full (429) or not ready (502, 503), as long as the server
    asks for with `Retry-After`. Redirects are not followed, since the key would go with them.

    Args:
        url: As `check_url` returns it.
        key: The API key, or None.
        timeout: Seconds to wait for a connection, and then for an answer.
        retries: How often a request is repeated.

    Raises:
        InvalidInputError: `timeout` or `retries` has a value that cannot be used.
    """

    def __init__(self, url: str, *, key: str | None, timeout: float, retries: int) -> None:
        check_number("timeout", timeout)
        if timeout <= 0:
            raise InvalidInputError(f"timeout must be above 0, got {timeout!r}")
        check_count("retries", retries, 0)
        self._url = url
        self._timeout = float(timeout)
        self._retries = int(retries)
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": f"provence-rag/{version('provence-rag')}",
        }
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        parts = urlsplit(url)
        self._is_secure = parts.scheme.lower() == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path
        self._proxy = _proxy_of(parts.scheme.lower(), parts.netloc)
        self._idle: deque[tuple[int, HTTPConnection]] = deque()

    def get(self, path: str) -> Answer:
        """Send a GET request. Errors are those of `post`."""
        return self._send("GET", path, None)

    def post(self, path: str, body: bytes) -> Answer:
        """Send JSON.

        Returns:
            The answer, whatever its status.

        Raises:
            RemoteError: No answer came, although the request was repeated.
        """
        return self._send("POST", path, body)

    def close(self) -> None:
        """Close the connections that are open and not in use."""
        while self._idle:
            self._idle.pop()[1].close()

    def __del__(self) -> None:
        if "_idle" in self.__dict__:  # arguments were accepted
            self.close()

    def _send(self, method: str, path: str, body: bytes | None) -> Answer:
        for attempt in range(self._retries + 1):
            pause = _FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.0)
            is_last = attempt == self._retries
            try:
                answer = self._exchange(method, path, body)
            except TimeoutError as error:
                # Not repeated: the server may be at work on it, and another one would not make it faster.
                raise RemoteError(
                    f"{self._url} did not answer in {self._timeout:g} seconds: raise timeout, or send less"
                ) from error
            except (OSError, HTTPException) as error:
                if is_last or _is_hopeless(error):
                    raise RemoteError(f"{self._url} cannot be reached: {error or repr(error)}") from error
            else:
                asked = _retry_after(answer.headers)
                if answer.status not in _RETRIED or is_last or (asked or 0) > self._timeout:
                    return answer
                pause = pause if asked is None else asked
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _exchange(self, method: str, path: str, body: bytes | None) -> Answer:
        """One request, on a connection that is open or on a new one."""
        while True:
            connection, is_new = self._connection()
            try:
                if is_new:
                    self._connect(connection)
                connection.request(method, self._target(path), body, self._headers)
                response = connection.getresponse()
                content = response.read()
            except BaseException as error:
                connection.close()
                if isinstance(error, ConnectionError) and not is_new:
                    continue  # the server closed it while it was idle
                raise
            headers = {name.lower(): value for name, value in response.getheaders()}
            if response.will_close:
                connection.close()
            else:
                self._idle.append((os.getpid(), connection))
            return Answer(response.status, headers, content)

    def _connect(self, connection: HTTPConnection) -> None:
        try:
            connection.connect()
        except TimeoutError as error:  # unlike one of an answer, it can be repeated: nothing was sent
            raise ConnectionError(f"no connection in {self._timeout:g} seconds") from error

    def _connection(self) -> tuple[HTTPConnection, bool]:
        while True:
            try:
                process, connection = self._idle.pop()
            except IndexError:
                return self._new_connection(), True
            if process == os.getpid():
                return connection, False
            connection.close()  # a fork shares it with its parent, which goes on using it

    def _new_connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._is_secure else HTTPConnection
        if self._proxy is None:
            return kind(self._host, self._port, timeout=self._timeout)
        connection = kind(*self._proxy, timeout=self._timeout)
        if self._is_secure:
            connection.set_tunnel(self._host, self._port)
        return connection

    def _target(self, path: str) -> str:
        """What the request line names: a path, or to a proxy the whole URL."""
        is_whole = self._proxy is not None and not self._is_secure
        return f"{self._url if is_whole else self._path}{path}"


def _proxy_of(scheme: str, host: str) -> tuple[str, int | None] | None:
    """Host and port of the proxy that the environment names for a server (`HTTPS_PROXY`, `NO_PROXY`)."""
    from urllib.request import getproxies, proxy_bypass  # take time to import

    proxy = getproxies().get(scheme)
    if not proxy or proxy_bypass(host):
        return None
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return None if parts.hostname is None else (parts.hostname, parts.port)


def _is_hopeless(error: Exception) -> bool:
    """Whether another attempt would fail in the same way: a certificate stays what it is."""
    from ssl import SSLCertVerificationError

    return isinstance(error, SSLCertVerificationError)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, given as a number or a date; None if it does not say."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
