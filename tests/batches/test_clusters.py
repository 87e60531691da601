"""`ProvenceBatch` on a real Ray and a real Spark on this machine; skipped where they are not installed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provence_rag.batches import ProvenceBatch
from provence_rag.testing import fake_provence

ROOT = Path(__file__).parents[2]
ROWS = [
    {"question": f"Where is owl{i % 7}?", "passage": f"Owl{i % 5} is in tree{i}. It rains.", "id": i}
    for i in range(40)
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}

# These libraries and what they start warn of themselves.
pytestmark = pytest.mark.filterwarnings("default")


def python_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def block_with(text: str) -> str:
    """The example of the guide that has this text."""
    page = (ROOT / "docs" / "batches.md").read_text(encoding="utf-8")
    (found,) = [
        block for block in re.findall(r"^```py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE) if text in block
    ]
    return str(found)


def by_id(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    rows = sorted(rows, key=lambda row: row["id"])
    return {name: [row[name] for row in rows] for name in rows[0]}


def plain(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns without numpy's arrays."""
    import numpy as np

    def listed(cell: Any) -> Any:
        if isinstance(cell, (list, np.ndarray)):
            return [listed(one) for one in cell]
        return cell.item() if isinstance(cell, np.generic) else cell

    return {name: [listed(cell) for cell in column] for name, column in found.items()}


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=4,  # two for actors, the others for reading and writing
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_the_example_of_the_guide(ray: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    columns = {("passages" if name == "passage" else name): column for name, column in COLUMNS.items()}
    (tmp_path / "corpus").mkdir()
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "corpus" / "part.parquet")
    code = block_with("read_parquet").replace("s3://", f"{tmp_path}/").replace("size=16", "size=2")
    exec(code, {"ray": ray, "ProvenceBatch": ProvenceBatch})
    found = by_id(pyarrow.parquet.read_table(tmp_path / "pruned").to_pylist())
    expected = ProvenceBatch("question", "passages", threads=1)(columns)
    assert found.pop("relevance_score") == pytest.approx(expected.pop("relevance_score"), abs=1e-5)
    assert found == expected


class Once:
    """A `ProvenceBatch` whose first actor dies at its first batch."""

    def __init__(self, died: str) -> None:
        self._died = Path(died)
        self._batch = ProvenceBatch("question", "passage", model=fake_provence())

    def __call__(self, batch: Any) -> Any:
        if not self._died.exists():
            self._died.touch()
            os._exit(1)
        return self._batch(batch)


@pytest.mark.slow
def test_ray_gives_the_results_of_one_process(ray: Any) -> None:
    expected = ProvenceBatch("question", "passage", threads=1)(COLUMNS)
    for batch_format in ("pyarrow", "numpy", "pandas"):
        found = (
            ray.data.from_items(ROWS, override_num_blocks=4)
            .map_batches(
                ProvenceBatch,
                fn_constructor_kwargs={"query": "question", "documents": "passage", "threads": 1},
                batch_format=batch_format,
                batch_size=8,
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(size=2),
            )
            .take_all()
        )
        columns = plain(by_id(found))
        assert columns.pop("relevance_score") == pytest.approx(expected["relevance_score"], abs=1e-5)
        assert columns == {name: column for name, column in expected.items() if name != "relevance_score"}


@pytest.mark.slow
def test_an_actor_that_dies_loses_nothing(ray: Any, tmp_path: Path) -> None:
    died = tmp_path / "died"
    found = (
        ray.data.from_items(ROWS, override_num_blocks=8)
        .map_batches(
            Once,
            fn_constructor_args=(str(died),),
            batch_format="pyarrow",
            batch_size=5,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=2),
        )
        .take_all()
    )
    assert died.exists()
    assert by_id(found) == ProvenceBatch("question", "passage", model=fake_provence())(COLUMNS)


def test_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    monkeypatch.setenv("PYTHONPATH", python_path())
    try:
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        spark = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    except PySparkRuntimeError as error:
        pytest.skip(f"no Java: {error}")
    try:
        frame = spark.createDataFrame(ROWS).withColumnRenamed("passage", "passages")
        names: dict[str, Any] = {"ProvenceBatch": ProvenceBatch, "frame": frame}
        exec(block_with("mapInPandas"), names)
        found = plain(by_id([row.asDict() for row in names["pruned"].collect()]))
        expected = ProvenceBatch("question", "passage", threads=1)(COLUMNS)
        for name in ("pruned_text", "kept_spans"):
            assert found[name] == expected[name]
        assert found["relevance_score"] == pytest.approx(expected["relevance_score"], abs=1e-5)

        batch = ProvenceBatch("question", "passage", model=fake_provence())

        lists = [
            {"question": "penguins", "id": i, "passage": [{"text": "Penguins swim. It rains."}]}
            for i in (0, 1)
        ]
        columns = "question string, id long, passage array<struct<text: string, title: string>>"
        nested = spark.createDataFrame(lists, columns)
        types = (
            "pruned_text array<string>, kept_spans array<array<array<bigint>>>, relevance_score array<double>"
        )
        schema = f"{columns}, {types}"
        rows = nested.mapInPandas(batch.map, schema).collect()
        assert [list(row["pruned_text"]) for row in rows] == [["Penguins swim."]] * 2
        rows = nested.mapInArrow(batch.map, schema).collect()
        assert [list(row["pruned_text"]) for row in rows] == [["Penguins swim."]] * 2
    finally:
        spark.stop()
