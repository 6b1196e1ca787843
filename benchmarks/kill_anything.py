"""Kills, interrupts and starves the commands, and looks at what they leave.

    python benchmarks/kill_anything.py --backbone DIR --kills 100 --json benchmarks/results/kill_anything.json

Every command replaces an output that is there. Afterwards the output must be the old one or the new one, whole; the exit code
must be the promised one; after a signal that can be caught and after a full disk nothing temporary may stand beside it, and after
SIGKILL it must be gone when the same command has run again, whose output must be that of a run that nobody disturbed.

``--kills`` random instants each of SIGKILL, SIGINT, SIGINT twice and SIGTERM; then, by strace, SIGKILL at every system call that
changes the disk, and ENOSPC from every such call. One process imports everything and forks the runs. ``crosstune augment`` has
``kill_augment.py``, because a server must count what is paid for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

#: System calls that change what is on the disk.
CALLS = "write,pwrite64,writev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,chmod,fchmod"
NEED_NO_ROOM = ("unlink", "unlinkat", "rmdir", "chmod", "fchmod")
SIGNALS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT,) * 2,
    "SIGTERM": (signal.SIGTERM,),
}
CODES = {"SIGKILL": {137}, "SIGINT": {130}, "SIGINT twice": {130}, "SIGTERM": {143}}


@dataclass
class Job:
    """A command that replaces an output.

    Attributes:
        name: For people.
        app: ``crosstune`` or ``crosstune-export``.
        arguments: Relative to the folder of the run.
        output: What it replaces, in that folder.
    """

    name: str
    app: str
    arguments: list[str]
    output: str
    old: str = ""
    new: str = ""
    duration_s: float = 0.0
    found: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def jobs(backbone: str) -> list[Job]:
    """What is killed; all start from the folder that ``prepare`` makes."""
    train = ["train", "--train", "train.jsonl", "--labels", "labels.json", "--backbone", backbone]
    return [
        Job("train", "crosstune", [*train, "--output", "out.ckpt", "--force"], "out.ckpt"),
        Job("build", "crosstune-export", ["build", "ready.ckpt", "--output", "out.bundle", "--precision", "fp32", "--force"], "out.bundle"),
        Job("labels", "crosstune-export", ["labels", "add", "out.bundle", "weather", "rain and sun"], "out.bundle"),
        Job("classify", "crosstune-export", ["classify", "ready.bundle", "texts.txt", "--output", "out.jsonl", "--force"], "out.jsonl"),
        Job("pack", "crosstune-export", ["pack", "ready.bundle", "--output", "out.zip", "--force"], "out.zip"),
    ]  # fmt: skip


def import_everything(train_too: bool) -> None:
    """So that a fork starts where a command has read its options."""
    import onnxruntime  # noqa: F401
    from crosstune_cli import export_app, train_app  # noqa: F401

    import crosstune_export.edit_labels
    import crosstune_export.packing

    if train_too:
        import crosstune_export.build.pipeline  # noqa: F401


def fork(folder: Path, app: str, arguments: list[str], gate: int | None = None) -> int:
    """Start a command in a fork; with a gate it begins when that can be read. Returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(folder)
        os.environ["CROSSTUNE_CACHE"] = str(folder / "cache")
        for descriptor in (1, 2):
            os.dup2(os.open(folder / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if gate is not None:
            os.read(gate, 1)
        from crosstune_cli import export_app, running, train_app

        sys.argv = [app, *arguments]
        try:
            running.run({"crosstune": train_app.app, "crosstune-export": export_app.app}[app], app)
        except SystemExit as end:
            code = int(end.code or 0)
    except KeyboardInterrupt:  # before the program has begun
        code = 130
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """Exit code as a shell tells it: 128 and its number for a signal that nobody caught, as before a program has begun."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def digest(path: Path) -> str:
    """Of a file, or of a folder's names and files."""
    if path.is_dir():
        parts = [f"{item.name} {hashlib.sha256(item.read_bytes()).hexdigest()}" for item in sorted(path.iterdir())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"


def temporaries(folder: Path) -> list[str]:
    """What a command has left beside its output."""
    return sorted(item.name for item in folder.iterdir() if item.name.startswith("."))


def prepare(folder: Path, train: Path, labels: Path, backbone: str, bundle: Path | None) -> None:
    """Inputs, an old output of every job, and a ready checkpoint and bundle, or a bundle that is given."""
    shutil.copy(train, folder / "train.jsonl")
    shutil.copy(labels, folder / "labels.json")
    rows = [json.loads(line)["text"] for line in train.read_text("utf-8").splitlines()]
    (folder / "texts.txt").write_text("".join(f"{' '.join(text.split())}\n" for text in rows), "utf-8")
    (folder / "out.jsonl").write_text("old\n")
    (folder / "out.zip").write_text("old\n")

    def run(app: str, *arguments: str) -> None:
        if wait(fork(folder, app, [*arguments])):
            raise SystemExit((folder / "said.txt").read_text("utf-8"))

    if bundle is not None:
        run("crosstune-export", "unpack", str(bundle), "--output", "ready.bundle")
    else:
        base = ("train", "--train", "train.jsonl", "--labels", "labels.json", "--backbone", backbone)
        run("crosstune", *base, "--output", "ready.ckpt")
        run("crosstune", *base, "--output", "out.ckpt", "--seed", "7")
        run("crosstune-export", "build", "ready.ckpt", "--precision", "fp32", "--output", "ready.bundle")
        shutil.rmtree(folder / "cache")
    shutil.copytree(folder / "ready.bundle", folder / "out.bundle")
    first = json.loads((folder / "out.bundle" / "manifest.json").read_bytes())["labels"][0]["name"]
    run("crosstune-export", "labels", "rename", "out.bundle", first, "old")
    (folder / "said.txt").unlink()


class Trial:
    """One disturbed run of a job in a fresh copy of the prepared folder."""

    def __init__(self, ready: Path, job: Job) -> None:
        self.job = job
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=ready.parent))
        shutil.copytree(ready, self.folder, dirs_exist_ok=True)

    def judge(self, how: str, code: int, codes: set[int], *, may_leave: bool) -> None:
        """Look at what is there, run again where the old output is, and note what is wrong."""
        job, output = self.job, self.folder / self.job.output
        state = {job.old: "old", job.new: "new"}.get(digest(output), "broken")
        left = temporaries(self.folder)
        job.found.setdefault(how, Counter())[f"exit {code}, {state} output{', temporary left' if left else ''}"] += 1
        wrong = []
        if code not in codes | ({0} if state == "new" else set()):
            said = self.folder / "said.txt"
            wrong.append(f"exit code {code}: {said.read_text('utf-8', 'replace')[-200:] if said.exists() else ''}")
        if state == "broken":
            wrong.append("the output is neither the old nor the new one")
        if left and not may_leave:
            wrong.append(f"left {left}")
        if state == "old":
            again = wait(fork(self.folder, job.app, job.arguments))
            if again or digest(output) != job.new or temporaries(self.folder):
                wrong.append(f"run again: exit {again}, left {temporaries(self.folder)}")
        job.problems += [f"{how}: {what}" for what in wrong]
        shutil.rmtree(self.folder)


def undisturbed(ready: Path, job: Job) -> None:
    """The old digest, the new one, and how long it takes."""
    trial = Trial(ready, job)
    job.old = digest(trial.folder / job.output)
    started = time.monotonic()
    if wait(fork(trial.folder, job.app, job.arguments)):
        raise SystemExit((trial.folder / "said.txt").read_text("utf-8"))
    job.duration_s, job.new = time.monotonic() - started, digest(trial.folder / job.output)
    if job.new == job.old:
        raise SystemExit(f"{job.name}: the new output is the old one")
    shutil.rmtree(trial.folder)


def at_random(ready: Path, job: Job, name: str, draw: random.Random) -> None:
    """Signals after a random time."""
    trial = Trial(ready, job)
    pid = fork(trial.folder, job.app, job.arguments)
    time.sleep(draw.uniform(0.02, 1.05 * job.duration_s))
    for number in SIGNALS[name]:
        os.kill(pid, number)
        time.sleep(draw.uniform(0, 0.02))
    trial.judge(name, wait(pid), CODES[name], may_leave=name in ("SIGKILL", "SIGINT twice"))


def under_strace(trial: Trial, *options: str) -> int:
    """Run a job's command under strace; returns its exit code."""
    gate, opener = os.pipe()
    pid = fork(trial.folder, trial.job.app, trial.job.arguments, gate)
    tracer = subprocess.Popen(["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE)
    while b"attached" not in tracer.stderr.readline():  # its first line
        pass
    os.write(opener, b"x")
    os.close(gate)
    os.close(opener)
    code = wait(pid)
    tracer.communicate()
    return code


def calls_of(ready: Path, job: Job) -> list[tuple[str, int]]:
    """The calls of an undisturbed run that do more than say something: name, and how manieth of its name it is."""
    trial = Trial(ready, job)
    log = trial.folder / "calls.log"
    under_strace(trial, "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log))
    lines = log.read_text("utf-8", "replace").splitlines()
    shutil.rmtree(trial.folder)
    counts: Counter[str] = Counter()
    calls = []
    for line in lines:
        found = re.match(
            rf"{lines[0].split()[0]} +(\w+)\((\d*)", line
        )  # those of the main thread: strace counts by thread
        if found:
            counts[found[1]] += 1
            if found[1] != "write" or int(found[2]) > 2:
                calls.append((found[1], counts[found[1]]))
    return calls


def at_every_call(ready: Path, job: Job, step: int) -> Iterator[Callable[[], None]]:
    """SIGKILL at each call, then ENOSPC from each that may need room."""
    calls = calls_of(ready, job)
    job.found["calls that change the disk"] = Counter({"in one run": len(calls)})

    def one(call: tuple[str, int], what: str, how: str, codes: set[int], may_leave: bool) -> None:
        trial = Trial(ready, job)
        options = ("-e", f"trace={CALLS}", "-e", f"inject={call[0]}:{what}:when={call[1]}", "-o", os.devnull)
        trial.judge(how, under_strace(trial, *options), codes, may_leave=may_leave)

    for call in calls[::step]:
        yield lambda call=call: one(call, "signal=SIGKILL", "SIGKILL at a call", {137}, True)
    for call in calls[::step]:
        if call[0] not in NEED_NO_ROOM:
            yield lambda call=call: one(call, "error=ENOSPC", "ENOSPC from a call", {7}, False)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    desk = Path(__file__).resolve().parent.parent / "examples" / "support_desk"
    parser.add_argument("--train", type=Path, default=desk / "train.jsonl")
    parser.add_argument("--labels", type=Path, default=desk / "labels.json")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--bundle", type=Path, help="use this bundle, and leave out train and build")
    parser.add_argument("--jobs", default="train,build,labels,classify,pack")
    parser.add_argument("--kills", type=int, default=20, help="random instants of each signal and job")
    parser.add_argument("--every", type=int, default=1, help="every so many calls; 0 leaves strace out")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    backbone = str(Path(arguments.backbone).resolve()) if Path(arguments.backbone).is_dir() else arguments.backbone
    names = set(arguments.jobs.split(",")) - (set() if arguments.bundle is None else {"train", "build"})
    picked = [job for job in jobs(backbone) if job.name in names]
    bundle = None if arguments.bundle is None else arguments.bundle.resolve()
    import_everything(bundle is None)
    draw, rows = random.Random(arguments.seed), {}
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True)) as progress:
        ready = Path(name) / "ready"
        ready.mkdir()
        prepare(ready, arguments.train, arguments.labels, backbone, bundle)
        for job in picked:
            undisturbed(ready, job)
            steps = [
                lambda signals=signals, job=job: at_random(ready, job, signals, draw) for signals in SIGNALS
            ] * arguments.kills
            steps += list(at_every_call(ready, job, arguments.every)) if arguments.every else []
            for step in progress.track(steps, description=job.name):
                step()
            rows[job.name] = {how: dict(counts) for how, counts in job.found.items()} | {"problems": job.problems}
            if arguments.json is not None:  # after each, for those who cannot wait
                found = {"seed": arguments.seed, "kills": arguments.kills, "every": arguments.every, "jobs": rows}
                arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(rows, indent=1))
    if any(job.problems for job in picked):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
