"""What leaves this machine, to whom, and with which key.

The fixture ``augment`` checks after every run that the account adds up and that neither key nor canary is left anywhere.
"""

from __future__ import annotations

import pytest

from tests.cli.conftest import files_in
from tests.crosstune.augmentation.conftest import KEY
from tests.fixtures.llm_server import Reply, always


@pytest.mark.fault("D16")
def test_d16_a_dry_run_sends_nothing_and_shows_the_first_prompt(augment, server, task, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    prices = task.folder / "prices.toml"
    prices.write_text("[tiny-writer]\nprompt = 1.0\nanswer = 2.0\n", "utf-8")
    running = server()
    ran = augment(running, "--dry-run", prices=prices, per_label=12)
    assert (ran.code, ran.outcome.err) == (0, "")
    assert running.requests == []
    lines = ran.outcome.out.splitlines()
    assert lines[:4] == [
        f"host: {running.host}",
        "model: tiny-writer",
        "seed texts that leave this machine: 18",
        "requested: 36 texts in 9 requests",
    ]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    real = augment(running, prices=prices, per_label=12, concurrency=1)
    assert real.outcome.err == f"sending 18 texts to {running.host}, model tiny-writer\n"
    request = running.requests[0]
    assert ran.outcome.out.endswith(f"--- system\n{request.system}\n--- user\n{request.user}\n")
    assert running.requests[0].path == "/v1/chat/completions"
    told = {name for one in running.requests for name in one.headers}
    assert told <= {
        "host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent", "authorization",
        "idempotency-key", "x-stainless-raw-response",
    }  # fmt: skip
    assert files_in(task.out) == ["g.account.json", "g.answers.sqlite", "g.jsonl"]


@pytest.mark.fault("D17")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_d17_redirects_are_not_followed(augment, server, status):
    other = server()
    running = server(always(Reply(status, b"", {"Location": f"{other.base_url}/chat/completions"})))
    ran = augment(running, concurrency=1)
    assert ran.code == 4
    assert f"{status}: a redirect, which is not followed. Give the address it leads to as --base-url." in ran.error
    assert (len(running.requests), other.requests) == (1, [])


@pytest.mark.fault("D18")
@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "http://llm.example.com/v1",
            "base-url: http to llm.example.com would send key and texts in the clear, expected https. Use http on loopback only.",
        ),
        (
            "http://10.0.0.1/v1",
            "base-url: http to 10.0.0.1 would send key and texts in the clear, expected https. Use http on loopback only.",
        ),
        (
            f"https://user:{KEY}@llm.example.com/v1",
            "base-url: contains a user or password, expected none. Put the key into the environment.",
        ),
        (
            f"https://llm.example.com/v1?key={KEY}",
            "base-url: found https://llm.example.com, expected such as https://api.example.com/v1, without a query.",
        ),
        (
            "ftp://llm.example.com",
            "base-url: found ftp://llm.example.com, expected such as https://api.example.com/v1, without a query.",
        ),
        ("https://[::1", "base-url: not an address, expected such as https://api.example.com/v1."),
        ("llm", "base-url: found ://, expected such as https://api.example.com/v1, without a query."),
    ],
)
def test_d18_addresses_that_are_refused(augment, url, message):
    ran = augment(url)
    assert (ran.code, ran.outcome.err) == (2, f"error: {message}\n")


@pytest.mark.fault("D18")
def test_d18_a_proxy_is_named_and_never_used_for_this_machine(augment, server, monkeypatch):
    proxy = server()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@{proxy.host}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.host}")
    running = server()
    assert augment(running).code == 0
    assert proxy.requests == []
    ran = augment("https://llm.example.com/v1", "--dry-run")
    assert ran.outcome.out.splitlines()[0] == f"host: llm.example.com, via the proxy {proxy.host}"


@pytest.mark.fault("C5")
def test_a_missing_key_is_said_before_any_work(augment, monkeypatch, task):
    monkeypatch.delenv("OPENAI_API_KEY")
    ran = augment("https://llm.example.com/v1")
    assert (ran.code, ran.outcome.err) == (
        2, "error: OPENAI_API_KEY: not in the environment, expected the key for llm.example.com. Export it.\n",
    )  # fmt: skip
    assert files_in(task.out) == []


@pytest.mark.fault("C6")
def test_a_key_on_the_command_line_is_no_option(augment, server):
    ran = augment(server(), "--api-key", "x")
    assert (ran.code, ran.outcome.err) == (
        2, "error: No such option: --api-key. See crosstune augment --help.\n",
    )  # fmt: skip


def test_a_server_on_this_machine_needs_no_key(augment, server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    running = server()
    assert augment(running).code == 0
    assert "authorization" not in running.requests[0].headers
