"""How nodes are read and written: as copies, with nothing stale in them."""

from __future__ import annotations

from typing import Any

from llama_index.core.schema import BaseNode, ImageNode, IndexNode, MetadataMode, Node, NodeWithScore

from provence_rag import PrunedPassage

__all__ = ["is_passage", "pruned", "text_of"]

# What no longer holds once the text has changed. A node's hash needs no clearing: it is always computed anew.
_STALE = ("embedding", "text_embedding", "start_char_idx", "end_char_idx")


def text_of(node: BaseNode) -> str:
    """Return the node's own text; every other mode would bake its metadata into it."""
    return node.get_content(metadata_mode=MetadataMode.NONE)


def is_passage(node: BaseNode) -> bool:
    """Whether the node is judged by its text: it has some, or it has nothing else either."""
    return bool(text_of(node).strip()) or not _has_more_than_text(node)


def _has_more_than_text(node: BaseNode) -> bool:
    if isinstance(node, Node):
        return any([node.image_resource, node.audio_resource, node.video_resource])
    return isinstance(node, (ImageNode, IndexNode))


def pruned(
    item: NodeWithScore, passage: PrunedPassage, added: dict[str, Any], score: float | None
) -> NodeWithScore:
    """Return a copy of the node with the passage's text, more metadata and another score.

    Args:
        item: The retrieved node with its score.
        passage: The pruned passage of the node's text.
        added: What is added to the node's metadata.
        score: The new score.
    """
    node = _with_metadata(item.node, added)
    if passage.text != passage.document:
        node = _with_text(node, passage.text)
    return item.model_copy(update={"node": node, "score": score})


def _with_metadata(node: BaseNode, added: dict[str, Any]) -> BaseNode:
    """Copy a node and add metadata that neither the language model nor the embedding model reads."""
    return node.model_copy(
        update={
            "metadata": {**node.metadata, **added},
            "excluded_llm_metadata_keys": _union(node.excluded_llm_metadata_keys, added),
            "excluded_embed_metadata_keys": _union(node.excluded_embed_metadata_keys, added),
            "relationships": dict(node.relationships),
        }
    )


def _union(keys: list[str], added: dict[str, Any]) -> list[str]:
    return [*keys, *(key for key in added if key not in keys)]


def _with_text(node: BaseNode, text: str) -> BaseNode:
    """Copy a node with a new text, and clear what holds for the old text only."""
    update: dict[str, Any] = {name: None for name in _STALE if name in type(node).model_fields}
    if isinstance(node, Node) and node.text_resource is not None:
        # set_content() would throw away the resource's path, url and MIME type.
        update["text_resource"] = node.text_resource.model_copy(update={"text": text, "embeddings": None})
        return node.model_copy(update=update)
    copy = node.model_copy(update=update)
    copy.set_content(text)
    return copy
