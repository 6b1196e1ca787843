"""``classify --resume``: a resumed run gives the same bytes as an uninterrupted one, however it was interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from crosstune_export.bulk import partial_output
from tests.cli.conftest import files_in
from tests.conftest import TINY_OTHER_TEXTS

ROWS = 12_000


@pytest.fixture
def bundle(tiny_fp32_bundle_dir):
    return tiny_fp32_bundle_dir


@pytest.fixture
def source(task):
    """Some windows of rows, a few of them bad."""
    path = task.folder / "t.jsonl"
    rows = [json.dumps({"id": i, "text": f"{TINY_OTHER_TEXTS[i % 6]} {i}"}) for i in range(ROWS)]
    for i in range(100, ROWS, 1000):
        rows[i] = "nope"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


@pytest.fixture
def classify(run_app, bundle, source, monkeypatch):
    """In this process, with a commit after every window."""
    monkeypatch.setattr(partial_output, "_COMMIT_SECONDS", -1)
    options = ("--on-error", "record", "--workers", 1)
    return lambda *arguments: run_app("crosstune-export", "classify", bundle, source, *options, *arguments)


@pytest.fixture
def interrupt(monkeypatch):
    """Raise a signal at the n-th window of the next run."""
    append = partial_output.PartialOutput.append

    def arm(number, windows):
        count = []

        def appending(self, result):
            if len(count) == windows:
                signal.raise_signal(number)
            count.append(1)
            append(self, result)

        monkeypatch.setattr(partial_output.PartialOutput, "append", appending)
        return lambda: monkeypatch.setattr(partial_output.PartialOutput, "append", append)

    return arm


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_and_resumed(classify, task, interrupt, ending, number, code, word):
    whole, cut = task.out / f"whole.{ending}", task.out / f"cut.{ending}"
    assert classify("--output", whole).code == 0
    for windows in (3, 5):
        disarm = interrupt(number, windows)
        stopped = classify("--output", cut, "--resume")
        disarm()
        rows = (3 if windows == 3 else 8) * 1024
        bad = len(range(100, rows, 1000))
        assert (stopped.code, stopped.out) == (code, "")
        assert stopped.err == (
            f"error: {word}. {rows - bad} rows are saved. Add --resume to the same command to continue.\n"
        )
        assert not cut.exists()
    done = classify("--output", cut, "--resume")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith(f"{ROWS - 12} rows, 12 bad rows skipped, ")
    assert cut.read_bytes() == whole.read_bytes()
    assert (task.out / f"cut.{ending}.bad.jsonl").read_bytes() == (task.out / f"whole.{ending}.bad.jsonl").read_bytes()
    assert len(files_in(task.out)) == 4, "two outputs with their bad rows, and nothing else"


def test_interrupted_before_anything_was_done(classify, task, interrupt):
    interrupt(signal.SIGINT, 0)
    result = classify("--output", task.out / "a.jsonl")
    assert (result.code, result.err) == (
        130, "error: interrupted. No partial files were left; run the command again.\n",
    )  # fmt: skip
    assert files_in(task.out) == []


SIGNALS_AT_FILES = {
    "before one is known": "once(partial_output, '_locked')",
    "and again while one is removed": """
def append(*_):
    once(Path, "unlink")
    raise KeyboardInterrupt

partial_output.PartialOutput.append = append
""",
}


@pytest.mark.fault("E1", "E2")
@pytest.mark.parametrize("when", SIGNALS_AT_FILES)
def test_interrupted_at_its_files(scripts, task, bundle, source, when):
    program = f"""
from pathlib import Path
from crosstune_cli.export_app import main
from crosstune_export.bulk import partial_output

def once(owner, name):
    known = getattr(owner, name)
    def interrupted(*_, **__):
        setattr(owner, name, known)
        raise KeyboardInterrupt
    setattr(owner, name, interrupted)

