"""``augment`` runs the command in this process against a scripted server, and searches all it leaves for the secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from crosstune.augmentation.prompts import canary
from tests.cli.conftest import Outcome, jsonl, run_app, task  # noqa: F401 - fixtures
from tests.fixtures.llm_server import LlmServer

KEY = "sk-canary-4f1d7c2e9b8a6053"


@dataclass(frozen=True)
class Ran:
    """The outcome of a run with its files."""

    outcome: Outcome
    kept: list[dict] | None
    account: dict | None

    @property
    def code(self) -> int:
        return self.outcome.code

    @property
    def error(self) -> str:
        """The last line on standard error."""
        return self.outcome.err.splitlines()[-1]


@pytest.fixture
def server():
    """Starts scripted servers and closes them."""
    running = []

    def start(script=None) -> LlmServer:
        running.append(LlmServer(script) if script else LlmServer())
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def augment(run_app, task, monkeypatch) -> Callable[..., Ran]:  # noqa: F811
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("crosstune.augmentation.generator.FIRST_PAUSE_S", 0.01)
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-program")

    def call(base_url, *flags, **changed) -> Ran:
        options = {
            "train": task.train,
            "labels": task.labels,
            "output": task.out / "g.jsonl",
            "base-url": getattr(base_url, "base_url", base_url),
            "model": "tiny-writer",
            "per-label": 5,
            "timeout": 30,
        } | {name.replace("_", "-"): value for name, value in changed.items()}
        given = [part for name, value in options.items() if value is not None for part in (f"--{name}", value)]
        output = options["output"]
        account = output.with_suffix(".account.json")
        before = [path.read_bytes() if path.exists() else None for path in (output, account)]
        outcome = run_app("crosstune", "augment", *given, *flags)
        assert ("Traceback" in outcome.err) == ("--debug" in flags)
        ran = Ran(outcome, None, None)
        if outcome.code or "--dry-run" in flags:
            assert before == [path.read_bytes() if path.exists() else None for path in (output, account)]
        else:
            kept = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
            ran = Ran(outcome, kept, json.loads(account.read_text("utf-8")))
            assert ran.account["requested"] == ran.account["kept"] + sum(ran.account["rejected"].values())
            assert ran.account["kept"] == len(ran.kept)
            for counts in ran.account["by_label"].values():
                assert sum(counts.values()) == options["per-label"]
        left = [outcome.out, outcome.err] if "--dry-run" not in flags else []
        left += [path.read_bytes().decode("utf-8", "replace") for path in task.folder.rglob("*") if path.is_file()]
        for text in left:
            assert KEY not in text
            assert KEY[5:] not in text
            assert canary() not in text
        return ran

    return call
