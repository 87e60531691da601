"""How nodes are read and written: copies only, and nothing stale in them."""

from __future__ import annotations

from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, Node, NodeWithScore

from provence_rag import PrunedPassage

__all__ = ["has_text", "pruned", "text_of"]

# What no longer holds once the text is another.
_STALE = ("embedding", "text_embedding", "start_char_idx", "end_char_idx")


def text_of(node: BaseNode) -> str:
    """Return the node's own text; every other mode would bake its metadata into it."""
    return node.get_content(metadata_mode=MetadataMode.NONE)


def has_text(node: BaseNode) -> bool:
    """Whether there is anything to read in the node; images and index nodes often have nothing."""
    return bool(text_of(node).strip())


def pruned(
    item: NodeWithScore, passage: PrunedPassage, metadata: dict[str, Any], *, keep_retrieval_score: bool
) -> NodeWithScore:
    """Return a copy of the node with the passage's text and score, and with metadata about both."""
    added = dict(metadata)
    if keep_retrieval_score and item.score is not None:
        added["retrieval_score"] = float(item.score)
    node = _with_metadata(item.node, added)
    if passage.text != passage.document:
        node = _with_text(node, passage.text)
    return item.model_copy(update={"node": node, "score": added.get("relevance_score", item.score)})


def _with_metadata(node: BaseNode, added: dict[str, Any]) -> BaseNode:
    """Add metadata that neither the language model nor the embedding model shall read."""
    return node.model_copy(
        update={
            "metadata": {**node.metadata, **added},
            "excluded_llm_metadata_keys": _union(node.excluded_llm_metadata_keys, added),
            "excluded_embed_metadata_keys": _union(node.excluded_embed_metadata_keys, added),
        }
    )


def _union(keys: list[str], added: dict[str, Any]) -> list[str]:
    return [*keys, *(key for key in added if key not in keys)]


def _with_text(node: BaseNode, text: str) -> BaseNode:
    update: dict[str, Any] = {name: None for name in _STALE if name in type(node).model_fields}
    if isinstance(node, Node) and node.text_resource is not None:
        # set_content() would throw away the resource's path, url and MIME type.
        update["text_resource"] = node.text_resource.model_copy(update={"text": text, "embeddings": None})
        return node.model_copy(update=update)
    copy = node.model_copy(update=update)
    copy.set_content(text)
    return copy
