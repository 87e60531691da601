"""RemoteProvence: the facade of a model that a server runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from provence_rag.config import ProvenceConfig
from provence_rag.errors import InvalidInputError
from provence_rag.hub import SECRETS
from provence_rag.inference.backend import Backend
from provence_rag.inference.engine import Engine, Pair, Progress
from provence_rag.inference.notices import warn_of_language, warn_of_long_queries
from provence_rag.options import PruningOptions
from provence_rag.provence import Provence
from provence_rag.ranking import Ranking
from provence_rag.remote.answers import description, passage, read
from provence_rag.remote.http import JsonClient, check_key, check_url
from provence_rag.remote.requests import Limits, Part, Request, as_json, renumbered, requests_for
from provence_rag.results import PrunedPassage
from provence_rag.validation import check_text

__all__ = ["RemoteProvence"]


class RemoteProvence(Provence):
    """A model that a server runs (`provence serve`), with the methods of `Provence` and the same results.

    `Provence.from_pretrained(url)` makes one, and so do adapters and the command line where their model is a
    URL. Input is checked before it is sent, and what the server refuses is raised as the exceptions that a
    model in this process raises. What is beyond the server's limits for one request is sent in several.
    Threads may share one; its connections stay open for the next call.

    The server chooses its own batches: `batch_size` is checked, and has no effect. A pickle holds no API
    key: the other process reads it from `PROVENCE_API_KEY`. Proxies are those of the environment.

    Args:
        url: The server's, such as `http://host:8000`, with the path that a proxy may have put in front of it.
        api_key: The server's API key; None reads the environment variable `PROVENCE_API_KEY`.
        timeout: Seconds to wait for a connection, and then for each answer.
        retries: How often a request is repeated when no connection comes about, one breaks, or the server
            is full (429) or not ready (502, 503). Pauses grow from half a second, unless the server says how
            long to wait.

    Raises:
        RemoteError: The server cannot be reached, refuses the key, or is not one of ours. Any method may
            raise it later.
        InvalidInputError: An argument has a value that cannot be used.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 3
    ) -> None:
        self._url = check_url(url)
        self._directory = None
        self._settings: dict[str, Any] = {"timeout": timeout, "retries": retries}
        key = check_key(os.environ.get(SECRETS["api_key"]) or None if api_key is None else api_key)
        self._client = JsonClient(self._url, key=key, timeout=timeout, retries=retries)
        self._config, self.fingerprint, self._limits = self._described()

    @property
    def url(self) -> str:
        """The server's."""
        return self._url

    @property
    def config(self) -> ProvenceConfig:
        """The configuration of the server's checkpoint."""
        return self._config

    @property
    def engine(self) -> Engine:
        """Not available: the engine is on the server.

        Raises:
            InvalidInputError: Always.
        """
        self._refuse("engine")

    @property
    def backend(self) -> Backend:
        """Not available: the backend is on the server.

        Raises:
            InvalidInputError: Always.
        """
        self._refuse("backend")

    def save_pretrained(self, directory: str | Path) -> None:
        """Not available: the checkpoint is on the server.

        Raises:
            InvalidInputError: Always.
        """
        self._refuse("save_pretrained")

    def _refuse(self, name: str) -> NoReturn:
        raise InvalidInputError(
            f"{name} is not available for a model on a server ({self._url}): load its checkpoint here"
        )

    def read_fingerprint(self) -> str | None:
        """The `fingerprint` of the model that the server has now; each call is a request."""
        return self._described()[1]

    def count_tokens(self, text: str) -> int:
        """See `Provence.count_tokens`; each call is a request."""
        answer = self._client.post("/v1/count_tokens", as_json({"texts": [check_text("text", text)]}))
        return read(answer, self._url, lambda content: int(content["counts"][0]))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self._url, **self._settings), ()

    def __repr__(self) -> str:
        return f"RemoteProvence({self._url!r})"

    def _described(self) -> tuple[ProvenceConfig, str | None, Limits]:
        return read(self._client.get("/info"), self._url, description)

    def _run(
        self,
        groups: Sequence[Sequence[Pair]],
        options: PruningOptions,
        ranking: Ranking,
        *,
        batch_size: int | None,
        progress: Progress | None,
    ) -> list[list[PrunedPassage]]:
        requests = requests_for(groups, options, ranking, self._limits)
        # Progress counts documents, since how many windows they have is not known here.
        counts = [sum(len(part.pairs) for part in request.parts) for request in requests]
        ends = np.cumsum([0, *counts]).tolist()
        numbers: Iterable[list[int]] = [list(range(*ends_of_one)) for ends_of_one in pairwise(ends)]
        numbers = progress(numbers, ends[-1]) if progress else numbers
        results: list[list[PrunedPassage]] = [[] for _ in groups]
        long_queries = set()
        for _, request in zip(numbers, requests, strict=True):
            try:
                answers = self._answers(request)
            except InvalidInputError as error:
                message = renumbered(str(error), request.parts, is_batch=len(groups) > 1)
                raise InvalidInputError(message) from error
            for part, passages, is_long in answers:
                results[part.group] += passages
                long_queries |= {part.pairs[0].query} if is_long else set()
        times = Counter(part.group for request in requests for part in request.parts)
        for group in (
            group for group, count in times.items() if count > 1
        ):  # which the server has not ranked
            results[group] = [results[group][number] for number in ranking.order(results[group])]
        found = (one.untrained_language for group in results for one in group)
        for language in sorted(set(filter(None, found))):
            warn_of_language(language, self._config.languages)
        if long_queries:
            warn_of_long_queries(len(long_queries), self._config.max_length // 2)
        return results

    def _answers(self, request: Request) -> list[tuple[Part, list[PrunedPassage], bool]]:
        """The parts of a request, each with its passages, and whether its query was too long to be read."""
        can_rank = self._config.can_rank

        def of_part(part: Part, values: Any) -> list[PrunedPassage]:
            places = [one["index"] for one in values]
            return [
                passage(one, part.pairs[place], part.start + place, can_rank=can_rank)
                for place, one in zip(places, values, strict=True)
            ]

        def parse(content: Any) -> list[tuple[Part, list[PrunedPassage], bool]]:
            long = {one["field"] for one in content.get("warnings", []) if one["type"] == "long_query"}
            several = len(request.parts) > 1
            results = content["results"] if several else [content["results"]]
            names = [f"query[{number}]" if several else "query" for number in range(len(request.parts))]
            return [
                (part, of_part(part, values), name in long)
                for part, values, name in zip(request.parts, results, names, strict=True)
            ]

        return read(self._client.post("/v1/prune", request.body), self._url, parse)