{SIGNALS_AT_FILES[when]}
main()
"""
    options = ("classify", bundle, source, "--on-error", "record", "--output", "o.jsonl")
    ended = subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=task.out, env=scripts.environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    message = "error: interrupted. No partial files were left; run the command again.\n"
    assert (ended.returncode, ended.stderr, files_in(task.out)) == (130, message, [])


@pytest.fixture
def stopped(classify, task, interrupt):
    """A run with an output of this name that stopped after two windows."""
    disarm = interrupt(signal.SIGINT, 2)
    assert classify("--output", task.out / "a.jsonl").code == 130
    disarm()
    return task.out / "a.jsonl"


def test_an_interrupted_run_is_not_lost_by_accident(classify, stopped):
    result = classify("--output", stopped)
    assert (result.code, result.err) == (
        2,
        f"error: {stopped}: found an interrupted run, expected none. Continue with --resume, or start again with --force.\n",
    )
    assert classify("--output", stopped, "--force").code == 0
    assert len(stopped.read_bytes().splitlines()) == ROWS - 12
    assert files_in(stopped.parent) == ["a.jsonl", "a.jsonl.bad.jsonl"]


def test_what_was_kept_is_gone_once_a_run_starts_again(run_app, bundle, stopped, source):
    source.write_bytes(b"nope\n")
    result = run_app("crosstune-export", "classify", bundle, source, "--output", stopped, "--force")
    assert (result.code, result.err) == (
        3,
        f"error: {source}:1: not valid JSON (Expecting value at column 1). Correct the line.\n",
    )
    assert not {"a.jsonl.partial", "a.jsonl.partial.json"} & set(files_in(stopped.parent))


@pytest.mark.fault("C11")
def test_resume_with_other_options(classify, stopped):
    result = classify("--output", stopped, "--resume", "--top-k", 1, "--batch-size", 4)
    assert (result.code, result.err) == (
        2,
        f"error: {stopped}: the interrupted run had other options (batch_size 8 -> 4, top_k None -> 1). "
        "Repeat its options, or start again with --force, without --resume.\n",
    )


@pytest.mark.fault("C11")
def test_resume_with_another_input(classify, stopped, source):
    data = source.read_bytes()
    source.write_bytes(data.replace(b'"id": 7,', b'"id": 8,'))
    result = classify("--output", stopped, "--resume")
    assert (
        result.code,
        result.err.startswith("error: --resume: the input differs from that of the interrupted run. "),
    ) == (2, True)
    source.write_bytes(data)
    assert classify("--output", stopped, "--resume").code == 0


def test_a_bad_row_can_be_gone_past(run_app, bundle, task, source):
    rows = source.read_text("utf-8").splitlines()
    rows[100] = '{"text": "fine", "id": 100}'
    source.write_text("\n".join(rows), "utf-8")
    command = ("crosstune-export", "classify", bundle, source, "--workers", 1, "--output", task.out / "a.jsonl")
    result = run_app(*command)
    assert (result.code, result.err) == (
        3,
        f"error: {source}:1101: not valid JSON (Expecting value at column 1). Correct the line. "
        "1024 rows are saved. Add --resume to the same command to continue.\n",
    )
    assert run_app(*command, "--resume", "--on-error", "skip").code == 0
    found = (task.out / "a.jsonl").read_bytes()
    assert run_app(*command, "--force", "--on-error", "skip").code == 0
    assert (task.out / "a.jsonl").read_bytes() == found


def test_resume_without_an_interrupted_run_starts(classify, task):
    assert classify("--output", task.out / "a.jsonl", "--resume").code == 0
    result = classify("--output", task.out / "a.jsonl", "--resume")
    assert result.code == 2 and "is already there" in result.err


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_killed_while_the_output_was_put_in_its_place(classify, task, monkeypatch, ending):
    """The journal says that all is done: the rest of the renaming is all that is left."""
    whole, cut = task.out / f"whole.{ending}", task.out / f"cut.{ending}"
    assert classify("--output", whole).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(partial_output.PartialOutput, "publish", lambda self: signal.raise_signal(signal.SIGINT))
        assert classify("--output", cut).code == 130
    assert json.loads((task.out / f"cut.{ending}.partial.json").read_text("utf-8"))["finished"] is True
    assert classify("--output", cut, "--resume").code == 0
    assert cut.read_bytes() == whole.read_bytes()
    assert len(files_in(task.out)) == 4


@pytest.mark.fault("E1")
def test_interrupted_when_the_output_is_in_its_place(classify, task, monkeypatch):
    whole, cut = task.out / "whole.jsonl", task.out / "cut.jsonl"
    assert classify("--output", whole).code == 0
    publish = partial_output.PartialOutput.publish

    def interrupted(self):
        publish(self)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(partial_output.PartialOutput, "publish", interrupted)
    assert classify("--output", cut).code == 130
    assert cut.read_bytes() == whole.read_bytes()
    assert (task.out / "cut.jsonl.bad.jsonl").read_bytes() == (task.out / "whole.jsonl.bad.jsonl").read_bytes()
    assert len(files_in(task.out)) == 4


@pytest.mark.fault("E5")
def test_a_full_disk(classify, task):
    """A file size limit simulates a full disk: committed rows are kept, and the next run continues after them."""
    resource = pytest.importorskip("resource")
    assert classify("--output", task.out / "whole.jsonl").code == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((task.out / "whole.jsonl").stat().st_size // 2, limits[1]))
    try:
        result = classify("--output", task.out / "cut.jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert result.code == 7
    assert result.err.startswith(
        f"error: {task.out / 'cut.jsonl'}: cannot be written (File too large). Free some space or choose another place. "
    )
    assert classify("--output", task.out / "cut.jsonl", "--resume").code == 0
    assert (task.out / "cut.jsonl").read_bytes() == (task.out / "whole.jsonl").read_bytes()


@pytest.mark.fault("E5", "E6")
@pytest.mark.parametrize(
    ("taken", "named"),
    [
        ("a.jsonl.bad.jsonl.partial", "a.jsonl"),  # the partial output is open by then, and goes again
        ("a.jsonl.partial.json", "a.jsonl.partial.json"),  # without a journal, nothing can be resumed
    ],
)
def test_a_place_beside_the_output_that_cannot_be_written(classify, task, taken, named):
    (task.out / taken).mkdir()
    result = classify("--output", task.out / "a.jsonl")
    message = f"error: {task.out / named}: cannot be written (Is a directory). Choose another place.\n"
    assert (result.code, result.err) == (2, message)
    assert files_in(task.out) == [taken]


@pytest.mark.parametrize("name", ["a.jsonl.partial", "a.jsonl.bad.jsonl.partial", "a.jsonl.partial.json"])
@pytest.mark.parametrize("option", [(), ("--resume",)])
def test_files_of_others_beside_the_output_are_kept(classify, task, name, option):
    foreign, output = task.out / name, task.out / "a.jsonl"
    foreign.write_bytes(b"precious")
    result = classify("--output", output, *option)
    assert (result.code, result.err) == (
        2,
        f"error: {foreign}: exists without a journal, expected no file. "
        "Move it away, or pass --force to replace it.\n",
    )  # fmt: skip
    assert (foreign.read_bytes(), files_in(task.out)) == (b"precious", [name])
    assert classify("--output", output, *option, "--force").code == 0
    assert files_in(task.out) == ["a.jsonl", "a.jsonl.bad.jsonl"]


@pytest.mark.parametrize("name", ["a.jsonl.partial", "a.jsonl.partial.json", "a.jsonl.bad.jsonl.partial"])
def test_an_input_where_the_partial_output_would_be(run_app, task, bundle, name):
    source = task.out / name
    source.write_bytes(b"my parcel\n")
    result = run_app(
        "crosstune-export", "classify", bundle, source, "--input-format", "text", "--output", task.out / "a.jsonl",
        "--on-error", "record", "--force",
    )  # fmt: skip
    assert (result.code, result.err) == (
        2, f"error: {source}: is both input and output. Choose another output file.\n",
    )  # fmt: skip
    assert source.read_bytes() == b"my parcel\n"


@pytest.mark.fault("E4")
def test_killed_before_anything_was_kept(scripts, classify, task, bundle, source):
    """The leftover files are recognized, so the next run starts, with or without --resume."""
    program = """
