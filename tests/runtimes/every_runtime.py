"""The three runtimes with one interface, for tests of behavior that they share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from crosstune.core.errors import CrossTuneError
from crosstune.core.token_layout import Text
from crosstune_export import Classifier
from tests.fixtures.c_library import CallError, Library
from tests.fixtures.c_library import Loaded as CppLoaded
from tests.fixtures.node_runtime import Loaded as WebLoaded
from tests.fixtures.node_runtime import NodeRuntime, WebError


class Refused(Exception):
    """An error of a runtime. ``code`` is its exit code; ``kind`` its class, if the runtime has classes."""

    def __init__(self, code: int, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.kind = code, message, kind


def refusal(runtime: Runtime, path: Path) -> str:
    """The message with which a runtime refuses a bundle."""
    with pytest.raises(Refused) as caught:
        runtime.load(path)
    assert caught.value.code == 5
    assert caught.value.kind in ("BundleIntegrityError", None)
    return caught.value.message


@dataclass(frozen=True)
class Answer:
    """The answer for one text."""

    label: str | None
    probs: tuple[float, ...]
    truncated: bool
    similarity: float | None


class Loaded(Protocol):
    """A loaded classifier. Every method may raise ``Refused``."""

    digest: str

    def answer(self, text: Text, threshold: float | None = None, min_similarity: float | None = None) -> Answer: ...

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]: ...

    def selftest_passes(self) -> bool: ...

    def close(self) -> None: ...


class Runtime(Protocol):
    """A runtime that loads bundles."""

    def load(self, path: Path) -> Loaded: ...

    def graph_place(self, path: Path) -> str:
        """The name of a bundle's graph in messages."""
        ...


class PythonRuntime:
    def load(self, path: Path) -> Loaded:
        return _Python(_convert_errors(lambda: Classifier.load(path)))

    def graph_place(self, path: Path) -> str:
        return str(path)


class CppRuntime:
    def __init__(self, library: Library) -> None:
        self._library = library

    def load(self, path: Path) -> Loaded:
        return _Cpp(self._library, path, _convert_errors(lambda: self._library.load(path)))

    def graph_place(self, path: Path) -> str:
        return str(path)


class WebRuntime:
    def __init__(self, node: NodeRuntime) -> None:
        self._node = node

    def load(self, path: Path) -> Loaded:
        return _Web(_convert_errors(lambda: self._node.load(path)))

    def graph_place(self, path: Path) -> str:
        return f"{path}/model.onnx"


_WEB_CODES = {"ConfigError": 2, "PlatformError": 2, "DataError": 3}


def _convert_errors(call):
    """Call a function; errors of every runtime become ``Refused``."""
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

    def answer(self, text: Text, threshold: float | None = None, min_similarity: float | None = None) -> Answer:
        rule = {"threshold": threshold, "min_similarity": min_similarity}
        (found,) = _convert_errors(lambda: self._inner.classify([text], batch_size=1, **rule))
        return Answer(found.label, tuple(found.probs.tolist()), found.truncated, found.similarity)

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]:
        found = _convert_errors(lambda: self._inner.token_ids([text])[0])
        return found, self.answer(text).truncated

    def selftest_passes(self) -> bool:
        return _convert_errors(self._inner.selftest).passed

    def close(self) -> None:
        pass


class _Cpp:
    def __init__(self, library: Library, path: Path, inner: CppLoaded) -> None:
        self._library, self._path, self._inner = library, path, inner
        self.digest = library.digest(inner.handle).decode()

    def answer(self, text: Text, threshold: float | None = None, min_similarity: float | None = None) -> Answer:
        inner = self._inner
        if threshold is not None or min_similarity is not None:
            rule = {"threshold": threshold, "min_similarity": min_similarity}
            inner = _convert_errors(lambda: self._library.load(self._path, **rule))
        found = _convert_errors(lambda: inner.classify(*_utf8(text)))
        similarity = None if math.isnan(found.similarity) else found.similarity
        return Answer(found.label, found.probs, found.truncated, similarity)

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]:
        ids, truncated = _convert_errors(lambda: self._inner.tokenize(*_utf8(text)))
        return tuple(ids), truncated

    def selftest_passes(self) -> bool:
        try:
            _convert_errors(self._inner.selftest)
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

    def answer(self, text: Text, threshold: float | None = None, min_similarity: float | None = None) -> Answer:
        (found,) = _convert_errors(lambda: self._inner.classify([text], threshold, min_similarity))
        return Answer(found["label"], tuple(found["probs"]), found["truncated"], found["similarity"])

    def ids(self, text: Text) -> tuple[tuple[int, ...], bool]:
        ((ids, _, truncated),) = _convert_errors(lambda: self._inner.tokenize([text]))
        return tuple(ids), truncated

    def selftest_passes(self) -> bool:
        return _convert_errors(self._inner.selftest)["passed"]

    def close(self) -> None:
        self._inner.close()


def _utf8(text: Text) -> list[bytes]:
    """The text as UTF-8, with unpaired surrogates replaced, as a caller of the C ABI would pass it."""
    parts = [text] if isinstance(text, str) else text
    return [part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode() for part in parts]
