"""The synthesizer in real query engines; only the models are small."""

from __future__ import annotations

import json
from threading import Thread, current_thread
from typing import Any

import pytest
from llama_index.core import PromptHelper, PromptTemplate, VectorStoreIndex
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata, MockLLM
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode

from llama_index_provence import ProvencePostprocessor, ProvenceSynthesizer, cited_reply
from provence_rag import InvalidInputError, Provence

QUERY = "Where do penguins live?"
TEXTS = {
    "birds": "Penguins live in Antarctica. The market fell today. Penguins live on ice.",
    "music": "Music was loud. Many penguins swim. Penguins live on ice!",
    "cars": "My car has new tyres.",
}
PIECES = ["On ice ", "[", "1], ", "maybe [4]."]


class ScriptedLLM(CustomLLM):
    """Says the same to everything."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        return CompletionResponse(text="".join(PIECES))

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponseGen:
        def pieces() -> CompletionResponseGen:
            for number, piece in enumerate(PIECES, start=1):
                yield CompletionResponse(text="".join(PIECES[:number]), delta=piece)

        return pieces()


@pytest.fixture
def engine(model: Provence, embedding: BaseEmbedding) -> Any:
    """Makes a query engine with a synthesizer of these options."""
    nodes = [TextNode(id_=id_, text=text, metadata={"file": f"{id_}.md"}) for id_, text in TEXTS.items()]
    index = VectorStoreIndex(nodes, embed_model=embedding)

    def engine(llm: Any = None, **options: Any) -> Any:
        llm = llm or ScriptedLLM()
        return index.as_query_engine(
            llm=llm,
            similarity_top_k=3,
            node_postprocessors=[ProvencePostprocessor(model=model)],
            response_synthesizer=ProvenceSynthesizer(llm=llm, **options),
        )

    return engine


def assert_cited(response: Any) -> None:
    assert [item.node_id for item in response.source_nodes] == ["birds", "music"]
    assert response.metadata["birds"]["file"] == "birds.md"
    (first, second) = response.metadata["citations"]
    assert (first["numbers"], first["unknown"]) == ([1], [])
    assert (second["numbers"], second["unknown"]) == ([], [4])
    assert [(span["id"], span["start"], span["end"]) for span in first["spans"]] == [
        ("birds", 0, 28),
        ("birds", 52, 73),
        ("music", 36, 57),
    ]
    for span in first["spans"]:
        assert TEXTS[span["id"]][span["start"] : span["end"]] == span["text"]
    json.dumps(response.metadata)
    reply = cited_reply(response)
    assert reply.text == "".join(PIECES)
    assert reply.to_dict()["citations"] == response.metadata["citations"]


async def test_query_engine(engine: Any) -> None:
    for response in (engine().query(QUERY), await engine().aquery(QUERY)):
        assert type(response) is Response
        assert_cited(response)


def test_streaming(engine: Any) -> None:
    response = engine(streaming=True).query(QUERY)
    assert type(response) is StreamingResponse
    assert "citations" not in response.metadata
    assert list(response.response_gen) == PIECES
    assert len(response.metadata["citations"]) == 2
    assert_cited(engine(streaming=True).query(QUERY).get_response())


async def test_asynchronous_streaming(engine: Any) -> None:
    response = await engine(streaming=True).aquery(QUERY)
    assert type(response) is AsyncStreamingResponse
    with pytest.raises(
        InvalidInputError, match=r"^the response has not arrived: give cited_reply\(await resp"
    ):
        cited_reply(response)
    assert [token async for token in response.async_response_gen()] == PIECES
    assert_cited(response)
    assert_cited(await (await engine(streaming=True).aquery(QUERY)).get_response())


async def test_a_context_is_built_outside_the_event_loop(engine: Any) -> None:
    threads: list[Thread] = []

    def count_tokens(text: str) -> int:
        threads.append(current_thread())
        return len(text.split())

    asked = engine(max_tokens=100, count_tokens=count_tokens)
    threads.clear()  # the options were checked
    assert_cited(await asked.aquery(QUERY))
    assert threads
    assert current_thread() not in threads


def test_nodes_pruned_to_the_same_words_about_different_things(model: Provence) -> None:
    nodes = [
        NodeWithScore(node=TextNode(id_=name, text=f"{name} are big animals. They live there in winter."))
        for name in ("Seals", "Bears")
    ]
    found = ProvencePostprocessor(model=model).postprocess_nodes(nodes, query_str=QUERY)
    assert {item.node.get_content() for item in found} == {"They live there in winter."}
    reply = cited_reply(ProvenceSynthesizer(llm=ScriptedLLM()).synthesize(QUERY, found))
    spans = [[span.id for span in source.spans] for source in reply.context.sources]
    assert spans == [["Seals"], ["Bears"]]


def test_a_budget_takes_the_best_sentences(model: Provence) -> None:
    nodes = [NodeWithScore(node=TextNode(text="Fish swim below. Penguins live there."))]
    postprocessor = ProvencePostprocessor(model=model, threshold=0.0, sentence_scores=True)
    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    options = {"max_tokens": 5, "count_tokens": lambda text: len(text.split())}
    response = ProvenceSynthesizer(llm=ScriptedLLM(), **options).synthesize(QUERY, found)
    assert cited_reply(response).context.text == "[1] Penguins live there."


def test_what_the_model_reads(engine: Any) -> None:
    prompt = str(engine(MockLLM()).query(QUERY))
    assert prompt.endswith(
        "Sources:\n\n[1] Penguins live in Antarctica. Penguins live on ice.\n\n[2] Many penguins swim.\n\n"
        f"Question: {QUERY}\n\nAnswer: "
    )
    assert "[1, 3]" in prompt
    assert ".md" not in prompt
    assert "角括弧" in str(engine(MockLLM(), language="ja").query(QUERY))


def test_white_space_and_braces_of_texts_stay() -> None:
    data = '{\n  "penguins": {\n    "live": "{context_str}"\n  }\n}'
    nodes = [NodeWithScore(node=TextNode(text=data))]
    response = ProvenceSynthesizer(llm=MockLLM()).synthesize(f"{QUERY} {{x}}", nodes)
    assert f"[1]\n{data}\n\nQuestion: {QUERY} {{x}}" in str(response)


def test_options(engine: Any) -> None:
    llm = MockLLM()
    options = {"template": "[{number}] {title}: {text}", "title_key": "file", "order": "given"}
    template = PromptTemplate("{context_str} | {query_str}")
    response = engine(
        llm, max_tokens=7, count_tokens=lambda text: len(text.split()), text_qa_template=template, **options
    ).query(QUERY)
    assert str(response) == f"[1] birds.md: Penguins live in Antarctica. | {QUERY}"
    left_out = response.metadata["prompt_context"]["left_out"]
    assert [span["text"] for span in left_out] == ["Penguins live on ice.", "Many penguins swim."]


def test_a_context_longer_than_the_window_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []
    complete = ScriptedLLM.complete

    def recording(self: ScriptedLLM, prompt: str, **options: Any) -> CompletionResponse:
        prompts.append(prompt)
        return complete(self, prompt, **options)

    monkeypatch.setattr(ScriptedLLM, "complete", recording)
    nodes = [NodeWithScore(node=TextNode(text=f"Penguin number {n} lives on ice.")) for n in range(300)]
    helper = PromptHelper(context_window=2500, num_output=100)
    response = ProvenceSynthesizer(llm=ScriptedLLM(), prompt_helper=helper).synthesize(QUERY, nodes)
    assert len(prompts) > 1
    assert all(f"[{n + 1}] Penguin number {n} lives" in "".join(prompts) for n in range(300))
    assert prompts[0].startswith("Answer the question with the numbered sources")
    assert f"Answer so far: {''.join(PIECES)}" in prompts[1]
    assert len(response.metadata["citations"]) == 2


def test_additional_nodes_and_images_are_sources_without_numbers() -> None:
    image = NodeWithScore(node=ImageNode(id_="image", image_url="x.png"))
    text = NodeWithScore(node=TextNode(id_="text", text="Penguins live on ice."))
    further = NodeWithScore(node=TextNode(id_="further", text="Fish swim."))
    response = ProvenceSynthesizer(llm=ScriptedLLM()).synthesize(
        QUERY, [image, text], additional_source_nodes=[further]
    )
    assert [item.node_id for item in response.source_nodes] == ["image", "text", "further"]
    assert [source.id for source in cited_reply(response).sources] == ["text"]


@pytest.mark.parametrize("streaming", [False, True])
def test_nothing_retrieved(streaming: bool) -> None:
    response = ProvenceSynthesizer(llm=ScriptedLLM(), streaming=streaming).synthesize(QUERY, [])
    assert str(response) == "Empty Response"
    with pytest.raises(
        InvalidInputError, match=r"^response.metadata has no 'prompt_context': it was not made by"
    ):
        cited_reply(response)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be an integer >= 1, got 0"),
        ({"template": "{text}"}, "template must show the number as"),
        ({"language": "fr"}, "language must be one of en, ja, got 'fr'"),
        ({"multimodal": True}, "multimodal=True: sources of a prompt with citations are texts"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        ProvenceSynthesizer(llm=MockLLM(), **options)
    assert str(error.value).startswith(message)
