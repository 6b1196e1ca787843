"""The one place that builds an onnxruntime session."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import (
    BundleContentError,
    BundleVersionError,
    ConfigError,
    MissingExtraError,
    ProviderError,
    ResourceError,
)
from crosstune_export.bundle.graph_check import check_graph
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.runtime.machine_limits import memory_left_bytes, processor_limit

#: Distributions that install the module ``onnxruntime``; two at once overwrite each other's files.
RUNTIME_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
CPU_PROVIDERS = ("CPUExecutionProvider",)
#: Threads of a session, or processes, that can be asked for: with a hundred thousand a whole machine stands still.
MOST_THREADS = 256
#: The onnxruntime that can be told not to go back to the CPU by itself.
_KNOWS_FALLBACK = (1, 23, 0)
#: onnxruntime creates sessions safely only one at a time (its issue 27089).
_creation = threading.Lock()


def _unlock_in_child() -> None:
    global _creation  # noqa: PLW0603 -- a fork may come while another thread holds the lock, and that thread has no copy here
    _creation = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)


def open_session(
    model: bytes,
    graph: GraphFacts,
    where: str,
    *,
    threads: int = 1,
    providers: Sequence[str] = CPU_PROVIDERS,
    allow_fallback: bool = False,
) -> GraphSession:
    """Build a session from the bytes of a graph.

    Args:
        model: The ONNX file.
        graph: The manifest's facts about it.
        where: What to call it in messages.
        threads: Threads inside one run, at least 1.
        providers: onnxruntime execution providers, in order of preference.
        allow_fallback: Accept that onnxruntime runs on another provider than the first one asked for.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BundleVersionError: The installed onnxruntime is older than the graph needs.
        ProviderError: Two onnxruntime wheels clash, or a provider is not to be had.
        BundleContentError: The graph has parts that no build writes, or onnxruntime refuses it.
        ResourceError: There is too little memory.
        ConfigError: No provider is asked for, or one string.
    """
    check_providers(providers)
    left = memory_left_bytes()
    if left is not None and left < len(model):
        raise ResourceError(_too_little_memory(where, len(model), left))
    version = _import_onnxruntime().__version__
    if _version(version) < _version(graph.min_onnxruntime):
        raise BundleVersionError(
            f"{where}: needs onnxruntime >= {graph.min_onnxruntime} (opset {graph.opset}), found {version}. "
            f"Run: pip install 'onnxruntime>={graph.min_onnxruntime}'"
        )
    vocabulary_size = check_graph(model, graph, where)
    inner = open_inner(
        model,
        where,
        threads=threads,
        providers=providers,
        allow_fallback=allow_fallback,
        disabled_optimizers=graph.disabled_optimizers,
    )
    _check_signature(inner, graph, where)
    return GraphSession(inner, graph, tuple(inner.get_providers()), vocabulary_size, where)


def open_inner(
    model: bytes,
    where: str,
    *,
    threads: int = 1,
    providers: Sequence[str] = CPU_PROVIDERS,
    allow_fallback: bool = False,
    disabled_optimizers: Sequence[str] = (),
    profile_prefix: str | None = None,
) -> Any:  # noqa: ANN401
    """Build onnxruntime's own session from the bytes of any graph, with the arguments of ``open_session``.

    ``profile_prefix`` is the start of a file's name: runs are profiled, and ``end_profiling`` gives the whole name.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ProviderError: Two onnxruntime wheels clash, or a provider is not to be had.
        BundleContentError: onnxruntime refuses the graph.
        ResourceError: There is too little memory.
    """
    ort = _import_onnxruntime()
    wanted = list(providers)
    missing = [name for name in wanted if name not in ort.get_available_providers()]
    if missing and not allow_fallback:
        raise ProviderError(
            f"providers: {missing[0]} is not in this onnxruntime, available: "
            f"{', '.join(ort.get_available_providers())}. Install crosstune-export[gpu] for CUDA, "
            "or pass allow_fallback (--allow-fallback)."
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    if profile_prefix is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile_prefix
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without a folder of its own onnxruntime reads external data of a graph in bytes from the working directory.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    usable = [name for name in wanted if name not in missing]

    def create(names: Sequence[str]) -> Any:  # noqa: ANN401
        # onnxruntime's own way back to the CPU prints to stdout and forgets which optimizers are off.
        off = list(disabled_optimizers) or None
        return ort.InferenceSession(
            model, options, providers=list(names), disabled_optimizers=off, enable_fallback=False
        )

    with _creation, _quiet(ort.__version__):
        try:
            inner = None
            if usable and usable != list(CPU_PROVIDERS):
                with contextlib.suppress(ValueError, RuntimeError):  # of the provider, perhaps: the CPU will tell
                    inner = create(usable)
            if inner is None:
                inner = create(CPU_PROVIDERS)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            if isinstance(error, MemoryError) or "bad_alloc" in reason or "Failed to allocate memory" in reason:
                raise ResourceError(_too_little_memory(where, len(model), memory_left_bytes())) from error
            raise BundleContentError(
                f"{where}: onnxruntime refuses the graph ({reason}). Build the bundle again."
            ) from error
    actual = tuple(inner.get_providers())
    if not allow_fallback and actual[0] != wanted[0]:
        raise ProviderError(
            f"providers: asked for {wanted[0]}, onnxruntime runs on {actual[0]}. "
            "Check the CUDA installation, or pass allow_fallback (--allow-fallback)."
        )
    return inner


def _too_little_memory(where: str, graph_bytes: int, left: int | None) -> str:
    there = "less than that" if left is None else f"{left / 1e6:.0f} MB"
    return (
        f"{where}: memory: found {there} left, expected room for a graph of {graph_bytes / 1e6:.0f} MB and its copies. "
        "Raise the limit, or build a smaller bundle (build --precision int8, --max-size-mb)."
    )


class GraphSession:
    """A loaded graph: ids in, probabilities and text vectors out.

    Attributes:
        providers: What it really runs on.
        vocabulary_size: Every id must be below.
    """

    def __init__(
        self,
        inner: Any,  # noqa: ANN401
        graph: GraphFacts,
        providers: tuple[str, ...],
        vocabulary_size: int,
        where: str,
    ) -> None:
        self._inner, self._graph, self._where = inner, graph, where
        self.providers, self.vocabulary_size = providers, vocabulary_size

    @property
    def label_count(self) -> int | None:
        """Columns of ``probs``; None where the graph leaves them open."""
        columns = self._inner.get_outputs()[0].shape[1]
        return columns if isinstance(columns, int) else None

    def run(
        self, feeds: Mapping[str, npt.NDArray[np.int64]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Run the graph once.

        Args:
            feeds: int64 arrays of shape (B, T) for at least the graph's inputs; others are left out.

        Returns:
            ``probs`` (B, L), ``text_vector`` (B, F) and ``scope`` (B,) or None, float32.

        Raises:
            BundleContentError: onnxruntime gives up on the graph.
        """
        try:
            found = self._inner.run(list(self._graph.outputs), {name: feeds[name] for name in self._graph.inputs})
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleContentError(
                f"{self._where}: the graph fails on {feeds['input_ids'].shape} ids ({reason}). Build the bundle again."
            ) from error
        return found[0], found[1], found[2] if len(found) > 2 else None


