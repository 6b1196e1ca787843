"""Creates onnxruntime sessions; no other module does."""

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
from crosstune_export.runtime.kernels import PORTABLE, FastKernels, check_kernels, register, wanted
from crosstune_export.runtime.machine_limits import memory_left_bytes, processor_limit

#: Distributions that install the module ``onnxruntime``; if both are installed, they overwrite each other's files.
RUNTIME_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
CPU_PROVIDERS = ("CPUExecutionProvider",)
#: Maximum threads per session or number of processes; chosen by hand, so that a typing error cannot block the machine.
MOST_THREADS = 256
#: First onnxruntime with the option ``enable_fallback``.
_FALLBACK_OPTION_SINCE = (1, 23, 0)
#: Sessions are created one at a time, because concurrent creation is not safe (onnxruntime issue 27089).
_creation = threading.Lock()


def _unlock_in_child() -> None:
    global _creation  # noqa: PLW0603 -- a thread that holds the lock does not exist in the child
    _creation = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)


def open_session(
    model: bytes,
    graph: GraphFacts,
    where: str,
    *,
    longest: int = 1,
    threads: int = 1,
    providers: Sequence[str] = CPU_PROVIDERS,
    allow_fallback: bool = False,
    kernels: str = "auto",
) -> GraphSession:
    """Check a graph and create a session for it.

    Args:
        model: Contents of ``model.onnx``.
        graph: Section ``graph`` of the manifest.
        where: Name of the graph in messages.
        longest: Largest number of tokens of a text; a graph that would take too much for them is refused.
        threads: Threads per run, at least 1.
        providers: Execution providers of onnxruntime, in order of preference.
        allow_fallback: Run on another provider if the first one is not available.
        kernels: One of ``KERNELS``.

    Raises:
        MissingExtraError: onnxruntime is not installed, or kernels that were asked for cannot run.
        BundleVersionError: The installed onnxruntime is older than the graph needs.
        ProviderError: Two onnxruntime wheels are installed, or a provider is not available.
        BundleContentError: The graph has parts that no build writes, or onnxruntime cannot load it.
        ResourceError: There is too little memory.
        ConfigError: ``providers`` is empty or a string, or there are no such kernels.
    """
    check_providers(providers)
    choice = check_kernels(kernels)
    not_this_graph = "" if graph.function is not None else "the graph was built without them"
    fast = wanted(choice, not_this_graph, providers[0] == CPU_PROVIDERS[0])
    left = memory_left_bytes()
    if left is not None and left < len(model):
        raise ResourceError(_too_little_memory(where, len(model), left))
    version = _import_onnxruntime().__version__
    if _version(version) < _version(graph.min_onnxruntime):
        raise BundleVersionError(
            f"{where}: needs onnxruntime >= {graph.min_onnxruntime} (opset {graph.opset}), found {version}. "
            f"Run: pip install 'onnxruntime>={graph.min_onnxruntime}'"
        )
    vocabulary_size = check_graph(model, graph, where, longest)

    def open_with(chosen: FastKernels) -> Any:  # noqa: ANN401
        return open_inner(
            model,
            where,
            threads=threads,
            providers=providers,
            allow_fallback=allow_fallback,
            disabled_optimizers=graph.disabled_optimizers,
            fast=chosen if chosen.name is not None else None,
        )

    try:
        inner = open_with(fast)
    except BundleContentError:
        if fast.name is None or choice != "auto":
            raise
        fast = FastKernels(None, None, "they do not know this graph or this version of onnxruntime")
        inner = open_with(fast)
    _check_signature(inner, graph, where)
    return GraphSession(inner, graph, tuple(inner.get_providers()), vocabulary_size, where, fast)


def open_inner(
    model: bytes,
    where: str,
    *,
    threads: int = 1,
    providers: Sequence[str] = CPU_PROVIDERS,
    allow_fallback: bool = False,
    disabled_optimizers: Sequence[str] = (),
    profile_prefix: str | None = None,
    fast: FastKernels | None = None,
) -> Any:  # noqa: ANN401
    """Create an ``onnxruntime.InferenceSession`` for any graph, without checking the graph.

    Args:
        model: Contents of an ONNX file.
        where: Name of the graph in messages.
        threads: Threads per run, at least 1.
        providers: Execution providers of onnxruntime, in order of preference.
        allow_fallback: Run on another provider if the first one is not available.
        disabled_optimizers: Optimizers of onnxruntime to turn off.
        profile_prefix: Prefix of the profile's path; None turns profiling off. ``end_profiling`` returns the whole path.
        fast: Kernels to run instead of onnxruntime's; None for none.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ProviderError: Two onnxruntime wheels are installed, or a provider is not available.
        BundleContentError: onnxruntime cannot load the graph.
        ResourceError: There is too little memory.
    """
    ort = _import_onnxruntime()
    missing = [name for name in providers if name not in ort.get_available_providers()]
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
    # Otherwise onnxruntime would read external data of the graph from the working directory.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    if fast is not None:
        register(options, fast, threads)
    usable = [name for name in providers if name not in missing]

    def create(names: Sequence[str]) -> Any:  # noqa: ANN401
        # onnxruntime's own fallback prints to stdout and drops ``disabled_optimizers``.
        disabled = list(disabled_optimizers) or None
        return ort.InferenceSession(
            model, options, providers=list(names), disabled_optimizers=disabled, enable_fallback=False
        )

    with _creation, _quiet(ort.__version__):
        try:
            inner = None
            if usable and usable != list(CPU_PROVIDERS):
                with contextlib.suppress(ValueError, RuntimeError):  # if the graph is at fault, the CPU fails too
                    inner = create(usable)
            if inner is None:
                inner = create(CPU_PROVIDERS)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            if _is_out_of_memory(error, reason):
                raise ResourceError(_too_little_memory(where, len(model), memory_left_bytes())) from error
            raise BundleContentError(
                f"{where}: onnxruntime refuses the graph ({reason}). Build the bundle again."
            ) from error
    actual = tuple(inner.get_providers())
    if not allow_fallback and actual[0] != providers[0]:
        raise ProviderError(
            f"providers: asked for {providers[0]}, onnxruntime runs on {actual[0]}. "
            "Check the CUDA installation, or pass allow_fallback (--allow-fallback)."
        )
    return inner


