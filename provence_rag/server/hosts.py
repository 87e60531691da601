"""Which names a server answers to: a web page can make a name of its own lead here (DNS rebinding)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["check_pattern", "is_accepted", "is_loopback"]

_HEADER = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
"""A Host header: a name or an address, IPv6 in brackets, and perhaps a port."""


def is_accepted(header: str, patterns: Sequence[str]) -> bool:
    """Whether a Host header is `localhost`, an IP address, or a name that a pattern allows.

    Addresses need no pattern, since nobody can make one lead elsewhere. Nor do requests without a Host, which
    no browser sends, but some health checks do.

    Args:
        header: The header's value; empty if there is none.
        patterns: As `check_pattern` returns them.
    """
    if not header:
        return True
    found = _HEADER.fullmatch(header)
    if found is None:
        return "*" in patterns
    name = found[1].lower().rstrip(".")
    if name == "localhost" or _address(name.strip("[]")) is not None:
        return True
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_loopback(address: str) -> bool:
    """Whether this is an IP address that can be reached from this machine only."""
    found = _address(address)
    return found is not None and found.is_loopback


def check_pattern(pattern: str) -> str:
    """Return the pattern of a name in lower case.

    Raises:
        ValueError: It is not a name, such as one with a scheme or a port.
    """
    name = pattern.lower().rstrip(".")
    if _address(name) is None and not re.fullmatch(r"[a-z0-9*._-]+", name):
        raise ValueError(
            f"an allowed host is a name without scheme and port, such as rerank.example.org, got {pattern!r}"
        )
    return name


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found  # ::ffff:127.0.0.1 is 127.0.0.1
