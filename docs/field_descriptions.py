"""For the API reference: what a field means where that is said in code, not in a docstring, and its default.

The fields of the adapters are pydantic's, with a description; those of `PruningOptions` have an `Option`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import griffe

from provence_rag.options import OPTIONS, PruningOptions

_SHARED = ("AdapterFields", "ModelFields", "OptionFields", "ServerSettings")


class FieldDescriptions(griffe.Extension):
    """Reads both from the class itself."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Write them to the attributes of the class."""
        if not cls.is_exported and cls.name not in _SHARED:
            return
        fields = [attribute for attribute in cls.attributes.values() if attribute.annotation is not None]
        if not fields or not cls.module.path.startswith(("provence_rag", "langchain_", "llama_index_")):
            return
        value = getattr(import_module(cls.module.path), cls.name)
        for attribute in fields:
            if attribute.name in getattr(value, "model_fields", {}):
                field = value.model_fields[attribute.name]
                attribute.value = repr(field.default)
                attribute.docstring = griffe.Docstring(field.description or "", parent=attribute)
            elif value is PruningOptions:
                more = attribute.docstring.value if attribute.docstring else ""
                text = f"{OPTIONS[attribute.name].help}\n\n{more}"
                attribute.docstring = griffe.Docstring(text, parent=attribute)
