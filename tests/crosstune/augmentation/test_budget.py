"""Prices, estimates, and a cap that holds."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies as st

from crosstune.augmentation.budget import FREE, Budget, Price, price_of, read_cap, read_prices
from crosstune.core.errors import ConfigError

CENTS = st.integers(0, 500).map(lambda cents: Decimal(cents) / 100)


@hypothesis.given(
    CENTS,
    st.lists(st.tuples(CENTS, st.integers(0, 100), st.integers(0, 3)), min_size=1, max_size=30),
    st.integers(1, 8),
)
def test_the_cap_holds_at_every_instant(cap, requests, workers):
    """For any concurrent requests and any costs, reserved and spent money never exceed the cap."""

    async def run() -> tuple[Decimal, list[bool]]:
        budget = Budget(cap)
        held = Decimal(0)
        queue = iter(requests)
        granted = []

        async def work() -> None:
            nonlocal held
            for most, percent, pauses in queue:
                ok = await budget.reserve(most)
                granted.append(ok)
                if not ok:
                    continue
                held += most
                assert budget.spent + held <= cap
                for _ in range(pauses):
                    await asyncio.sleep(0)
                held -= most
                await budget.settle(most, most * percent / 100)
                assert budget.spent + held <= cap

        await asyncio.wait_for(asyncio.gather(*(work() for _ in range(workers))), 60)
        return budget.spent, granted

    spent, granted = asyncio.run(run())
    assert len(granted) == len(requests)
    assert spent <= cap
    assert all(granted) or sum(most for most, _, _ in requests) > cap


def test_no_cap_grants_everything():
    async def run() -> bool:
        return await Budget(None).reserve(Decimal(10**9))

    assert asyncio.run(run())


def test_prices_by_model(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text('["writer/large"]\nprompt = 0.15\nanswer = 0.6\n[free]\nprompt = 0\nanswer = 0\n', "utf-8")
    prices = read_prices(path)
    assert prices == {"writer/large": Price(Decimal("0.15"), Decimal("0.6")), "free": FREE}
    assert price_of("writer/large", prices, on_this_machine=True).cost(1_000_000, 500_000) == Decimal("0.45")
    assert price_of("other", prices, on_this_machine=True) == FREE
    assert price_of("other", prices, on_this_machine=False) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\n", "model 'a', expected a table of prompt and answer, in US dollars per million tokens."),
        ("[a]\nprompt = 1\n", "model 'a', expected a table of prompt and answer, in US dollars per million tokens."),
        ("[a]\nprompt = -1\nanswer = 1\n", "a: prompt: found -1, expected US dollars, 0 to 1000000."),
        ("[a]\nprompt = true\nanswer = 1\n", "a: prompt: found True, expected US dollars, 0 to 1000000."),
        ('[a]\nprompt = 1\nanswer = "x"\n', "a: answer: found 'x', expected US dollars, 0 to 1000000."),
        ("[a]\nprompt = nan\nanswer = 1\n", "a: prompt: found nan, expected US dollars, 0 to 1000000."),
    ],
)
def test_prices_that_are_none(tmp_path, text, message):
    path = tmp_path / "prices.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_prices(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "1e400", "ten", ""])
def test_caps_that_are_none(amount):
    with pytest.raises(ConfigError) as caught:
        read_cap(amount)
    assert str(caught.value) == f"max-cost: found {amount!r}, expected US dollars, 0 to 1000000."


# Through the command line


@pytest.fixture
def prices(task):
    path = task.folder / "prices.toml"
    path.write_text("[tiny-writer]\nprompt = 10\nanswer = 1000\n", "utf-8")
    return path


def test_the_run_stops_at_the_cap_and_says_so(augment, server, prices):
    """An answer is $0.051; one under way may cost $0.256 for its 256 tokens and some more for its prompt."""
    running = server()
    ran = augment(running, prices=prices, max_cost="1.00", per_label=100, concurrency=4)
    assert ran.code == 0
    assert ran.account["cost_usd"] == pytest.approx(0.051 * len(running.requests))
    assert 0.70 < ran.account["cost_usd"] <= 1.00
    assert ran.account["rejected"]["over the cap"] == 300 - 5 * len(running.requests)
    again = augment(running, "--force", prices=prices, max_cost="0.10", per_label=100)
    assert again.account["answers"]["from_cache"] == len(running.requests) - again.account["answers"]["bought"]
    assert again.account["cost_usd"] == 0


def test_what_may_have_been_billed_counts_against_the_cap(augment, server, prices):
    from tests.fixtures.llm_server import Reply, completion, good

    half = Reply(body=completion("x").body[:40], announced=4000)
    running = server(lambda number, request: half if number == 0 else good(request))
    ran = augment(running, prices=prices, max_cost="0.60", per_label=5, concurrency=1)
    assert ran.code == 0
    assert ran.account["cost_usd"] > 0.256 + 0.051
    assert ran.account["rejected"]["over the cap"] > 0


@pytest.mark.fault("L21")
@pytest.mark.parametrize("concurrency", [1, 32])
def test_a_gateway_that_bills_and_fails(augment, server, prices, concurrency):
    """Every third request ends in a 500, and is billed for all the tokens that its answer may have."""
    from tests.fixtures.llm_server import failure, good

    bills = []

    def script(number, request):
        failed = number % 3 == 2
        answer = request.body["max_tokens"] if failed else 50
        bills.append((100 * 10 + answer * 1000) / 1e6)
        return failure(500) if failed else good(request)

    running = server(script)
    ran = augment(running, prices=prices, max_cost="4.00", per_label=100, concurrency=concurrency)
    assert ran.code == 0
    assert len(bills) == len(running.requests) > 9
    assert 2.50 < sum(bills) <= ran.account["cost_usd"] <= 4.00


def test_a_cap_needs_a_price(augment, prices):
    ran = augment("https://llm.example.com/v1", prices=prices, max_cost="1", model="unheard of")
    assert (ran.code, ran.outcome.err) == (
        2,
        "error: max-cost: the price of 'unheard of' is unknown, expected a known price. Give --prices with: [\"unheard of\"], "
        "prompt = ..., answer = ... in US dollars per million tokens.\n",
    )


def test_an_answer_without_a_count_is_charged_in_full(augment, server, prices):
    from tests.fixtures.llm_server import completion

    ran = augment(
        server(lambda number, request: completion('["a new lantern"]', usage=None)), prices=prices, max_cost="9"
    )
    assert ran.code == 0
    assert ran.account["cost_usd"] > 3 * 0.256
    assert "  3 answers without a token count, counted at their maximum cost" in ran.outcome.out


def most_by_dry_run(ran) -> float:
    line = next(line for line in ran.outcome.out.splitlines() if line.startswith("cost: about $"))
    return float(line.rpartition("$")[2])


def test_the_dry_run_bounds_the_price(augment, server, prices):
    ran = augment(server(), "--dry-run", prices=prices, per_label=20)
    real = augment(server(), prices=prices, per_label=20)
    assert 0 < real.account["cost_usd"] <= most_by_dry_run(ran)


def test_the_dry_run_bounds_the_price_of_the_worst_run(augment, server, prices):
    """Every send is answered at the second time only, and then without a count and cut off, so that it is asked again."""
    from tests.fixtures.llm_server import Reply, completion

    half = Reply(body=completion("x").body[:40], announced=4000)
    cut = completion('{"texts": ["half of a', finish="length", usage=None)
    running = server(lambda number, request: cut if number % 2 else half)
    ran = augment(running, "--dry-run", prices=prices)
    real = augment(running, prices=prices, concurrency=1)
    assert len(running.requests) == 3 * 4
    assert real.account["rejected"] == {"cut off": 15}
    assert real.account["cost_usd"] == pytest.approx(most_by_dry_run(ran), abs=1e-4)


def test_requests_under_way_never_exceed_the_concurrency(augment, server):
    import threading

    gate = threading.Barrier(3)

    def script(number, request):
        from tests.fixtures.llm_server import good

        gate.wait(60)  # passes only when three requests are here at once
        return good(request)

    running = server(script)
    assert augment(running, per_label=15, concurrency=3).code == 0
    assert running.most_at_once == 3
    assert len(running.requests) == 9
