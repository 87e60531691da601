"""The command line: `provence prune`, `provence rank`, and the commands of other packages."""

from provence_rag.cli.app import app, main

__all__ = ["app", "main"]
