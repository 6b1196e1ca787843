"""One client, however many costly requests it sends, does not keep the others waiting."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from functools import partial
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune_export import Classifier
from crosstune_export.serve.api import in_turns
from crosstune_export.serve.capacity import Capacity
from crosstune_export.serve.fair_pool import FairPool
from crosstune_export.serve.http_errors import HttpError
from tests.crosstune_export.serve.conftest import PATIENCE_S, fetch

pytestmark = pytest.mark.fault("L16")
GREEDY, OTHER = "127.0.0.1", "127.0.0.2"


def request_from(address: str, url: str, texts: list[str]) -> int:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S, source_address=(address, 0))
    try:
        connection.request("POST", "/v1/classify", json.dumps({"texts": texts}), {"content-type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on every address of 127.0.0.0/8")
def test_the_requests_of_another_client_come_in_between(in_thread, clients):
    """The one that is sent last, by another client, is answered while most of the others wait."""
    server = in_thread(max_pending_texts=200)
    texts = ["where is my parcel and my money " * 500] * 10
    with server.busy():
        greedy = [clients.submit(request_from, GREEDY, server.url, texts) for _ in range(12)]
        server.wait_until(lambda: server.state.pending_texts.pending == 120)
        other = clients.submit(request_from, OTHER, server.url, ["parcel"])
        server.wait_until(lambda: server.state.pending_texts.pending == 121)
    assert other.result() == 200
    assert server.state.pending_texts.pending > 60
    assert {job.result() for job in greedy} == {200}


def test_a_client_below_its_share_is_admitted_beyond_the_limit():
    capacity = Capacity(12, "texts")
    capacity.acquire(GREEDY, 12)
    with pytest.raises(HttpError, match="12 texts are pending, expected at most 12"):
        capacity.acquire(GREEDY, 1)
    with pytest.raises(HttpError):
        capacity.require_room(GREEDY)
    capacity.require_room(OTHER)
    with pytest.raises(HttpError):
        capacity.acquire(OTHER, 7)  # its share of 12 among two is 6
    with capacity.hold(OTHER, 6):
        assert capacity.pending == 18
        with pytest.raises(HttpError):
            capacity.acquire(OTHER, 1)
        capacity.acquire("third", 4)
        with pytest.raises(HttpError):
            capacity.acquire("fourth", 3)  # within its share, beyond twice the limit
    capacity.release(GREEDY, 12)
    capacity.acquire(GREEDY, 8)
    assert capacity.pending == 12


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans())))
def test_what_is_released_can_be_acquired_again(steps):
    capacity = Capacity(10, "texts")
    held: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for client, amount, release in steps:
        if release and held[client]:
            capacity.release(client, held[client].pop())
            continue
        try:
            capacity.acquire(client, amount)
            held[client].append(amount)
        except HttpError:
            assert capacity.pending + amount > 10
        assert capacity.pending == sum(map(sum, held.values())) <= 20
    for client, amounts in held.items():
        for amount in amounts:
            capacity.release(client, amount)
    capacity.acquire("d", 10)


def run_in_order(threads: int, clients: str, cancelled: tuple[int, ...] = ()) -> str:
    """The order in which a pool runs requests of these clients that come at once, after a first one that holds its threads."""
    order: list[str] = []

    async def all_of_them() -> None:
        pool = FairPool(threads, "test")
        holds = [asyncio.ensure_future(pool.run("first", partial(time.sleep, 0.05))) for _ in range(threads)]
        await asyncio.sleep(0)
        jobs = [asyncio.ensure_future(pool.run(client, partial(order.append, client))) for client in clients]
        await asyncio.sleep(0)
        for index in cancelled:
            jobs[index].cancel()
        await asyncio.gather(*holds, *jobs, return_exceptions=True)
        pool.executor.shutdown()

    asyncio.run(all_of_them())
    return "".join(order)


@pytest.mark.parametrize(
    ("clients", "order"), [("aaaa", "aaaa"), ("aaaab", "abaaa"), ("aaabbbc", "abcabab"), ("abcabc", "abcabc")]
)
def test_clients_take_turns(clients, order):
    assert run_in_order(1, clients) == order


def test_a_request_that_is_cancelled_while_it_waits_gives_its_turn_away():
    assert run_in_order(1, "abab", cancelled=(0, 1)) == "ab"
    assert run_in_order(1, "aa", cancelled=(0, 1)) == ""


def test_a_call_that_runs_too_long():
    async def call() -> str:
        pool = FairPool(1, "test", timeout_s=0.05)
        with pytest.raises(TimeoutError):
            await pool.run("a", *[partial(time.sleep, 0.02)] * 20)
        pool.executor.shutdown()
        return "done"

    assert asyncio.run(call()) == "done"


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], [[]]),
        ([20_000], [[20_000]]),
        ([8_000, 8_384, 1], [[8_000, 8_384], [1]]),
        ([0] * 33, [[0] * 32, [0]]),
        ([20_000, 1], [[20_000], [1]]),
    ],
)
def test_many_long_texts_take_several_turns(sizes, parts):
    assert [[len(text) for text in part] for part in in_turns(["a" * size for size in sizes])] == parts
    pairs = in_turns([["a" * 9_000, "b"], ["a", "b" * 9_000]])
    assert [len(part) for part in pairs] == [1, 1]


@pytest.mark.parametrize(
    "texts",
    [
        ["where is my parcel " * 800, "the invoice is wrong", "thanks, this is great " * 700, "where is my parcel"],
        ["where is my parcel", "the invoice is wrong", "thanks"] * 25,
    ],
    ids=["long", "many"],
)
def test_several_turns_are_bit_for_bit_several_calls(in_thread, tiny_bundle_dir, texts):
    assert len(in_turns(texts)) > 1
    classifier = Classifier.load(tiny_bundle_dir)
    calls = [answer for part in in_turns(texts) for answer in classifier.classify(part)]
    body = fetch(in_thread(max_texts=100).url, "POST", "/v1/classify", {"texts": texts})[2]
    assert body["answers"] == [answer.to_json(classifier.labels) for answer in calls]
    assert len({answer.label for answer in calls}) > 1


def test_a_pool_that_is_closed_between_two_calls():
    """As when the server ends during a request of many texts."""

    async def run() -> None:
        pool = FairPool(1, "test")
        await pool.run("a", pool.close, lambda: 1)

    with pytest.raises(
        HttpError, match=r"^server: it is shutting down\. Send the request to another server, or later\.$"
    ):
        asyncio.run(run())


def test_a_pool_that_is_closed_before_a_thread_begins_the_call():
    async def closed_while_it_waits() -> None:
        pool, release = FairPool(1, "test"), threading.Event()
        pool.executor.submit(release.wait)  # the thread is busy
        waiting = asyncio.ensure_future(pool.run("a client", lambda: 1))
        await asyncio.sleep(0.01)
        pool.close()
        release.set()
        await waiting

    with pytest.raises(HttpError, match="server: it is shutting down") as caught:
        asyncio.run(closed_while_it_waits())
    assert caught.value.status == 503
