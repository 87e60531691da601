"""The response synthesizer: retrieved nodes and a question in, an answer with citations out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any, Literal

from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    StreamingResponse,
)
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.response_synthesizers import CompactAndRefine
from llama_index.core.schema import NodeWithScore, QueryType, TextNode

from llama_index_provence.nodes import text_of
from provence_rag import InvalidInputError
from provence_rag.prompting import (
    CitedReply,
    ContextPassage,
    Order,
    PromptContext,
    build_context,
    citation_messages,
    resolve_citations,
)

__all__ = ["ProvenceSynthesizer", "cited_reply", "context_passage"]

_CONTEXT = "prompt_context"
_CITATIONS = "citations"

_ANSWER = {"en": "Answer: ", "ja": "回答: "}
_REFINE = {
    "en": """\
Answer so far: {existing_answer}

Refine it with these further sources and keep its citations. If they add nothing, repeat it.""",
    "ja": """\
これまでの回答: {existing_answer}

追加の出典を使って回答を改善し、既存の番号は残してください。役に立たない場合はそのまま繰り返してください。""",
}


def context_passage(
    item: NodeWithScore, *, record_key: str = "provence", title_key: str | None = None
) -> ContextPassage:
    """What `build_context` needs to know of a node, pruned by `ProvencePostprocessor` or not.

    Args:
        item: The node with its score.
        record_key: Metadata key of the record of what was kept.
        title_key: Metadata key of a title that the prompt shows; None is no title.
    """
    metadata = item.node.metadata
    title = metadata.get(title_key) if title_key else None
    return ContextPassage.from_record(
        metadata.get(record_key),
        text=text_of(item.node),
        id=item.node.node_id,
        title=title if isinstance(title, str) else None,
        score=None if item.score is None else float(item.score),
    )


def cited_reply(response: RESPONSE_TYPE) -> CitedReply:
    """The answer of a `ProvenceSynthesizer`, with what it cites. A stream is read to its end.

    Raises:
        InvalidInputError: The response was made by something else, or without nodes.
    """
    if isinstance(response, AsyncStreamingResponse) and response.response_txt is None:
        raise InvalidInputError(
            "the response has not arrived: give cited_reply(await response.get_response())"
        )
    metadata = response.metadata or {}
    if _CONTEXT not in metadata:
        raise InvalidInputError(
            f"response.metadata has no {_CONTEXT!r}: it was not made by ProvenceSynthesizer, or without nodes"
        )
    return resolve_citations(str(response), PromptContext.from_dict(metadata[_CONTEXT]))


class ProvenceSynthesizer(CompactAndRefine):
    """Answer from numbered sources, with citations, in one call of the language model.

    The nodes are put together by `provence_rag.prompting.build_context`: numbered, without repetitions,
    within a budget. Only if the context is longer than the model's window is it read in parts, as in
    LlamaIndex's `compact` mode; to avoid that, set `max_tokens`.

    The response's metadata also hold

    - `citations`: for each citation its `start` and `end` in the answer, its `numbers`, those that do not
      exist (`unknown`), and the `spans` of the documents; with streaming, once the stream has ended;
    - `prompt_context`: the context, as `PromptContext.to_dict()`.

    `cited_reply(response)` makes a `CitedReply` of them.

    Args:
        max_tokens: Maximum length of the context in tokens; None is no limit.
        order: `best-first`, `edges` or `given`; see `build_context`.
        template: How a source looks; see `build_context`.
        count_tokens: Counts tokens for `max_tokens`; None is the tokenizer of the bundled checkpoint.
        language: Language of the instructions, if `text_qa_template` is None.
        title_key: Metadata key of a title for `{title}` in `template`.
        record_key: Metadata key of the record of what was kept.
        text_qa_template: A prompt with {context_str} and {query_str}; None tells the model to cite.
        refine_template: A prompt with {existing_answer}, {context_msg} and {query_str}.
        **kwargs: Other arguments of LlamaIndex's `CompactAndRefine`, such as `llm` and `streaming`.

    Example:
        ```python
        from llama_index_provence import ProvencePostprocessor, ProvenceSynthesizer

        engine = index.as_query_engine(
            node_postprocessors=[ProvencePostprocessor(top_n=3)], response_synthesizer=ProvenceSynthesizer()
        )
        print(engine.query(question).metadata["citations"])
        ```

    Raises:
        InvalidInputError: An argument has a value that cannot be used.
    """

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        order: Order = "best-first",
        template: str | None = None,
        count_tokens: Callable[[str], int] | None = None,
        language: Literal["en", "ja"] = "en",
        title_key: str | None = None,
        record_key: str = "provence",
        text_qa_template: BasePromptTemplate | None = None,
        refine_template: BasePromptTemplate | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("multimodal"):
            raise InvalidInputError("multimodal=True: sources of a prompt with citations are texts")
        if language not in _ANSWER:
            raise InvalidInputError(f"language must be one of {', '.join(_ANSWER)}, got {language!r}")
        self._options: dict[str, Any] = {
            "max_tokens": max_tokens,
            "order": order,
            "template": template,
            "count_tokens": count_tokens,
        }
        self._record_key, self._title_key = record_key, title_key
        self._context([])  # refuses what it would refuse at the first query
        super().__init__(
            text_qa_template=text_qa_template or _qa_template(language),
            refine_template=refine_template or _refine_template(language),
            **kwargs,
        )

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes."""
        context = self._context(nodes)
        response = super().synthesize(query, _as_node(context), additional_source_nodes, **response_kwargs)
        return self._cited(response, context, nodes, additional_source_nodes)

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes."""
        # Counting tokens may load a tokenizer, or ask a server.
        context = await asyncio.to_thread(self._context, nodes)
        response = await super().asynthesize(
            query, _as_node(context), additional_source_nodes, **response_kwargs
        )
        return self._cited(response, context, nodes, additional_source_nodes)

    def _context(self, nodes: Sequence[NodeWithScore]) -> PromptContext:
        return build_context(
            [context_passage(item, record_key=self._record_key, title_key=self._title_key) for item in nodes],
            **self._options,
        )

    def _cited(
        self,
        response: RESPONSE_TYPE,
        context: PromptContext,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore] | None,
    ) -> RESPONSE_TYPE:
        """Put the nodes back in place of the context that was read, and the citations into the metadata."""
        response.source_nodes = [*nodes, *(additional or [])]
        metadata: dict[str, Any] = (
            self._get_metadata_for_response([n.node for n in response.source_nodes]) or {}
        )
        response.metadata = metadata
        if not context.sources:
            return response
        metadata[_CONTEXT] = context.to_dict()

        def resolve(reply: str) -> None:
            metadata[_CITATIONS] = resolve_citations(reply, context).to_dict()["citations"]

        if isinstance(response, StreamingResponse):
            response.response_gen = _watched(response.response_gen, resolve)
        elif isinstance(response, AsyncStreamingResponse):
            response.response_gen = _awatched(response.response_gen, resolve)
        elif not isinstance(response, PydanticResponse):
            resolve(response.response or "")
        return response


def _as_node(context: PromptContext) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=context.text))] if context.sources else []


def _watched(
    tokens: Generator[str, None, None], resolve: Callable[[str], None]
) -> Generator[str, None, None]:
    reply = ""
    for token in tokens:
        reply += token
        yield token
    resolve(reply)


async def _awatched(
    tokens: AsyncGenerator[str, None], resolve: Callable[[str], None]
) -> AsyncGenerator[str, None]:
    reply = ""
    async for token in tokens:
        reply += token
        yield token
    resolve(reply)


def _qa_template(language: Literal["en", "ja"]) -> PromptTemplate:
    system, user = citation_messages("{query_str}", "{context_str}", language=language)
    return PromptTemplate("\n\n".join([system["content"], user["content"], _ANSWER[language]]))


def _refine_template(language: Literal["en", "ja"]) -> PromptTemplate:
    system, user = citation_messages("{query_str}", "{context_msg}", language=language)
    parts = [system["content"], user["content"], _REFINE[language], _ANSWER[language]]
    return PromptTemplate("\n\n".join(parts))
