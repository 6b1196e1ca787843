"""The three runtimes behind one face, for what all of them must do alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from crosstune.core.errors import CrossTuneError
from crosstune.core.token_layout import Text
from crosstune_export import Classifier
from tests.runtime_cpp.c_library import CallError, Library
from tests.runtime_cpp.c_library import Loaded as CppLoaded
from tests.runtime_web.node_runtime import Loaded as WebLoaded
from tests.runtime_web.node_runtime import NodeRuntime, WebError


class Refused(Exception):
    """An error of a runtime; ``code`` is the exit code of its class, ``kind`` the class where there are classes."""

    def __init__(self, code: int, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.kind = code, message, kind


def refusal(runtime: Runtime, path: Path) -> str:
    """What a runtime says of a bundle that is not as it was built."""
    with pytest.raises(Refused) as caught:
        runtime.load(path)
    assert caught.value.code == 5
    assert caught.value.kind in ("BundleIntegrityError", None)
    return caught.value.message


@dataclass(frozen=True)
class Answer:
    """What a runtime says of one text."""

    label: str | None
    probs: tuple[float, ...]
    truncated: bool
    scope: float | None


class Loaded(Protocol):
    """A classifier. Every call raises ``Refused``."""

    digest: str

    def answer(self, text: Text, threshold: float | None = None) -> Answer: ...

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]: ...

    def selftest_passes(self) -> bool: ...

    def close(self) -> None: ...


class Runtime(Protocol):
    """A way to load bundles."""

    def load(self, path: Path) -> Loaded: ...

    def graph_place(self, path: Path) -> str:
        """What messages call the graph of a bundle."""
        ...


class PythonRuntime:
    def load(self, path: Path) -> Loaded:
        return _Python(_called(lambda: Classifier.load(path)))

    def graph_place(self, path: Path) -> str:
        return str(path)


class CppRuntime:
    def __init__(self, library: Library) -> None:
        self._library = library

    def load(self, path: Path) -> Loaded:
        return _Cpp(self._library, path, _called(lambda: self._library.load(path)))

    def graph_place(self, path: Path) -> str:
        return str(path)


class WebRuntime:
    def __init__(self, node: NodeRuntime) -> None:
        self._node = node

    def load(self, path: Path) -> Loaded:
        return _Web(_called(lambda: self._node.load(path)))

    def graph_place(self, path: Path) -> str:
        return f"{path}/model.onnx"


_WEB_CODES = {"ConfigError": 2, "PlatformError": 2, "DataError": 3}


def _called(call):
    """The outcome of a call, errors of all runtimes made one."""
    try:
        return call()
    except CrossTuneError as error:
        raise Refused(error.exit_code, str(error), type(error).__name__) from error
    except CallError as error:
        raise Refused(error.status, str(error)) from error
    except WebError as error:
        assert error.name in _WEB_CODES or error.name.startswith("Bundle"), error.name
        raise Refused(_WEB_CODES.get(error.name, 5), str(error), error.name) from error


class _Python:
    def __init__(self, inner: Classifier) -> None:
        self._inner, self.digest = inner, inner.manifest.digest

    def answer(self, text: Text, threshold: float | None = None) -> Answer:
        (found,) = _called(lambda: self._inner.classify([text], batch_size=1, threshold=threshold))
        return Answer(found.label, tuple(found.probs.tolist()), found.truncated, found.scope)

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]:
        found = _called(lambda: self._inner.token_ids([text])[0])
        return found, self.answer(text).truncated

    def selftest_passes(self) -> bool:
        return _called(self._inner.selftest).passed

    def close(self) -> None:
        pass


class _Cpp:
    def __init__(self, library: Library, path: Path, inner: CppLoaded) -> None:
        self._library, self._path, self._inner = library, path, inner
        self.digest = library.digest(inner.handle).decode()

    def answer(self, text: Text, threshold: float | None = None) -> Answer:
        strict = lambda: self._library.load(self._path, threshold=threshold)  # noqa: E731
        inner = self._inner if threshold is None else _called(strict)
        found = _called(lambda: inner.classify(*_utf8(text)))
        scope = None if math.isnan(found.scope) else found.scope
        return Answer(found.label, found.probs, found.truncated, scope)

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]:
        ids, truncated = _called(lambda: self._inner.tokenize(*_utf8(text)))
        return tuple(ids), truncated

    def selftest_passes(self) -> bool:
        try:
            _called(self._inner.selftest)
        except Refused as error:
            if error.code == 6:
                return False
            raise
        return True

    def close(self) -> None:
        pass


class _Web:
    def __init__(self, inner: WebLoaded) -> None:
        self._inner, self.digest = inner, inner.digest

    def answer(self, text: Text, threshold: float | None = None) -> Answer:
        (found,) = _called(lambda: self._inner.classify([text], threshold))
        return Answer(found["label"], tuple(found["probs"]), found["truncated"], found["scope"])

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]:
        ((ids, _, truncated),) = _called(lambda: self._inner.tokenize([text]))
        return tuple(ids), truncated

    def selftest_passes(self) -> bool:
        return _called(self._inner.selftest)["passed"]

    def close(self) -> None:
        self._inner.close()


def _utf8(text: Text) -> list[bytes]:
    """As a caller of the C ABI has it, who repairs unpaired surrogates when UTF-16 becomes UTF-8."""
    parts = [text] if isinstance(text, str) else text
    return [part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode() for part in parts]
