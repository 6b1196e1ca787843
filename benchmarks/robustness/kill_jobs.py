"""The commands that ``kill_anything.py`` interrupts, the folder they start from, and the checks of what an interrupted run leaves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.robustness.warm_commands import SAID, WarmCommands
from tests.conftest import TINY_LABELS, TINY_TEXTS
from tests.fixtures.llm_server import LlmServer, Reply, Request, good

CONCURRENCY = 4
#: What an account says of its own run, and not of what came of it.
_OF_ONE_RUN = ("answers", "tokens", "cost_usd")
_TEMPORARY = re.compile(r"(\..*\.)[a-z0-9_]{8}(\.tmp)")


@dataclass
class Job:
    """A command that replaces its outputs.

    Attributes:
        name: For people.
        app: ``crosstune`` or ``crosstune-export``.
        arguments: Relative to the folder of the run.
        outputs: What it replaces, in that folder.
        keeps: What a polite signal may leave for the next run beside what a whole run leaves.
        undo: A command after which the job can run again where its output is new; none where it can anyway.
        old: Digest of each output before.
        new: Digest of each output of a run that nothing disturbed.
        renewed: The same when it was undone and run again.
        files: What stands in the folder after it, but for temporary files of libraries.
        duration_s: Of that run.
        found: By way of disturbing, how often it ended how.
        problems: Everything that must not be.
        verified: States of the folder from which the next run was seen to go on well.
    """

    name: str
    app: str
    arguments: list[str]
    outputs: list[str]
    keeps: tuple[str, ...] = ()
    undo: list[str] | None = None
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    duration_s: float = 0.0
    found: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    verified: set[frozenset[tuple[str, str]]] = field(default_factory=set)


def jobs(backbone: str, base_url: str) -> list[Job]:
    """What is disturbed; all start from the folder that ``prepare`` makes."""
    train, export = "crosstune", "crosstune-export"
    data = ["--train", "train.jsonl", "--labels", "labels.json"]
    server = ["--base-url", base_url, "--model", "m", "--per-label", "20", "--concurrency", str(CONCURRENCY)]
    partial = ("out.jsonl.partial", "out.jsonl.partial.json", "out.jsonl.bad.jsonl.partial")
    table = [
        (train, ["train", *data, "--backbone", backbone, "--output", "out.ckpt"], ["out.ckpt"]),
        (train, ["augment", *data, *server, "--output", "g.jsonl"], ["g.jsonl", "g.account.json"]),
        (train, ["filter", "--generated", "more.jsonl", *data, "--backbone", backbone, "--output", "kept.jsonl", "--report",
                 "filter.html"], ["kept.jsonl", "kept.filter.json", "filter.html"]),
        (train, ["evaluate", "ready.ckpt", "--data", "test.jsonl", "--report", "report.html"], ["report.html"]),
        (export, ["build", "ready.ckpt", "--output", "out.bundle", "--precision", "fp32"], ["out.bundle"]),
        (export, ["pack", "ready.bundle", "--output", "out.zip"], ["out.zip"]),
        (export, ["classify", "ready.bundle", "texts.jsonl", "--output", "out.jsonl", "--on-error", "record", "--workers", "1",
                  "--resume"], ["out.jsonl", "out.jsonl.bad.jsonl"]),
    ]  # fmt: skip
    found = [Job(call[0], app, [*call, "--force"], outputs) for app, call, outputs in table]
    found[-1].keeps = partial
    add = ["labels", "add", "out.bundle", "weather", "rain and sun"]
    undo = ["labels", "remove", "out.bundle", "weather"]
    return [*found, Job("labels", export, add, ["out.bundle"], undo=undo)]


def prepare(folder: Path, warm: WarmCommands, names: list[str], backbone: str, bundle: Path | None) -> None:
    """Inputs, an old output of every job, and what the named jobs need of checkpoints and bundles."""

    def rows(name: str, texts: dict[str, tuple[str, ...]]) -> None:
        lines = [json.dumps({"text": text, "label": label}) + "\n" for label in texts for text in texts[label]]
        (folder / name).write_text("".join(lines), "utf-8")

    (folder / "tmp").mkdir()
    (folder / "labels.json").write_text(json.dumps(TINY_LABELS), "utf-8")
    rows("train.jsonl", TINY_TEXTS)
    rows("test.jsonl", {label: tuple(f"{text} today" for text in texts) for label, texts in TINY_TEXTS.items()})
    rows("more.jsonl", {label: tuple(f"{text} now" for text in texts) for label, texts in TINY_TEXTS.items()})
    texts = [json.dumps({"text": f"where is my box {number}"}) for number in range(2500)]
    texts[1500] = "no row"
    (folder / "texts.jsonl").write_text("\n".join(texts), "utf-8")
    for name in (
        "g.jsonl",
        "g.account.json",
        "kept.jsonl",
        "kept.filter.json",
        "filter.html",
        "report.html",
        "out.zip",
    ):
        (folder / name).write_text("old\n", "utf-8")
    for name in ("out.jsonl", "out.jsonl.bad.jsonl"):
        (folder / name).write_text("old\n", "utf-8")

    def run(app: str, *arguments: str) -> None:
        if warm.run(folder, app, [*arguments]):
            raise SystemExit((folder / SAID).read_text("utf-8"))

    base = ("train", "--train", "train.jsonl", "--labels", "labels.json", "--backbone", backbone)
    of_bundles = {"pack", "classify", "labels"} & {*names}
    if "train" in names:
        run("crosstune", *base, "--output", "out.ckpt", "--seed", "7")
    if {"evaluate", "build"} & {*names} or (of_bundles and bundle is None):
        run("crosstune", *base, "--output", "ready.ckpt")
    if bundle is not None:
        run("crosstune-export", "unpack", str(bundle), "--output", "ready.bundle")
    elif of_bundles or "build" in names:
        run("crosstune-export", "build", "ready.ckpt", "--precision", "fp32", "--output", "ready.bundle")
    if (folder / "ready.bundle").exists():
        shutil.copytree(folder / "ready.bundle", folder / "out.bundle")
        first = json.loads((folder / "out.bundle" / "manifest.json").read_bytes())["labels"][0]["name"]
        run("crosstune-export", "labels", "rename", "out.bundle", first, "old")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    (folder / SAID).unlink(missing_ok=True)


class PaidAnswers:
    """The LLM's server, and what it has answered in a trial, each answer paid for."""

    def __init__(self) -> None:
        self.given: Counter[bytes] = Counter()
        self._server = LlmServer(self._answer)
        self.base_url = self._server.base_url
        self.close = self._server.close

    def _answer(self, number: int, request: Request) -> Reply:
        del number
        self.given[bytes.fromhex(request.headers["idempotency-key"])] += 1
        return good(request)

    def begin(self) -> None:
        """Forget what was."""
        self._server.settle()
        self.given.clear()

    def saved(self, folder: Path) -> set[bytes]:
        """Which are on disk; looked up in a copy, so that the next run finds the files as they were left."""
        self._server.settle()
        with tempfile.TemporaryDirectory() as name:
            for path in folder.glob("g.answers.sqlite*"):
                shutil.copy(path, name)
            with contextlib.closing(sqlite3.connect(f"{name}/g.answers.sqlite")) as table:
                tables = table.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                return {key for (key,) in table.execute("SELECT key FROM answers")} if tables else set()

    def unsaved(self, saved: set[bytes]) -> int:
        """How many answers were given and are not there."""
        return sum(self.given.values()) - len(saved)