def installed_runtimes() -> dict[str, str]:
    """Versions of the installed distributions that bring the module ``onnxruntime``."""
    found = {}
    for name in RUNTIME_DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _import_onnxruntime() -> Any:  # noqa: ANN401
    found = installed_runtimes()
    if len(found) > 1:
        raise ProviderError(
            "onnxruntime: both onnxruntime and onnxruntime-gpu are installed, expected one: they overwrite each other. "
            "Run: pip uninstall onnxruntime onnxruntime-gpu, then pip install 'crosstune-export[cpu]' or '[gpu]'."
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "onnxruntime: not installed, expected for classifying. Run: pip install 'crosstune-export[cpu]' "
            "(or '[gpu]' for CUDA)."
        ) from error
    return onnxruntime


def _check_signature(inner: Any, graph: GraphFacts, where: str) -> None:  # noqa: ANN401
    inputs = [(node.name, node.type, len(node.shape)) for node in inner.get_inputs()]
    outputs = [(node.name, node.type, len(node.shape)) for node in inner.get_outputs()]
    wanted_inputs = [(name, "tensor(int64)", 2) for name in graph.inputs]
    wanted_outputs = [(name, "tensor(float)", 1 if name == "scope" else 2) for name in graph.outputs]
    if inputs != wanted_inputs or outputs != wanted_outputs:
        raise BundleContentError(
            f"{where}: the graph takes {inputs} and gives {outputs}, expected {wanted_inputs} and {wanted_outputs}. "
            "Build the bundle again."
        )
    size = inner.get_outputs()[1].shape[1]
    if isinstance(size, int) and size != graph.text_vector_size:
        raise BundleContentError(
            f"{where}: text_vector has {size} columns, expected {graph.text_vector_size}. Build the bundle again."
        )


def _version(text: str) -> tuple[int, ...]:
    parts = []
    for part in text.split("+")[0].split(".")[:3]:
        digits = "".join(character for character in part if character.isdigit())
        parts.append(int(digits or 0))
    return tuple(parts)


@contextlib.contextmanager
def _quiet(version: str) -> Iterator[None]:
    """Keep what an onnxruntime that knows no ``enable_fallback`` prints to stdout out of our results, of all threads alike."""
    if _version(version) >= _KNOWS_FALLBACK:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def check_providers(providers: Sequence[str]) -> tuple[str, ...]:
    """The names of execution providers.

    Raises:
        ConfigError: There is none, or one string, whose letters would be taken for names.
    """
    if isinstance(providers, str):
        raise ConfigError(f"providers: found the string {providers!r}, expected a list of names.")
    if not providers:
        raise ConfigError("providers: found none, expected at least one, such as CPUExecutionProvider.")
    return tuple(providers)


def check_threads(name: str, count: int) -> int:
    """The count, of threads or processes, where it is from 1 to ``MOST_THREADS``; ``name`` is for the message.

    Raises:
        ConfigError: It is out of range.
    """
    if not 1 <= count <= MOST_THREADS:
        raise ConfigError(f"{name}: found {count}, expected 1 to {MOST_THREADS}.")
    return count


def default_threads() -> int:
    """Processors that this process may use: affinity and the limit of its control group respected."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = processor_limit()
    return affinity if limit is None else max(1, min(affinity, math.ceil(limit)))


def providers_of(device: str) -> tuple[str, ...]:
    """The execution providers of a device, ``cpu`` or ``cuda``, in order of preference.

    Raises:
        ConfigError: It is another word.
    """
    known = {"cpu": CPU_PROVIDERS, "cuda": ("CUDAExecutionProvider", *CPU_PROVIDERS)}
    if device not in known:
        raise ConfigError(f"provider: found {device!r}, expected one of {', '.join(known)}.")
    return known[device]
