"""The prompt: retrieved documents and a question in, messages with numbered sources out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import ConfigDict, Field, SkipValidation, model_validator
from typing_extensions import Self

from provence_rag import InvalidInputError
from provence_rag.prompting import (
    ContextPassage,
    Order,
    PromptContext,
    PromptLanguage,
    build_context,
    citation_messages,
)

__all__ = ["CitationPromptValue", "ProvencePrompt", "context_passage"]

_QUESTION_KEYS = ("question", "input", "query")
_DOCUMENT_KEYS = ("documents", "context")


def context_passage(
    document: Document,
    *,
    score_key: str = "relevance_score",
    record_key: str = "provence",
    title_key: str | None = None,
    id_key: str | None = None,
) -> ContextPassage:
    """What `build_context` needs to know of a document, pruned by `ProvenceCompressor` or not.

    Args:
        document: The document.
        score_key: Metadata key of the relevance score; what is not a real number is no score.
        record_key: Metadata key of the record of what was kept.
        title_key: Metadata key of a title that the prompt shows; None is no title.
        id_key: Metadata key of the id that citations name; None is `document.id`.
    """
    metadata = document.metadata
    score = metadata.get(score_key)
    title = metadata.get(title_key) if title_key else None
    return ContextPassage.from_record(
        metadata.get(record_key),
        text=document.page_content,
        id=document.id if id_key is None else metadata.get(id_key),
        title=title if isinstance(title, str) else None,
        score=float(score) if isinstance(score, Real) and not isinstance(score, bool) else None,
    )


class CitationPromptValue(PromptValue):
    """A prompt, with the context that `resolve_citations` needs to read the reply."""

    value: PromptValue
    """The prompt itself."""

    context: PromptContext
    """Its context."""

    def to_string(self) -> str:
        """Return the prompt as a string."""
        return self.value.to_string()

    def to_messages(self) -> list[BaseMessage]:
        """Return the prompt as messages."""
        return self.value.to_messages()


class ProvencePrompt(RunnableSerializable[dict[str, Any], CitationPromptValue]):
    """Make a prompt from a question and retrieved documents, as numbered sources.

    The input is a dictionary with the question under `question`, `input` or `query`, and the documents under
    `documents` or `context`, as `create_retrieval_chain` passes them on. Documents are put together by
    `provence_rag.prompting.build_context`: numbered, without repetitions, within a budget.

    The prompt value has the context as `.context`, for `resolve_citations(reply, value.context)`.

    Example:
        ```python
        from operator import itemgetter

        from langchain_core.output_parsers import StrOutputParser
        from langchain_core.runnables import RunnablePassthrough
        from langchain_provence import ProvencePrompt
        from provence_rag.prompting import resolve_citations

        chain = (
            RunnablePassthrough.assign(documents=itemgetter("question") | retriever)
            .assign(prompt=ProvencePrompt(max_tokens=1000))
            .assign(answer=itemgetter("prompt") | chat_model | StrOutputParser())
        )
        result = chain.invoke({"question": question})
        reply = resolve_citations(result["answer"], result["prompt"].context)
        ```

    Raises:
        pydantic.ValidationError: A field is unknown or has a value that cannot be used.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    # pydantic would make a new one of the parametrised class, which is abstract.
    prompt: SkipValidation[BasePromptTemplate[Any] | None] = Field(
        default=None,
        description="A template with {context} and anything else in the input; the question is there as "
        "{question} and {input}. None is `citation_messages`, which tells the model to cite.",
    )
    language: PromptLanguage = Field(
        default="auto", description="Language of the instructions, without a prompt of your own."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Maximum length of the context in tokens; None is no limit."
    )
    citations: bool = Field(default=True, description="Whether sources have numbers.")
    order: Order = Field(default="best-first", description="best-first, edges or given.")
    template: str | None = Field(default=None, description="How a source looks; see `build_context`.")
    count_tokens: Callable[[str], int] | None = Field(
        default=None,
        description="Counts tokens for `max_tokens`, such as a chat model's `get_num_tokens`; None is the "
        "tokenizer of the bundled checkpoint.",
    )
    title_key: str | None = Field(default=None, description="Metadata key of a title for `{title}`.")
    id_key: str | None = Field(
        default=None, description="Metadata key of the id that citations name; None is the document's id."
    )
    score_key: str = Field(default="relevance_score", description="Metadata key of the relevance score.")
    record_key: str = Field(default="provence", description="Metadata key of the record of what was kept.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._context([])
        if self.prompt is None:
            if not self.citations:
                raise InvalidInputError(
                    "citations=False needs a prompt of your own: the usual one asks for numbers"
                )
        elif not isinstance(self.prompt, BasePromptTemplate):
            raise InvalidInputError(f"prompt must be a prompt template, got a {type(self.prompt).__name__}")
        elif "context" not in self.prompt.input_variables:
            names = ", ".join(self.prompt.input_variables) or "none"
            raise InvalidInputError(f"prompt must have the variable {{context}}, its variables are: {names}")
        return self

    def invoke(
        self,
        input: dict[str, Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> CitationPromptValue:
        """Make the prompt.

        Raises:
            InvalidInputError: The input lacks the question or the documents, or holds something else.
        """
        return self._call_with_config(self._prompt_value, input, config, run_type="prompt")

    def _prompt_value(self, inputs: dict[str, Any]) -> CitationPromptValue:
        question = _value(inputs, _QUESTION_KEYS, "the question")
        documents = _value(inputs, _DOCUMENT_KEYS, "the documents")
        # A document is iterable, as every pydantic model is.
        if isinstance(documents, (str, bytes, Mapping, Document)) or not isinstance(documents, Iterable):
            raise InvalidInputError(
                f"input must hold the documents as a list, got a {type(documents).__name__}: put a single "
                "one into a list, and do not join them before the prompt as create_stuff_documents_chain does"
            )
        context = self._context(documents)
        if self.prompt is None:
            system, user = citation_messages(question, context, language=self.language)
            messages = [SystemMessage(system["content"]), HumanMessage(user["content"])]
            return CitationPromptValue(value=ChatPromptValue(messages=messages), context=context)
        names = {"question": question, "input": question}
        value = self.prompt.invoke({**names, **inputs, "context": context.text})
        return CitationPromptValue(value=value, context=context)

    def _context(self, documents: Iterable[Any]) -> PromptContext:
        keys = {name: getattr(self, name) for name in ("score_key", "record_key", "title_key", "id_key")}
        return build_context(
            [context_passage(one, **keys) if isinstance(one, Document) else one for one in documents],
            max_tokens=self.max_tokens,
            citations=self.citations,
            order=self.order,
            template=self.template,
            count_tokens=self.count_tokens,
        )


def _value(inputs: Any, keys: Sequence[str], what: str) -> Any:
    if not isinstance(inputs, Mapping):
        raise InvalidInputError(f"input must be a dictionary, got a {type(inputs).__name__}")
    found = next((inputs[key] for key in keys if key in inputs), None)
    if found is None:
        raise InvalidInputError(f"input must hold {what} under {' or '.join(keys)}, has {', '.join(inputs)}")
    return found
