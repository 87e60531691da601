"""`ProvenceBatch`: columns of every kind in, columns of the same kind out."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from provence_rag import CheckpointError, InvalidInputError, Provence, PruningOptions
from provence_rag.batches import ProvenceBatch
from provence_rag.batches import batch as module
from provence_rag.testing import fake_provence

SKIP_HINT = " (skip_bad_rows=True or --skip-bad-rows writes null for such a row)"
TITLED = {"id": 7, "title": "Penguins", "text": "They swim. Penguins swim well."}


def test_the_columns_are_those_of_process(batch: ProvenceBatch, columns: dict[str, list[Any]]) -> None:
    before = copy.deepcopy(columns)
    found = batch(columns)
    assert columns == before
    assert list(found) == [*columns, "pruned_text", "kept_spans", "relevance_score"]
    assert {name: found[name] for name in columns} == columns
    for number, (query, text) in enumerate(zip(columns["question"], columns["passage"], strict=True)):
        (passage,) = fake_provence().process(query, [text])
        assert found["pruned_text"][number] == passage.text
        assert found["kept_spans"][number] == passage.kept_spans
        assert found["relevance_score"][number] == passage.score
    assert found["pruned_text"][0] == "Penguins live on ice."


def test_a_list_of_passages_has_lists_of_results(batch: ProvenceBatch, lists: dict[str, list[Any]]) -> None:
    found = batch(lists)
    assert found["pruned_text"] == [["Penguins live on ice.", ""], [], None]
    assert found["kept_spans"] == [[[[0, 21]], []], [], None]
    assert found["relevance_score"] == [
        [passage.score for passage in fake_provence().process(lists["question"][0], lists["passage"][0])],
        [],
        None,
    ]


def test_structs_have_titles_and_a_column_of_titles_comes_first() -> None:
    options = PruningOptions(keep_title=True)
    batch = ProvenceBatch("q", "d", model=fake_provence(), options=options)
    rows: dict[str, list[Any]] = {
        "q": ["swim"],
        "d": [[TITLED, {"page_content": "Fish swim.", "title": None}]],
    }
    own = fake_provence().process(
        "swim", [TITLED["text"], "Fish swim."], titles=["Penguins", None], options=options
    )
    assert batch(rows)["relevance_score"] == [[passage.score for passage in own]]
    assert batch({"q": ["swim"], "d": [TITLED]})["pruned_text"] == [own[0].text]

    seen: list[Any] = []

    class Recorder(Provence):
        def process_batch(self, *arguments: Any, **settings: Any) -> Any:
            seen.append(settings["titles"])
            return super().process_batch(*arguments, **settings)

    model = Recorder(fake_provence().engine)
    titled = ProvenceBatch("q", "d", titles="t", model=model)
    titled({**rows, "t": [["Birds", None]]})
    titled({**rows, "t": ["Both"]})
    titled({"q": ["swim"], "d": [TITLED], "t": [float("nan")]})
    titled({"q": ["swim"], "d": [[TITLED, TITLED]], "t": [["  ", "Birds"]]})
    assert seen == [[["Birds", None]], [["Both", "Both"]], [["Penguins"]], [["Penguins", "Birds"]]]


def test_sentence_scores_and_a_prefix(columns: dict[str, list[Any]]) -> None:
    batch = ProvenceBatch("question", "passage", model=fake_provence(), sentence_scores=True, prefix="p_")
    found = batch(columns)
    assert found["p_sentence_spans"][0] == [[0, 21], [22, 34]]
    kept, dropped = found["p_sentence_scores"][0]
    assert kept > dropped
    assert "p_pruned_text" in found


def test_pyarrow_has_types_that_do_not_depend_on_the_rows(
    batch: ProvenceBatch, columns: dict[str, list[Any]], lists: dict[str, list[Any]]
) -> None:
    pa = pytest.importorskip("pyarrow")
    spans = pa.list_(pa.list_(pa.int64()))
    for kind, documents in ((lambda one: one, columns), (pa.list_, lists)):
        table = pa.table(documents)
        empty = pa.schema([("question", pa.string()), ("passage", kind(pa.string()))]).empty_table()
        for given in (table, table.to_batches()[0], empty):
            found = batch(given)
            assert type(found) is type(given)
            assert found.schema.field("pruned_text").type == kind(pa.string())
            assert found.schema.field("kept_spans").type == kind(spans)
            assert found.schema.field("relevance_score").type == kind(pa.float64())
        assert batch(table).to_pydict() == batch(documents)
    for view in (pa.list_view, pa.large_list_view):
        passages = pa.array(lists["passage"], view(pa.string()))
        assert batch(pa.table({**lists, "passage": passages})).to_pydict() == batch(lists)
    large = pa.table({"question": ["q"], "passage": pa.array(["Tea."], pa.large_string())})
    assert batch(large).schema.field("pruned_text").type == pa.large_string()
    words = pa.array(["Tea."]).dictionary_encode()
    assert (
        batch(pa.table({"question": ["q"], "passage": words})).schema.field("pruned_text").type == pa.string()
    )


def test_pandas(batch: ProvenceBatch, columns: dict[str, list[Any]], lists: dict[str, list[Any]]) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(columns, index=[5, 5, 9])
    found = batch(frame)
    assert list(found.index) == [5, 5, 9]
    assert list(frame.columns) == list(columns)
    assert found.to_dict("list") == batch(columns)
    assert batch(pd.DataFrame(lists)).to_dict("list")["pruned_text"] == batch(lists)["pruned_text"]
    missing = pd.DataFrame({"question": ["q"] * 3, "passage": ["Tea.", float("nan"), pd.NA]})
    assert list(batch(missing)["kept_spans"][1:]) == [None, None]


def test_numpy(batch: ProvenceBatch, columns: dict[str, list[Any]], lists: dict[str, list[Any]]) -> None:
    found = batch({name: np.array(column) for name, column in columns.items()})
    assert {name: column.tolist() for name, column in found.items()} == batch(columns)
    assert found["relevance_score"].dtype == np.float64
    nested = {name: np.empty(3, dtype=object) for name in lists}
    for name, column in lists.items():
        for number, cell in enumerate(column):
            nested[name][number] = np.array(cell, dtype=object) if isinstance(cell, list) else cell
    assert batch(nested)["pruned_text"].tolist() == batch(lists)["pruned_text"]


def test_datasets(batch: ProvenceBatch, columns: dict[str, list[Any]]) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict(columns)
    found = dataset.map(batch, batched=True, batch_size=2)
    assert found.to_dict() == batch(columns)
    with_types = dataset.with_format("arrow").map(batch, batched=True, batch_size=1)
    assert with_types.with_format(None).to_dict() == batch(columns)
    hasher = datasets.fingerprint.Hasher
    named = ProvenceBatch("question", "passage", threads=1)
    assert hasher.hash(named) == hasher.hash(ProvenceBatch("question", "passage", threads=1))


def test_many_passages_take_several_calls_and_one_row_is_never_split(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Recorder(Provence):
        def process_batch(self, queries: Any, documents: Any, **settings: Any) -> Any:
            sizes.append(sum(map(len, documents)))
            return super().process_batch(queries, documents, **settings)

    monkeypatch.setattr(module, "PASSAGES_PER_CALL", 4)
    batch = ProvenceBatch("q", "d", model=Recorder(fake_provence().engine))
    counts = [1, 2, 2, 9, 0, 4]
    found = batch({"q": ["tea"] * 6, "d": [["Tea is hot."] * count for count in counts]})
    assert [len(cell) for cell in found["pruned_text"]] == counts
    assert sizes == [3, 2, 9, 4]


def test_a_budget_is_shared_by_the_passages_of_a_row() -> None:
    batch = ProvenceBatch("q", "d", model=fake_provence(), options=PruningOptions(max_tokens=4))
    found = batch({"q": ["tea"], "d": [["Tea is hot.", "Tea is green."]]})
    assert found["pruned_text"] == [["Tea is hot.", ""]]


# --- the model ---------------------------------------------------------------------------------------------


def test_the_model_is_loaded_once_per_process(
    monkeypatch: pytest.MonkeyPatch, columns: dict[str, list[Any]]
) -> None:
    loads: list[dict[str, Any]] = []

    def load(**settings: Any) -> Provence:
        loads.append(settings)
        return fake_provence()

    monkeypatch.setattr(module, "_models", [])
    batch = ProvenceBatch("question", "passage", model="owner/name", threads=1)
    pickled = pickle.dumps(batch)
    monkeypatch.setattr(Provence, "from_pretrained", load)
    for _ in range(3):  # as a worker of Spark does for each of its tasks
        worker = pickle.loads(pickled)
        assert worker(columns) == worker(columns)
    batch(columns)
    assert loads == [{"name_or_path": "owner/name", "threads": 1}]
    assert pickle.dumps(batch) == pickled  # which holds no model
    for name in "abcdef":
        ProvenceBatch("question", "passage", model=name)(columns)
    assert len(module._models) == 4


def test_a_loaded_model_goes_along(columns: dict[str, list[Any]], batch: ProvenceBatch) -> None:
    assert pickle.loads(pickle.dumps(batch))(columns) == batch(columns)


def test_the_bundled_model_in_another_process(columns: dict[str, list[Any]]) -> None:
    batch = ProvenceBatch("question", "passage", threads=1)
    load = "import json, pickle, sys; batch, columns = pickle.load(sys.stdin.buffer)"
    code = f"{load}; print(json.dumps(batch(columns)))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((batch, columns)), capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    own = batch(columns)
    assert found.pop("relevance_score") == pytest.approx(own.pop("relevance_score"))
    assert found == own


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"question": ["q", " ", "q"]},
            "row 1 of the batch: column 'question' is blank (' '): a query needs words",
        ),
        (
            {"question": ["q", "q", None]},
            "row 2 of the batch: column 'question' must be a string, got null",
        ),
        (
            {"question": "abc"},
            "column 'question' must be a list of cells, got str 'abc': put a single one into a list",
        ),
        (
            {"passage": ["a", "b", 3]},
            "row 2 of the batch: column 'passage': expected a string, or an object with text or page_content "
            "as a string, got a number",
        ),
        (
            {"passage": ["a", ["b", None], "c"]},
            "row 1 of the batch: column 'passage'[1]: expected a string, or an object with text or "
            "page_content as a string, got null",
        ),
        (
            {"passage": ["a", {"text": "b", "title": 1}, "c"]},
            "row 1 of the batch: column 'passage': title must be a string, got 1",
        ),
        (
            {"passage": ["a", "b"]},
            "the columns must have the same number of rows, got {'question': 3, 'passage': 2}",
        ),
        (
            {"kept_spans": [1, 2, 3]},
            "there is a column 'kept_spans' already: choose another prefix for the new columns",
        ),
    ],
)
def test_messages_name_column_and_row(
    batch: ProvenceBatch, columns: dict[str, list[Any]], changed: dict[str, list[Any]], message: str
) -> None:
    hint = SKIP_HINT if message.startswith("row ") else ""
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message + hint)}$"):
        batch({**columns, **changed})


def test_bad_rows_can_be_skipped(columns: dict[str, list[Any]], lists: dict[str, list[Any]]) -> None:
    batch = ProvenceBatch("question", "passage", model=fake_provence(), skip_bad_rows=True)
    bad = {
        "question": [None, *columns["question"]],
        "passage": ["a", *columns["passage"]],
        "id": [0, 1, 2, 3],
    }
    bad["question"][2] = " "
    with pytest.warns(UserWarning, match="^not pruned: ") as warned:
        found = batch(bad)
    assert [str(one.message) for one in warned] == [
        "not pruned: row 0 of the batch: column 'question' must be a string, got null",
        "not pruned: row 2 of the batch: column 'question' is blank (' '): a query needs words",
    ]
    good = ProvenceBatch("question", "passage", model=fake_provence())(columns)
    for name in ("pruned_text", "kept_spans", "relevance_score"):
        assert found[name] == [None, good[name][0], None, good[name][2]]
    with pytest.warns(UserWarning, match="column 'passage'"):
        assert batch({**lists, "passage": [["a", 3], [], None]})["pruned_text"] == [None, [], None]
    with pytest.warns(UserWarning, match=r"\(also row 1 of the batch, row 2 of the batch\)$"):
        assert batch({**columns, "question": [1, 2, 3]})["kept_spans"] == [None, None, None]
    named = ", ".join(f"row {number} of the batch" for number in range(1, 10))
    with pytest.warns(UserWarning, match=rf"got null \(also {named}, 1,990 more\)$"):
        batch({"question": [None] * 2000, "passage": ["a"] * 2000})


def test_bad_rows_are_grouped_by_what_is_wrong() -> None:
    batch = ProvenceBatch("q", "d", model=fake_provence(), skip_bad_rows=True)
    queries = [None, 1, None, *(" " * width for width in range(1, 21)), 2]
    with pytest.warns(UserWarning, match="^not pruned: ") as warned:
        batch({"q": queries, "d": ["a"] * len(queries)})
    messages = [str(one.message) for one in warned]
    null = "not pruned: row 0 of the batch: column 'q' must be a string, got null"
    assert messages[0] == f"{null} (also row 1 of the batch, row 2 of the batch, row 23 of the batch)"
    blank = "column 'q' is blank (' '): a query needs words"
    assert messages[1] == f"not pruned: row 3 of the batch: {blank}"
    last = "not pruned: row 12 of the batch: cannot be read, for another reason than the rows above (also "
    assert messages[10].startswith(last)
    assert len(messages) == 11


def test_titles_that_do_not_fit() -> None:
    batch = ProvenceBatch("q", "d", titles="t", model=fake_provence())
    with pytest.raises(
        InvalidInputError,
        match=r"^row 0 of the batch: column 't' must have a title for each of the 2 documents, got 1 \(",
    ):
        batch({"q": ["q"], "d": [["a", "b"]], "t": [["c"]]})
    with pytest.raises(
        InvalidInputError, match=r"^row 0 of the batch: column 't' must hold titles, got int 3 as number 1 \("
    ):
        batch({"q": ["q"], "d": [["a", "b"]], "t": [["c", 3]]})


def test_what_is_no_batch(batch: ProvenceBatch) -> None:
    with pytest.raises(InvalidInputError, match=r"^there is no column 'passage', only 'question', 'text'$"):
        batch({"question": [], "text": []})
    with pytest.raises(InvalidInputError, match=r"^a batch must be a dict of columns, .* got str 'text'"):
        batch("text")
    twice = r"^there are 2 columns 'passage': rename all but one of them$"
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(InvalidInputError, match=twice):
        batch(pa.table([["q"], ["a"], ["b"]], names=["question", "passage", "passage"]))
    pd = pytest.importorskip("pandas")
    with pytest.raises(InvalidInputError, match=twice):
        batch(pd.DataFrame([["q", "a", "b"]], columns=["question", "passage", "passage"]))


def test_wrong_arguments_are_refused_before_any_worker_starts() -> None:
    with pytest.raises(TypeError, match="thread"):
        ProvenceBatch(thread=1)
    with pytest.raises(InvalidInputError, match=r"^batch_size must be an integer >= 1, got 0$"):
        ProvenceBatch(batch_size=0)
    with pytest.raises(InvalidInputError, match=r"^backend must be"):
        ProvenceBatch(backend="jax")
    with pytest.raises(InvalidInputError, match=r"^token would be part of the pickle: set the environment"):
        ProvenceBatch(token="secret")
    with pytest.raises(InvalidInputError, match=r"^score_cache must be the path of a file, got ' '$"):
        ProvenceBatch(score_cache=" ")
    url = "http://127.0.0.1:9"
    with pytest.raises(InvalidInputError, match=r"^api_key would be part of.*PROVENCE_API_KEY$"):
        ProvenceBatch(model=url, api_key="secret")
    with pytest.raises(
        InvalidInputError, match=r"^threads, score_cache cannot be set for a model on a server"
    ):
        ProvenceBatch(model=url, threads=1, score_cache=10, device=None, backend="auto")
    with pytest.raises(InvalidInputError, match=r"^url must be like http://host:8000"):
        ProvenceBatch(model="http://")
    with pytest.raises(InvalidInputError, match=r"^threads cannot be set on a loaded model"):
        ProvenceBatch(model=fake_provence(), threads=1)
    with pytest.raises(InvalidInputError, match=r"^options must be a PruningOptions, got dict"):
        ProvenceBatch(options={"threshold": 0.5})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="only ranks"):
        ProvenceBatch(model=fake_provence(can_prune=False), options=PruningOptions(threshold=0.5))(
            {"query": ["q"], "documents": ["a"]}
        )
