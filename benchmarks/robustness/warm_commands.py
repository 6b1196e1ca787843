"""Run commands of both programs in forks of a process that has imported everything, so that a start takes milliseconds.

A fork becomes the command, with its own process, signals and files. It ends without shutting down the interpreter,
which takes longer than most commands. This file is both sides: ``WarmCommands`` starts it as a program and exchanges
lines of JSON with it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

#: Where a command says what it has to say, in the folder it runs in.
SAID = "said.txt"


class WarmCommands:
    """The process that forks; a context."""

    def __init__(self, modules: Iterable[str] = ()) -> None:
        """Start it; it imports these modules."""
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._ask([*modules])

    def __enter__(self) -> WarmCommands:
        return self

    def __exit__(self, *error: object) -> None:
        with self._process:
            self._process.stdin.close()

    def start(
        self, folder: Path, app: str, arguments: list[str], *, gate: Path | None = None, names: Path | None = None
    ) -> int:
        """Start a command.

        Args:
            folder: Where it runs, with its caches and temporary folder.
            app: ``crosstune`` or ``crosstune-export``.
            arguments: Of the command.
            gate: A named pipe; the command begins when somebody has opened and closed it for writing.
            names: File for the names of the modules that the command needed.

        Returns:
            Its process id, which stands for it until ``wait``.
        """
        paths = [None if path is None else str(path) for path in (folder, gate, names)]
        return self._ask([paths, app, arguments])

    def wait(self, pid: int) -> int:
        """Exit code as a shell tells it: 128 and its number for a signal that ended the process."""
        code = os.waitstatus_to_exitcode(self._ask(pid))
        return code if code >= 0 else 128 - code

    def run(self, folder: Path, app: str, arguments: list[str], *, names: Path | None = None) -> int:
        """Start a command and wait for its exit code."""
        return self.wait(self.start(folder, app, arguments, names=names))

    def _ask(self, question: object) -> int:
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def _serve() -> list[object] | None:
    """Fork and wait as told; returns in a fork with its order, and at the end with None."""
    sys.modules["onnxruntime"] = None  # type: ignore[assignment] # its threads do not survive a fork, and its exit waits for them
    for name in json.loads(sys.stdin.readline()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    del sys.modules["onnxruntime"]
    print(0, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            answer = os.waitpid(order, 0)[1]
        elif not (answer := os.fork()):
            return order
        print(answer, flush=True)
    return None


def main() -> None:
    """Entry point."""
    if (order := _serve()) is not None:
        code: object = 1
        try:
            _become(order)
        except SystemExit as end:
            code = end.code or 0
        except KeyboardInterrupt:  # before the program began
            code = 130
        finally:
            atexit._run_exitfuncs()
            os._exit(code if isinstance(code, int) else 1)


def _become(order: list[object]) -> None:
    """Run a command; ends with ``SystemExit``."""
    (folder, gate, names), app, arguments = order
    os.chdir(folder)
    os.environ |= {"CROSSTUNE_CACHE": f"{folder}/cache", "TMPDIR": f"{folder}/tmp"}
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(SAID, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(said, descriptor)
    os.close(said)
    if names is not None:
        atexit.register(lambda: Path(names).write_text("\n".join(sys.modules), "utf-8"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [app, *arguments]
    if gate is not None:
        Path(gate).read_bytes()
    from crosstune_cli import crosstune_app, export_app

    {"crosstune": crosstune_app.main, "crosstune-export": export_app.main}[app]()


if __name__ == "__main__":
    main()