class Trial:
    """One run of a job in a fresh copy of the prepared folder."""

    def __init__(self, ready: Path, warm: WarmCommands, job: Job, paid: PaidAnswers) -> None:
        self.job, self.warm, self.paid = job, warm, paid
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=ready.parent))
        shutil.copytree(ready, self.folder, dirs_exist_ok=True)
        self.before = _names(self.folder)
        paid.begin()

    def start(self, gate: Path | None = None) -> int:
        """Begin; returns the process id."""
        self.pid = self.warm.start(self.folder, self.job.app, self.job.arguments, gate=gate)
        return self.pid

    def learn(self, names: Path) -> None:
        """Run undisturbed: the old outputs, the new ones, all files afterwards, and how long it takes."""
        job = self.job
        job.old = self._digests()
        started = time.monotonic()
        if self.warm.run(self.folder, job.app, job.arguments, names=names):
            raise SystemExit((self.folder / SAID).read_text("utf-8"))
        duration_s, new = time.monotonic() - started, self._digests()
        if set(job.old) & set(new) or job.new not in ([], new):
            raise SystemExit(f"{job.name}: an output is the old one, or another one than the last time")
        job.duration_s, job.new, job.files = duration_s, new, self._files()
        for call in (job.undo, job.arguments):
            if call and self.warm.run(self.folder, job.app, call):
                raise SystemExit((self.folder / SAID).read_text("utf-8"))
        job.renewed = self._digests()
        if job.undo is None and job.renewed != job.new:
            raise SystemExit(f"{job.name}: run again it makes another output")
        self.end()

    def judge(self, how: str, code: int, codes: set[int], *, polite: bool) -> None:
        """Look at what is there, run again, and note what is wrong.

        Args:
            how: The run was disturbed.
            code: It ended with.
            codes: It may have ended with, or with 0 where its work was done.
            polite: Whether it had time to tidy up.
        """
        job, wrong = self.job, []
        now = [
            {old: "old", new: "new"}.get(digest, "broken")
            for digest, old, new in zip(self._digests(), job.old, job.new, strict=True)
        ]
        state = now[0] if len(set(now)) == 1 else "in part new"
        left = _names(self.folder) - self.before - job.files - {"tmp/.ses"}  # that of onnxruntime
        if how.startswith("E"):  # what a cache holds is in its log where the disk does not let it be put in its place
            left = {name for name in left if not re.search(r"\.sqlite-(wal|shm|journal)$", name)}
        job.found.setdefault(how, Counter())[f"exit {code}, {state}{', something left' if left else ''}"] += 1
        if code not in codes | ({0} if state == "new" else set()):
            wrong.append(f"exit code {code}")
        if "broken" in now:
            wrong.append("an output is neither the old nor the new one")
        if polite and left - (set(job.keeps) if f"{job.outputs[0]}.partial.json" in left else set()):
            wrong.append(f"left {sorted(left)}")
        said = self._said()
        if "Traceback" in said or "Exception ignored" in said:
            wrong.append("a traceback")
        if job.name == "augment":
            at_once = not polite or "twice" in how or code == 7
            wrong += self._paid_for(how, CONCURRENCY if at_once else 0)
        snapshot = frozenset(
            (_TEMPORARY.sub(r"\1\2", name), _digest(self.folder / name)) for name in _names(self.folder)
        )
        if snapshot not in job.verified and not (wrong := wrong + self._run_again(now)):
            job.verified.add(snapshot)
        job.problems += [f"{how}: {what}: {said[-900:]}" for what in wrong]
        self.end()

    def end(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def _run_again(self, now: list[str]) -> list[str]:
        job = self.job
        saved = self.paid.saved(self.folder) if job.name == "augment" else set()
        undone = job.undo is not None and now == ["new"]
        if undone and self.warm.run(self.folder, job.app, job.undo):
            return ["undoing it went wrong"]
        code = self.warm.run(self.folder, job.app, job.arguments)
        files = self._files()
        wrong = [] if code == 0 else [f"run again: exit {code}, {self._said()[-300:]}"]
        if not code and self._digests() != (job.renewed if undone else job.new):
            wrong.append("run again: another output")
        if files != job.files:
            wrong.append(f"run again: files {sorted(files ^ job.files)}")
        if job.name == "augment":
            after = self.paid.saved(self.folder)
            if saved - after or self.paid.unsaved(after) > CONCURRENCY:
                wrong.append(f"{len(saved - after)} saved answers lost, {self.paid.unsaved(after)} bought again")
        return wrong

    def _paid_for(self, how: str, most: int) -> list[str]:
        unsaved = self.paid.unsaved(self.paid.saved(self.folder))
        self.job.found.setdefault(f"{how}: answers not on disk", Counter())[str(unsaved)] += 1
        return [f"{unsaved} answers are not on disk"] if unsaved > most else []

    def _digests(self) -> list[str]:
        return [_digest(self.folder / name) for name in self.job.outputs]

    def _files(self) -> set[str]:
        return {name for name in _names(self.folder) if not name.startswith("tmp/")}

    def _said(self) -> str:
        path = self.folder / SAID
        return path.read_text("utf-8", "replace") if path.exists() else ""


def _names(folder: Path) -> set[str]:
    """Everything below a folder but what was said."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != SAID}


def _digest(path: Path) -> str:
    """Of a file, or of a folder's names and files; of an account, without what it says of its own run."""
    if path.is_dir():
        parts = [f"{item.name} {_digest(item)}" for item in sorted(path.iterdir())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if not path.exists():
        return "nothing"
    data = path.read_bytes()
    if path.name == "g.account.json" and data != b"old\n":
        with contextlib.suppress(ValueError):
            account = {key: value for key, value in json.loads(data).items() if key not in _OF_ONE_RUN}
            data = json.dumps(account).encode()
    return hashlib.sha256(data).hexdigest()
