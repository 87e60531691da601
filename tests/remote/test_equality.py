"""A model on a server gives what the same model gives in this process."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pytest

from provence_rag import (
    CheckpointError,
    InvalidInputError,
    LanguageWarning,
    Provence,
    PrunedPassage,
    PruningOptions,
    RemoteProvence,
)
from provence_rag.inference import notices
from provence_rag.testing import fake_provence

QUERY = "When was the paper coffee filter patented?"
FILTER = "Early filters were of linen. Melitta Bentz patented the paper filter in 1908. It can be composted."
TABLE = (
    "| Product | Patented |\n| --- | --- |\n| paper coffee filter | 1908 |\n| umbrella | 1852 |\n| zip |  |"
)
FUJI = "富士山は活火山である。標高は3776メートルで、日本で最も高い。世界文化遺産に登録された。"
LIST = "# Coffee 😀\n\nThe filter was patented as follows:\n\n- in 1908 in Germany\n- in 1910 elsewhere 👩‍🚀"
DOCUMENTS = [FILTER, "Tea is grown in Assam.", TABLE, " \n", LIST, FUJI, '[{"a": "filter"}, {"a": "zip"}]']
TITLES = ["Coffee filter", None, "Patents", "nothing", " ", None, None]
JAPANESE = "富士山の標高は何メートルですか。"


@pytest.fixture(scope="module")
def local() -> Provence:
    return Provence.from_pretrained(threads=1)


@pytest.fixture(scope="module")
def remote(serve: Callable[..., str], local: Provence) -> Provence:
    return RemoteProvence(serve(local), timeout=600)  # machines that run tests are busy


def assert_same(found: Any, expected: Any) -> None:
    """Equal, but for the last digits of probabilities, which depend on the shape of a batch."""
    if isinstance(expected, PrunedPassage):
        assert isinstance(found, PrunedPassage)
        assert_same(asdict(found), asdict(expected))
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    elif isinstance(expected, float):
        assert isinstance(found, float)
        assert found == pytest.approx(expected, abs=1e-5)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "options",
    [
        None,
        PruningOptions(keep_answers=0.9, keep_title=True),
        PruningOptions(threshold=0.2, context_before=1, min_sentences=1),
        PruningOptions(ratio=0.5, keep_together=False, language="en"),
        PruningOptions(max_tokens=20, threshold=0.001, keep_headings=True),
        PruningOptions(mode="off"),
    ],
    ids=str,
)
@pytest.mark.parametrize("query", [QUERY, JAPANESE])
def test_process(local: Provence, remote: Provence, query: str, options: PruningOptions | None) -> None:
    settings: dict[str, Any] = {"titles": TITLES, "options": options, "reorder": True}
    assert_same(remote.process(query, DOCUMENTS, **settings), local.process(query, DOCUMENTS, **settings))


@pytest.mark.parametrize(
    "ranking",
    [{}, {"top_k": 2}, {"score_threshold": 0.5}, {"score_threshold": 1.0, "min_documents": 1, "top_k": 3}],
    ids=str,
)
def test_the_choice_of_documents(local: Provence, remote: Provence, ranking: dict[str, Any]) -> None:
    assert_same(remote.process(QUERY, DOCUMENTS, **ranking), local.process(QUERY, DOCUMENTS, **ranking))


def test_documents_that_the_caller_has_split(local: Provence, remote: Provence) -> None:
    documents = [["富士山は高い。", "標高は3776メートルである。"], FUJI, ["一つだけ。"], []]
    settings: dict[str, Any] = {"separator": "", "options": PruningOptions(threshold=0.3)}
    found = remote.process(JAPANESE, documents, **settings)
    assert_same(found, local.process(JAPANESE, documents, **settings))
    assert found[0].document == "富士山は高い。標高は3776メートルである。"


def test_lone_surrogates_come_back_as_they_were(local: Provence, remote: Provence) -> None:
    documents = ["The filter\ud800 was patented in 1908. It is \udfffround.", "\ud83d"]
    found = remote.process(f"{QUERY}\udc00", documents, titles=["\ud800 Filter", None])
    assert_same(found, local.process(f"{QUERY}\udc00", documents, titles=["\ud800 Filter", None]))
    assert found[0].document == documents[0]


def test_process_batch(local: Provence, remote: Provence) -> None:
    queries, documents = [QUERY, JAPANESE, "Is tea hot?"], [DOCUMENTS, [FUJI, FILTER], []]
    titles = [TITLES, [None, "Filter"], []]
    settings: dict[str, Any] = {"titles": titles, "top_k": 3}
    found = remote.process_batch(queries, documents, **settings)
    assert_same(found, local.process_batch(queries, documents, **settings))
    assert remote.process_batch([], []) == []
    assert remote.process(QUERY, []) == []


def test_the_other_methods(local: Provence, remote: Provence) -> None:
    pairs = [(QUERY, text) for text in DOCUMENTS]
    assert remote.predict(pairs).tolist() == pytest.approx(local.predict(pairs).tolist(), abs=1e-5)
    assert remote.predict(pairs[0]) == pytest.approx(local.predict(pairs[0]), abs=1e-5)
    assert_same(remote.rank(QUERY, DOCUMENTS, 3, True), local.rank(QUERY, DOCUMENTS, 3, True))
    assert remote.prune(QUERY, FILTER, 0.5) == local.prune(QUERY, FILTER, 0.5)
    assert_same(
        remote.prune(QUERY, FILTER, return_scores=True), local.prune(QUERY, FILTER, return_scores=True)
    )
    settings: dict[str, Any] = {"pruning_mode": "threshold", "pruning_threshold": 0.1}
    arguments = [QUERY, JAPANESE], [FILTER, FUJI]
    assert_same(
        asdict(remote.predict_with_pruning(*arguments, **settings)),
        asdict(local.predict_with_pruning(*arguments, **settings)),
    )
    for text in ("", FILTER, FUJI, "\ud800 half"):
        assert remote.count_tokens(text) == local.count_tokens(text)
    assert remote.config == local.config


def test_a_document_that_is_not_read_has_no_finite_logit(remote: Provence) -> None:
    (passage,) = remote.process(QUERY, [" "])
    assert (passage.score, passage.logit, passage.sentences) == (0.0, -math.inf, ())


@pytest.mark.parametrize("heads", [{"can_prune": False}, {"can_rank": False}], ids=str)
def test_models_with_one_head(serve: Callable[..., str], heads: dict[str, bool]) -> None:
    local = fake_provence(**heads)
    remote = Provence.from_pretrained(serve(local))
    assert_same(remote.process(QUERY, DOCUMENTS), local.process(QUERY, DOCUMENTS))
    method = (
        (lambda model: model.prune(QUERY, FILTER))
        if "can_prune" in heads
        else (lambda model: model.rank(QUERY, [FILTER]))
    )
    messages = []
    for model in (local, remote):
        with pytest.raises(CheckpointError) as caught:
            method(model)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_query_in_a_foreign_language_warns_here(remote: Provence, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "Когда был запатентован фильтр?"
    monkeypatch.setattr(notices, "_warned", {"ru"})  # in the server's threads, which this process has too
    passages = remote.process(query, [FILTER])
    assert passages[0].untrained_language == "ru"
    monkeypatch.setattr(notices, "_warned", set())
    with pytest.warns(LanguageWarning, match="'ru'"):
        remote.process(query, [FILTER])


def test_a_query_that_is_too_long_warns_here(remote: Provence) -> None:
    queries = ["filter " * 300, "patent " * 300, QUERY]
    with pytest.warns(UserWarning, match="longer than half of the window") as caught:
        remote.process_batch(queries, [[FILTER, FILTER], [FILTER], [FILTER]])
    here = [str(warning.message) for warning in caught if warning.filename == __file__]
    assert len(here) == 1
    assert here[0].startswith("2 queries are longer than half of the window: only the first 256 tokens are")


@pytest.mark.filterwarnings("ignore:1 query is longer than half of the window")
def test_a_long_query(local: Provence, remote: Provence) -> None:
    query = "filter patent " * 4000
    assert_same(remote.process(query, DOCUMENTS), local.process(query, DOCUMENTS))


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.process(QUERY, [FILTER], options=PruningOptions(language="xx")),
        lambda model: model.process(QUERY, [FILTER], options=PruningOptions(keep_answers=0.9999)),
        lambda model: model.process(" ", [FILTER]),
        lambda model: model.process_batch([QUERY], [[FILTER, 3]]),
        lambda model: model.process(QUERY, [FILTER], top_k=0),
        lambda model: model.process(QUERY, [FILTER], batch_size=0),
        lambda model: model.rank(QUERY, "text"),
    ],
)
def test_errors_are_those_of_a_model_in_this_process(
    local: Provence, remote: Provence, call: Callable[[Provence], Any]
) -> None:
    with pytest.raises(InvalidInputError) as here:
        call(local)
    with pytest.raises(InvalidInputError) as there:
        call(remote)
    assert str(there.value) == str(here.value)


def test_threads_share_a_model(fake: Provence, fake_url: str) -> None:
    remote = Provence.from_pretrained(fake_url)
    texts = [f"The filter number {number} was patented. It is round." for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: remote.process(QUERY, [text]), texts))
    assert_same(found, [fake.process(QUERY, [text]) for text in texts])


def test_copies_and_pickles_work(fake: Provence, fake_url: str) -> None:
    remote = RemoteProvence(fake_url, timeout=7, retries=1)
    assert copy.deepcopy(remote) is remote
    loaded = pickle.loads(pickle.dumps(remote))
    assert isinstance(loaded, RemoteProvence)
    assert loaded.url == remote.url == fake_url
    assert_same(loaded.process(QUERY, DOCUMENTS), fake.process(QUERY, DOCUMENTS))


def test_the_progress_bar_goes_by_documents(fake_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    Provence.from_pretrained(fake_url).process(QUERY, DOCUMENTS, show_progress=True)
    assert capsys.readouterr().out == ""
