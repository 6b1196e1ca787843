"""Interrupt the commands that write, and check what they leave.

    python -m benchmarks.robustness.kill_anything --kills 1000 --signals 100 --every 1 --json benchmarks/results/kill_anything.json

Every command replaces existing outputs. After each interruption the script checks that:

- each output is the old or the new one, complete;
- the exit code is the documented one;
- no temporary file remains next to the output, after a signal that can be handled and after a full disk;
- the same command, run again, gives the outputs and files of an undisturbed run, byte for byte;
- no saved answer of ``augment`` is lost, and at most the requests under way are bought again.

Interruptions:

- ``--kills``: SIGKILL at random times;
- ``--signals``: SIGINT, SIGINT twice, SIGTERM and SIGHUP at random times, this many of each;
- ``--cold``: the same signals, in processes that import everything themselves;
- ``--every N``: faults at every N-th system call that changes the disk (with strace): SIGKILL, SIGINT, SIGTERM, EIO
  once, and a disk that stays full.

Folders in the same state (except for names of temporary files) are run again only once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.robustness.kill_jobs import Job, PaidAnswers, Trial, jobs, prepare
from benchmarks.robustness.warm_commands import SAID, WarmCommands
from tests.conftest import make_tiny_backbone

#: System calls that change what is on the disk, and those of them that a full disk does not mind.
CALLS = "write,pwrite64,writev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,chmod,fchmod"
NEED_NO_ROOM = ("unlink", "unlinkat", "rmdir", "chmod", "fchmod")
SIGNALS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT,) * 2,
    "SIGTERM": (signal.SIGTERM,),
    "SIGHUP": (signal.SIGHUP,),
}
#: Faults by name: the injection for strace, the exit codes, and whether the command can clean up.
FAULTS = {
    "SIGKILL at a call": ("signal=SIGKILL:when={}", {137}, False),
    "SIGINT at a call": ("signal=SIGINT:when={}", {130}, True),
    "SIGTERM at a call": ("signal=SIGTERM:when={}", {143}, True),
    "EIO from a call": ("error=EIO:when={}", {7}, True),
    "ENOSPC from a call on": ("error=ENOSPC:when={}+", {7}, True),
}


class Disturber:
    """Makes trials of prepared jobs and interrupts them."""

    def __init__(self, ready: Path, warm: WarmCommands, paid: PaidAnswers, draw: random.Random) -> None:
        self._ready, self._warm, self._paid, self._draw = ready, warm, paid, draw

    def trial(self, job: Job) -> Trial:
        """A fresh one."""
        return Trial(self._ready, self._warm, job, self._paid)

    def at_random(self, job: Job, name: str) -> None:
        """A signal at a random instant."""
        trial = self.trial(job)
        pid = trial.start()
        self._signal(pid, name, job.duration_s)
        trial.judge(name, self._warm.wait(pid), _codes(name), polite=name != "SIGKILL")

    def cold(self, job: Job, name: str) -> None:
        """A signal at a random instant of a process that imports what it needs; one in its first moments ends in a traceback."""
        trial = self.trial(job)
        folder = trial.folder
        program = Path(sys.executable).with_name(job.app)
        environment = os.environ | {"CROSSTUNE_CACHE": f"{folder}/cache", "TMPDIR": f"{folder}/tmp"}
        with (
            (folder / SAID).open("wb") as said,
            subprocess.Popen(
                [program, *job.arguments], cwd=folder, env=environment, stdout=said, stderr=said
            ) as process,
        ):
            self._signal(process.pid, name, 6 + job.duration_s)
            code = process.wait()
        trial.judge(f"{name}, cold", code if code >= 0 else 128 - code, _codes(name), polite=name != "SIGKILL")

    def at_a_call(self, job: Job, call: str, number: int, how: str) -> None:
        """A fault at a system call, given its number among the calls of this name."""
        what, codes, polite = FAULTS[how]
        trial = self.trial(job)
        inject = f"inject={call}:{what.format(number)}"
        code = self._under_strace(trial, "-e", f"trace={CALLS}", "-e", inject, "-o", os.devnull)
        trial.judge(how, code, codes, polite=polite)

    def calls_of(self, job: Job) -> list[tuple[str, int]]:
        """The calls of an undisturbed run's main thread: its name, and its number among the calls of this name."""
        trial = self.trial(job)
        log = trial.folder / "calls.log"
        self._under_strace(trial, "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log))
        lines = log.read_text("utf-8", "replace").splitlines()
        trial.end()
        counts: Counter[str] = Counter()
        calls = []
        for line in lines:
            found = re.match(rf"{trial.pid} +(\w+)\((\d*)", line)  # strace counts the calls of each thread
            if found:
                counts[found[1]] += 1
                if found[1] != "write" or int(found[2]) > 2:
                    calls.append((found[1], counts[found[1]]))
        job.found["calls that change the disk"] = Counter({"in one run": len(calls)})
        return calls

    def _signal(self, pid: int, name: str, duration_s: float) -> None:
        time.sleep(self._draw.uniform(0, 1.05 * duration_s))
        for number in SIGNALS[name]:
            os.kill(pid, number)
            time.sleep(self._draw.uniform(0, 0.02))

    def _under_strace(self, trial: Trial, *options: str) -> int:
        gate = trial.folder.with_suffix(".gate")
        os.mkfifo(gate)
        pid = trial.start(gate)
        tracer = subprocess.Popen(["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE)
        while b"attached" not in (line := tracer.stderr.readline()):
            if not line:
                raise SystemExit("strace did not attach")
        gate.write_bytes(b"")
        code = self._warm.wait(pid)
        tracer.communicate()
        gate.unlink()
        return code


def _codes(name: str) -> set[int]:
    """128 and the number of the signal."""
    return {128 + SIGNALS[name][0]}


def disturbances(
    job: Job, disturber: Disturber, arguments: argparse.Namespace
) -> Iterator[tuple[str, list[Callable[[], None]]]]:
    """Ways of disturbing a job, each with what to do."""
    for name in SIGNALS:
        times = arguments.kills if name == "SIGKILL" else arguments.signals
        yield name, [partial(disturber.at_random, job, name)] * times
        yield f"{name}, cold", [partial(disturber.cold, job, name)] * arguments.cold
    if arguments.every:
        calls = disturber.calls_of(job)[:: arguments.every]
        for how in FAULTS:
            met = calls if "SIG" in how else [call for call in calls if call[0] not in NEED_NO_ROOM]
            yield how, [partial(disturber.at_a_call, job, *call, how) for call in met]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", type=Path, help="folder in the transformers layout; default: a tiny one")
    parser.add_argument("--bundle", type=Path, help="bundle for pack, classify and labels; default: built")
    parser.add_argument(
        "--jobs",
        default="train,augment,filter,evaluate,build,pack,classify,labels",
        help="commands, separated by commas",
    )
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs at random times per command")
    parser.add_argument("--signals", type=int, default=5, help="other signals at random times per command, of each")
    parser.add_argument("--cold", type=int, default=0, help="signals of each kind to new processes per command")
    parser.add_argument("--every", type=int, default=0, help="inject faults at every N-th system call; 0 for none")
    parser.add_argument("--seed", type=int, default=13, help="seed of the random times")
    parser.add_argument("--json", type=Path, help="JSON file of results, continued if it exists")
    arguments = parser.parse_args()
    os.environ |= {"OPENAI_API_KEY": "sk-nothing-to-see-here", "OMP_NUM_THREADS": "1"}
    names = arguments.jobs.split(",")
    failed = False
    rows = {}
    if arguments.json is not None and arguments.json.exists():
        rows = json.loads(arguments.json.read_bytes())["jobs"]
    paid = PaidAnswers()
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True)) as progress:
        ready = Path(name) / "ready"
        ready.mkdir()
        backbone = (arguments.backbone or make_tiny_backbone(Path(name) / "tiny")).resolve()
        picked = [job for job in jobs(str(backbone), paid.base_url) if job.name in names]
        modules = Path(name) / "modules.txt"
        needed: dict[str, None] = {}  # in the order of import: some modules cannot be imported by themselves
        draw = random.Random(arguments.seed)
        with WarmCommands() as cool:
            prepare(ready, cool, names, str(backbone), arguments.bundle and arguments.bundle.resolve())
            for job in picked:
                Disturber(ready, cool, paid, draw).trial(job).learn(modules)
                needed |= dict.fromkeys(modules.read_text("utf-8").split())
        with WarmCommands(needed) as warm:
            disturber = Disturber(ready, warm, paid, draw)
            for job in picked:
                disturber.trial(job).learn(modules)  # the same bytes again, and how long it takes now
                for how, acts in disturbances(job, disturber, arguments):
                    if not acts:
                        continue
                    for act in progress.track(acts, description=f"{job.name}: {how}"):
                        act()
                    print(f"{job.name}: {how}: {dict(job.found[how])} {job.problems[-3:]}", file=sys.stderr, flush=True)
                    if arguments.json is not None:  # after each, for those who cannot wait
                        rows[job.name] = rows.get(job.name, {}) | _row(job)
                        arguments.json.write_text(json.dumps({"jobs": rows}, indent=1) + "\n", "utf-8")
                rows[job.name] = rows.get(job.name, {}) | _row(job)
                failed |= bool(job.problems)
    paid.close()
    print(json.dumps(rows, indent=1))
    if failed:
        raise SystemExit(1)


def _row(job: Job) -> dict[str, object]:
    found: dict[str, object] = {how: dict(counts) for how, counts in job.found.items()}
    return found | {"states run again": len(job.verified), "problems": job.problems}


if __name__ == "__main__":
    main()