import os, signal
from crosstune_cli.export_app import main
from crosstune_export.bulk import partial_output

def append(self, result):
    self._write(self._sink, result.encoded)
    self._sink.flush()
    os.kill(os.getpid(), signal.SIGKILL)

partial_output.PartialOutput.append = append
main()
"""
    options = ("classify", bundle, source, "--on-error", "record", "--workers", "1", "--output", task.out / "a.jsonl")
    for again in ((), ("--resume",)):
        ended = subprocess.run([sys.executable, "-c", program, *options], env=scripts.environment, check=False)
        assert ended.returncode == -signal.SIGKILL
        assert (task.out / "a.jsonl.partial").stat().st_size > 0
        assert classify("--output", task.out / "a.jsonl", *again).code == 0
        assert files_in(task.out) == ["a.jsonl", "a.jsonl.bad.jsonl"]
        for name in files_in(task.out):
            (task.out / name).unlink()


def test_a_partial_output_that_was_cut(classify, stopped):
    partial = stopped.with_name("a.jsonl.partial")
    size = partial.stat().st_size
    os.truncate(partial, 10)
    result = classify("--output", stopped, "--resume")
    assert (result.code, result.err) == (
        2,
        f"error: {partial}: shorter than recorded in {partial}.json, expected at least {size} bytes. "
        "Start again with --force, without --resume.\n",
    )


@pytest.mark.fault("E10")
def test_two_runs_with_one_output(classify, stopped):
    fcntl = pytest.importorskip("fcntl")
    with stopped.with_name("a.jsonl.partial").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = classify("--output", stopped, "--resume")
    assert (result.code, result.err.partition(" 2036 rows")[0]) == (
        2, f"error: {stopped}: found another run that writes it, expected none. Wait for it or end it.\n",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.fault("E4")
def test_killed_with_its_workers_at_work(scripts, task, bundle, source):
    """SIGKILL leaves no worker behind; benchmarks/robustness/kill_classify.py does the same at many random instants."""
    psutil = pytest.importorskip("psutil")
    options = (bundle, source, "--on-error", "record", "--workers", 2, "--output")
    assert scripts.run("crosstune-export", "classify", *options, task.out / "whole.jsonl", timeout=600).code == 0
    command = scripts.command("crosstune-export", "classify", *options, task.out / "cut.jsonl")
    process = subprocess.Popen(command, env=scripts.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = task.out / "cut.jsonl.partial.json"
    deadline = time.monotonic() + 120
    children: list[psutil.Process] = []
    while (len(children) < 2 or not journal.exists()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(children) >= 2, "the run was over before it could be killed"
    _, alive = psutil.wait_procs(children, timeout=300)
    assert alive == []
    if not (task.out / "cut.jsonl").exists():
        assert (
            scripts.run("crosstune-export", "classify", *options, task.out / "cut.jsonl", "--resume", timeout=600).code
            == 0
        )
    for name in ("jsonl", "jsonl.bad.jsonl"):
        assert (task.out / f"cut.{name}").read_bytes() == (task.out / f"whole.{name}").read_bytes()
