"""The options of the command line that the library defines."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from provence_rag.options import OPTIONS, PruningOptions

__all__ = ["choice", "with_pruning_options"]


def choice(values: Any, help: str) -> Any:  # noqa: A002 - typer's name for it
    """An option with one of the values of a `Literal`. The library checks it, as it does for every caller."""
    return typer.Option(parser=str, metavar="|".join(get_args(values)), help=help)


def with_pruning_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `PruningOptions`, in place of its argument `options`."""
    signature = inspect.signature(command, eval_str=True)
    types = get_type_hints(PruningOptions)
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(PruningOptions, name),
            annotation=Annotated[types[name], _option(name, types[name])],
        )
        for name in OPTIONS
    ]

    @wraps(command)
    def wrapped(**arguments: Any) -> None:
        options = PruningOptions(**{name: arguments.pop(name) for name in OPTIONS})
        command(**arguments, options=options)

    parameters = []
    for parameter in signature.parameters.values():
        parameters += added if parameter.name == "options" else [parameter]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return wrapped


def _option(name: str, kind: Any) -> Any:
    text = OPTIONS[name].help
    for one in (kind, *get_args(kind)):
        if get_origin(one) is Literal:
            return choice(one, text)
    if kind is bool and not getattr(PruningOptions, name):  # without a --no- form: that is the default
        return typer.Option(f"--{name.replace('_', '-')}", help=text)
    return typer.Option(help=text)
