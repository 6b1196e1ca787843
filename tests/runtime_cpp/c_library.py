"""libcrosstune through its C ABI with ctypes, as a program in another language would use it."""

from __future__ import annotations

import ctypes as c
from dataclasses import dataclass


class Text(c.Structure):
    _fields_ = (("text", c.c_char_p), ("text_size", c.c_size_t), ("pair", c.c_char_p), ("pair_size", c.c_size_t))

    @classmethod
    def of(cls, text: bytes, pair: bytes | None = None) -> Text:
        return cls(text, len(text), pair, 0 if pair is None else len(pair))


class Answer(c.Structure):
    _fields_ = (("label", c.c_int32), ("prob", c.c_float), ("scope", c.c_float), ("truncated", c.c_int32))


class Report(c.Structure):
    _fields_ = (
        ("samples", c.c_size_t),
        ("wrong_ids", c.c_size_t),
        ("max_difference", c.c_double),
        ("tolerance", c.c_double),
    )


@dataclass(frozen=True)
class Prediction:
    """The answer for one text."""

    label: str | None
    prob: float
    probs: tuple[float, ...]
    scope: float
    truncated: bool


class CallError(Exception):
    """A call returned a status other than 0."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Library:
    """The functions of crosstune.h with their types."""

    def __init__(self, path: str) -> None:
        self.dll = dll = c.CDLL(path)
        handle, out = c.c_void_p, c.POINTER(c.c_void_p)
        for name, result_type, argument_types in (
            ("version", c.c_char_p, []),
            ("tokenizer_reference", c.c_char_p, []),
            ("error", c.c_char_p, []),
            ("options_create", c.c_int, [out]),
            ("options_destroy", None, [handle]),
            ("options_set_threads", c.c_int, [handle, c.c_int32]),
            ("options_set_onnxruntime", c.c_int, [handle, c.c_char_p]),
            ("options_set_threshold", c.c_int, [handle, c.c_double]),
            ("classifier_create", c.c_int, [c.c_char_p, handle, out]),
            ("classifier_destroy", None, [handle]),
            ("label_count", c.c_size_t, [handle]),
            ("label", c.c_char_p, [handle, c.c_size_t]),
            ("takes_pairs", c.c_int32, [handle]),
            ("max_length_tokens", c.c_size_t, [handle]),
            ("digest", c.c_char_p, [handle]),
            ("onnxruntime_version", c.c_char_p, [handle]),
            ("classify", c.c_int, [handle, c.POINTER(Text), c.POINTER(Answer), c.POINTER(c.c_float)]),
            (
                "tokenize",
                c.c_int,
                [
                    handle,
                    c.POINTER(Text),
                    c.POINTER(c.c_int64),
                    c.c_size_t,
                    c.POINTER(c.c_size_t),
                    c.POINTER(c.c_int32),
                ],
            ),
            ("selftest", c.c_int, [handle, c.POINTER(Report)]),
        ):
            function = getattr(dll, f"crosstune_{name}")
            function.restype, function.argtypes = result_type, argument_types
            setattr(self, name, function)

    def check(self, status: int) -> None:
        if status:
            raise CallError(status, self.error().decode())

    def load(self, bundle, *, threads=None, threshold=None, onnxruntime=None) -> Loaded:
        options = c.c_void_p()
        self.check(self.options_create(c.byref(options)))
        try:
            if threads is not None:
                self.check(self.options_set_threads(options, threads))
            if threshold is not None:
                self.check(self.options_set_threshold(options, threshold))
            if onnxruntime is not None:
                self.check(self.options_set_onnxruntime(options, str(onnxruntime).encode()))
            handle = c.c_void_p(1)
            try:
                self.check(self.classifier_create(str(bundle).encode(), options, c.byref(handle)))
            except CallError:
                assert handle.value is None
                raise
        finally:
            self.options_destroy(options)
        return Loaded(self, handle)


class Loaded:
    """A classifier handle, destroyed with this object."""

    def __init__(self, library: Library, handle: c.c_void_p) -> None:
        self.lib, self.handle = library, handle
        count = library.label_count(handle)
        self.labels = tuple(library.label(handle, i).decode() for i in range(count))
        assert library.label(handle, count) is None
        self._max_length = library.max_length_tokens(handle)
        self._ids = (c.c_int64 * self._max_length)()

    def __del__(self) -> None:
        self.lib.classifier_destroy(self.handle)

    def classify(self, text: bytes, pair: bytes | None = None) -> Prediction:
        answer, probs = Answer(), (c.c_float * len(self.labels))()
        self.lib.check(self.lib.classify(self.handle, Text.of(text, pair), answer, probs))
        label = None if answer.label < 0 else self.labels[answer.label]
        return Prediction(label, answer.prob, tuple(probs), answer.scope, bool(answer.truncated))

    def tokenize(self, text: bytes, pair: bytes | None = None) -> tuple[list[int], bool]:
        count, truncated = c.c_size_t(), c.c_int32()
        status = self.lib.tokenize(
            self.handle, Text.of(text, pair), self._ids, self._max_length, c.byref(count), c.byref(truncated)
        )
        self.lib.check(status)
        return self._ids[: count.value], bool(truncated.value)

    def selftest(self) -> Report:
        report = Report()
        self.lib.check(self.lib.selftest(self.handle, report))
        return report
