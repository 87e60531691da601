"""Who is served next, and what becomes of those who cannot be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from provence_rag import Provence, PruningOptions
from provence_rag.inference.engine import Engine, Pair, ScoredPair
from provence_rag.ranking import Ranking
from provence_rag.server.failures import RequestError
from provence_rag.server.jobs import LONG as LONG_PAIR
from provence_rag.server.jobs import Answer, Job
from provence_rag.server.metrics import Metrics
from provence_rag.server.scheduler import TURN, Scheduler

from .conftest import slow_model

QUERY = "When was the tower finished?"
TOWER = "The tower was finished in 1889. Cats sleep."
LONG = f"{TOWER} " * (TURN // len(TOWER))  # one of these is a turn
BOOK = f"{TOWER} " * (LONG_PAIR // len(TOWER))  # read apart from others


class Gate(Engine):
    """An engine whose calls wait until the test lets them go, and are written down."""

    def __init__(self, engine: Engine) -> None:
        self.__dict__.update(engine.__dict__)
        self.calls: list[list[str]] = []
        self.permits = threading.Semaphore(0)
        self.error: Exception | None = None

    def score(self, pairs: Sequence[Pair], **settings: Any) -> list[ScoredPair]:
        self.calls.append([pair.query for pair in pairs])
        assert self.permits.acquire(timeout=300)
        if self.error is not None:
            raise self.error
        return super().score(pairs, **settings)


@pytest.fixture
def gate(model: Provence) -> Gate:
    return Gate(model.engine)


Start = Callable[..., Scheduler]


@pytest.fixture
def start(gate: Gate) -> Iterator[Start]:
    running = []

    def start(capacity: int = 10**9, sharing: bool = False) -> Scheduler:
        scheduler = Scheduler(gate, capacity=capacity, sharing=sharing, metrics=Metrics())
        scheduler.start()
        running.append(scheduler)
        return scheduler

    yield start
    gate.permits.release(1000)
    for scheduler in running:
        scheduler.stop()


def job(query: str, *documents: str, options: PruningOptions | None = None, **ranking: Any) -> Job:
    pairs = [Pair(query, document) for document in documents]
    return Job([pairs], options or PruningOptions(), Ranking(**ranking))


async def result(of: Job) -> Answer:
    return await asyncio.wait_for(of.answers[0], 300)


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), 300)


async def test_a_small_request_does_not_wait_for_all_of_a_large_one(gate: Gate, start: Start) -> None:
    scheduler = start()
    large, small, other = job("large", *[LONG] * 5), job("small", TOWER), job("other", LONG, LONG)
    for one in (large, small, other):
        scheduler.submit(one)
    gate.permits.release(100)
    await asyncio.gather(*map(result, (large, small, other)))
    assert [call[0] for call in gate.calls] == [
        "large", "small", "other", "large", "other", "large", "large", "large"
    ]  # fmt: skip


@pytest.mark.parametrize("sharing", [False, True])
async def test_answers_do_not_depend_on_turns(
    model: Provence, gate: Gate, start: Start, sharing: bool
) -> None:
    scheduler = start(sharing=sharing)
    documents = [LONG, TOWER, "", BOOK, LONG[:300], BOOK[9:], TOWER * 300]
    options = PruningOptions(max_tokens=50)
    jobs = [
        job(QUERY, *documents, options=options, top_k=3),
        job(QUERY, TOWER, "Tea."),
        job("cats", TOWER, options=options, reorder=True),
        job("cats"),
    ]
    for one in jobs:
        scheduler.submit(one)
    gate.permits.release(100)
    answers = await asyncio.gather(*map(result, jobs))
    assert answers[0].passages == model.process(QUERY, documents, options=options, top_k=3)
    assert answers[0].tokens_in == sum(p.num_tokens for p in model.process(QUERY, documents, options=options))
    assert answers[1].passages == model.process(QUERY, [TOWER, "Tea."])
    assert answers[2].passages == model.process("cats", [TOWER], options=options, reorder=True)
    assert answers[3].passages == []


async def test_nobody_waits_for_a_long_document(gate: Gate, start: Start) -> None:
    scheduler = start(sharing=True)
    go_on = threading.Event()
    score = gate.score

    def hold_books(pairs: Sequence[Pair], **settings: Any) -> list[ScoredPair]:
        assert len(pairs[0].document) < LONG_PAIR or (len(pairs) == 1 and go_on.wait(300))
        return score(pairs, **settings)

    gate.score = hold_books  # type: ignore[method-assign]
    gate.permits.release(100)
    book, mixed, second = job("book", BOOK), job("mixed", TOWER, BOOK, TOWER), job("second", BOOK)
    for one in (book, mixed, second):
        scheduler.submit(one)
    for number in range(3):
        scheduler.submit(small := job(f"small {number}", TOWER))
        assert (await result(small)).passages
    assert not any(one.is_done for one in (book, mixed, second))
    stopping = threading.Thread(target=scheduler.stop)
    stopping.start()
    await until(lambda: not scheduler.is_ready)
    go_on.set()
    assert [len((await result(one)).passages) for one in (book, mixed, second)] == [1, 3, 1]
    stopping.join()


async def test_reading_ends_when_nobody_waits_for_it(start: Start, gate: Gate) -> None:
    slow, backend = slow_model(0.05)
    gate.__dict__.update(slow.engine.__dict__)
    backend.passes = 1
    gate.permits.release(100)
    scheduler = start()
    for documents in ([BOOK], [LONG]):
        scheduler.submit(given_up := job("book", *documents))
        before = backend.passes
        await until(lambda before=before: backend.passes > before)  # type: ignore[misc]
        scheduler.cancel(given_up)
        scheduler.submit(following := job("following", *documents, options=PruningOptions(mode="off")))
        after = backend.passes
        assert (await result(following)).passages
        whole = backend.passes - after
        scheduler.submit(again := job("again", *documents))
        assert (await result(again)).passages
        assert whole <= backend.passes - after - whole + 2  # at most two passes of what was given up


async def test_small_requests_share_a_turn_if_they_may(gate: Gate, start: Start) -> None:
    scheduler = start(sharing=True)
    first = job("first", TOWER)
    scheduler.submit(first)
    await until(lambda: len(gate.calls) == 1)  # has its turn while the others come
    others = [job("a", TOWER), job("b", TOWER), job("other language", TOWER), job("c", TOWER)]
    others[2].options = PruningOptions(language="en")
    for one in others:
        scheduler.submit(one)
    gate.permits.release(100)
    await asyncio.gather(*map(result, [first, *others]))
    assert gate.calls == [["first"], ["a", "b", "c"], ["other language"]]


async def test_too_many_are_refused_and_told_when_to_come_back(gate: Gate, start: Start) -> None:
    scheduler = start(capacity=3 * TURN)
    too_large = job("alone", *[LONG] * 9)
    scheduler.submit(too_large)  # nobody else waits
    with pytest.raises(RequestError) as caught:
        scheduler.submit(job("small", TOWER))
    assert caught.value.status_code == 429
    assert int(caught.value.headers["Retry-After"]) >= 1
    gate.permits.release(100)
    await result(too_large)
    await until(lambda: scheduler._unread == 0)
    scheduler.submit(last := job("small", TOWER))
    await result(last)


async def test_requests_without_documents_do_not_count_as_slow(gate: Gate, start: Start) -> None:
    scheduler = start(capacity=1)
    gate.permits.release(100)
    for _ in range(100):
        scheduler.submit(empty := job("empty"))
        await result(empty)
    scheduler.submit(job("running", LONG, LONG))
    with pytest.raises(RequestError) as caught:
        scheduler.submit(job("small", TOWER))
    assert int(caught.value.headers["Retry-After"]) < 10


async def test_a_request_that_is_given_up_frees_its_place(gate: Gate, start: Start) -> None:
    scheduler = start(capacity=3 * TURN)
    running, waiting = job("running", LONG, LONG), job("waiting", TOWER)
    scheduler.submit(running)
    await until(lambda: len(gate.calls) == 1)
    scheduler.submit(waiting)
    before = scheduler._unread
    scheduler.cancel(waiting)
    assert scheduler._unread < before
    scheduler.cancel(running)  # its turn ends, and it gets no other one
    gate.permits.release(100)
    await until(lambda: scheduler._unread == 0)
    assert gate.calls == [["running"]]


async def test_an_error_is_that_of_one_request(
    gate: Gate, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = start()
    gate.error = MemoryError("a passage about towers")
    scheduler.submit(failing := job(QUERY, TOWER))
    gate.permits.release()
    with pytest.raises(RequestError) as caught:
        await result(failing)
    assert caught.value.status_code == 500
    assert "MemoryError" in caplog.text
    assert "towers" not in caplog.text + caught.value.detail
    gate.error = None
    scheduler.submit(wrong := job(QUERY, TOWER, options=PruningOptions(language="xx")))
    scheduler.submit(right := job(QUERY, TOWER))
    gate.permits.release(100)
    with pytest.raises(RequestError, match="language must be") as caught:
        await result(wrong)
    assert caught.value.status_code == 422
    assert (await result(right)).passages


async def test_what_was_accepted_is_answered_before_the_end(gate: Gate, start: Start) -> None:
    scheduler = start()
    jobs = [job(QUERY, LONG, TOWER), job(QUERY, TOWER)]
    for one in jobs:
        scheduler.submit(one)
    stopping = threading.Thread(target=scheduler.stop)
    stopping.start()
    await until(lambda: not scheduler.is_ready)
    with pytest.raises(RequestError) as caught:
        scheduler.submit(job(QUERY, TOWER))
    assert caught.value.status_code == 503
    gate.permits.release(100)
    assert [len((await result(one)).passages) for one in jobs] == [2, 1]
    stopping.join()
