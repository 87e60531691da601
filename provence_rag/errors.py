"""The exceptions that the library raises on purpose, and its warnings."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = [
    "CheckpointError",
    "InvalidInputError",
    "LanguageWarning",
    "MissingExtraError",
    "ProvenceError",
    "RemoteError",
]

_NAME = "provence-rag"


class ProvenceError(Exception):
    """Base of every exception raised on purpose by provence-rag."""


class InvalidInputError(ProvenceError, ValueError):
    """An argument has an invalid value; the message names the argument, the value and what is expected."""


class CheckpointError(ProvenceError, ValueError):
    """A checkpoint is missing or damaged, or cannot do what was asked of it."""


class MissingExtraError(ProvenceError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: {_pip_command(extra)}")
        self.args = (what, extra)  # what a pickle gives to __init__


class RemoteError(ProvenceError, OSError):
    """A server cannot be reached, refuses the API key, is too busy, or failed; see `RemoteProvence`."""


class LanguageWarning(UserWarning):
    """A question is in a language that the checkpoint was not trained on.

    Shown once per language and process; `PrunedPassage.untrained_language` has it for each question.
    """


def _pip_command(extra: str) -> str:
    """The command that adds an extra to this installation: from a clone, a URL or an index, as it was."""
    try:
        # Written by pip for all that does not come from an index (PEP 610).
        record = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:  # sources that were never installed
        record = json.dumps({"url": Path(__file__).parents[1].as_uri(), "dir_info": {"editable": True}})
    origin = json.loads(record) if record else {}
    url: str = origin.get("url", "")
    if "dir_info" in origin:
        requirement = f"{url2pathname(urlsplit(url).path)}[{extra}]"
    elif "vcs_info" in origin:
        vcs = origin["vcs_info"]
        revision = vcs.get("requested_revision", vcs["commit_id"])
        requirement = f"{_NAME}[{extra}] @ {vcs['vcs']}+{url}@{revision}"
    else:
        requirement = f"{_NAME}[{extra}] @ {url}" if url else f"{_NAME}[{extra}]"
    is_editable = origin.get("dir_info", {}).get("editable", False)
    return f"pip install {'-e ' if is_editable else ''}{quote(requirement)}"