def _is_out_of_memory(error: Exception, reason: str) -> bool:
    return isinstance(error, MemoryError) or "bad_alloc" in reason or "Failed to allocate memory" in reason


def _too_little_memory(where: str, graph_bytes: int, left: int | None) -> str:
    available = "less than that" if left is None else f"{left / 1e6:.0f} MB"
    return (
        f"{where}: memory: found {available} left, expected room for a graph of {graph_bytes / 1e6:.0f} MB and its copies. "
        "Raise the limit, or build a smaller bundle (build --precision int8, --max-size-mb)."
    )


class GraphSession:
    """A loaded graph, which computes probabilities and text vectors from token ids.

    Attributes:
        providers: Execution providers that it runs on.
        vocabulary_size: Number of rows of the embedding table; every token id must be smaller.
        kernels: ``portable`` for onnxruntime's kernels, or the name of the fast ones, such as ``avx512``.
        kernels_reason: Why the fast kernels do not run; empty if they do.
    """

    def __init__(
        self,
        inner: Any,  # noqa: ANN401
        graph: GraphFacts,
        providers: tuple[str, ...],
        vocabulary_size: int,
        where: str,
        kernels: FastKernels,
    ) -> None:
        self._inner, self._graph, self._where = inner, graph, where
        self.kernels, self.kernels_reason = kernels.name or PORTABLE, kernels.reason
        self.providers, self.vocabulary_size = providers, vocabulary_size

    @property
    def label_count(self) -> int | None:
        """Number of columns of ``probs``; None if the graph does not fix it."""
        columns = self._inner.get_outputs()[0].shape[1]
        return columns if isinstance(columns, int) else None

    def run(
        self, feeds: Mapping[str, npt.NDArray[np.int64]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Run the graph once.

        Args:
            feeds: int64 (B, T) arrays by input name; names that are not inputs of the graph are ignored.

        Returns:
            ``probs`` (B, L), ``text_vector`` (B, F) and ``scope`` (B,) or None, float32.

        Raises:
            BundleContentError: onnxruntime fails to run the graph.
            ResourceError: The memory is not enough.
        """
        try:
            outputs = self._inner.run(list(self._graph.outputs), {name: feeds[name] for name in self._graph.inputs})
        except Exception as error:
            reason = " ".join(str(error).split())
            if _is_out_of_memory(error, reason):
                raise ResourceError(
                    f"{self._where}: memory: not enough for {feeds['input_ids'].shape} ids. Raise the limit, or use a smaller batch."
                ) from error
            reason = reason[:200]
            raise BundleContentError(
                f"{self._where}: the graph fails on {feeds['input_ids'].shape} ids ({reason}). Build the bundle again."
            ) from error
        return outputs[0], outputs[1], outputs[2] if len(outputs) > 2 else None


def installed_runtimes() -> dict[str, str]:
    """Return the versions of the installed distributions that contain the module ``onnxruntime``."""
    versions = {}
    for name in RUNTIME_DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _import_onnxruntime() -> Any:  # noqa: ANN401
    if len(installed_runtimes()) > 1:
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
    expected_inputs = [(name, "tensor(int64)", 2) for name in graph.inputs]
    expected_outputs = [(name, "tensor(float)", 1 if name == "scope" else 2) for name in graph.outputs]
    if inputs != expected_inputs or outputs != expected_outputs:
        raise BundleContentError(
            f"{where}: the graph takes {inputs} and gives {outputs}, expected {expected_inputs} and {expected_outputs}. "
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
    """Send the output of an onnxruntime without ``enable_fallback`` to stderr, to keep stdout clean; affects all threads."""
    if _version(version) >= _FALLBACK_OPTION_SINCE:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def check_providers(providers: Sequence[str]) -> tuple[str, ...]:
    """Return the names of execution providers as a tuple.

    Raises:
        ConfigError: ``providers`` is empty, or a string, whose letters would be taken as names.
    """
    if isinstance(providers, str):
        raise ConfigError(f"providers: found the string {providers!r}, expected a list of names.")
    if not providers:
        raise ConfigError("providers: found none, expected at least one, such as CPUExecutionProvider.")
    return tuple(providers)


def check_threads(name: str, count: int) -> int:
    """Return a number of threads or processes from 1 to ``MOST_THREADS``.

    Args:
        name: Name of the option in the message.
        count: The number.

    Raises:
        ConfigError: The number is out of range.
    """
    if not 1 <= count <= MOST_THREADS:
        raise ConfigError(f"{name}: found {count}, expected 1 to {MOST_THREADS}.")
    return count


def default_threads() -> int:
    """Return the number of processors that this process may use, by its affinity and its control group."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = processor_limit()
    return affinity if limit is None else max(1, min(affinity, math.ceil(limit)))


def providers_of(device: str) -> tuple[str, ...]:
    """Return the execution providers of a device, ``cpu`` or ``cuda``, in order of preference.

    Raises:
        ConfigError: The device is unknown.
    """
    known = {"cpu": CPU_PROVIDERS, "cuda": ("CUDAExecutionProvider", *CPU_PROVIDERS)}
    if device not in known:
        raise ConfigError(f"provider: found {device!r}, expected one of {', '.join(known)}.")
    return known[device]
