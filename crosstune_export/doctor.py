"""Checks whether and where bundles run on this machine; each check gives advice."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from crosstune.core.errors import CrossTuneError, SelfTestError
from crosstune_export.bundle.files import BundleFiles, read_bundle
from crosstune_export.bundle.selftest import read_selftest
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.kernels import PORTABLE, fast_kernels
from crosstune_export.runtime.machine_limits import memory_left_bytes, processor_limit
from crosstune_export.runtime.session import default_threads, open_inner, providers_of
from crosstune_export.runtime.tokenization import TextTokenizer

OK, NOTE, PROBLEM = "ok", "note", "problem"
_PACKAGES = ("crosstune-export", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy", "pyarrow", "ray", "torch")
_MODULES = ("onnxruntime", "tokenizers", "numpy")
#: Processor features that int8 kernels use, best first (x86, then Arm), by their names in /proc/cpuinfo.
_FEATURES = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp", "asimd")
_INT8_DOT = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
#: Memory of a process: the file, the parsed graph and the prepacked weights, plus Python with its modules. Estimated by hand.
_MEMORY_PER_GRAPH_BYTE = 3
_PROCESS_BYTES = 80 << 20


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        name: Name of the check.
        status: ``ok``, ``note`` (it works but could be better) or ``problem`` (something will not work).
        found: What was found, human-readable.
        advice: What to do, in one sentence.
        details: What was found, machine-readable.
        exit_code: Exit code of the command if this is its first problem.
    """

    name: str
    status: str
    found: str
    advice: str
    details: Mapping[str, object] = field(default_factory=dict)
    exit_code: int = 2

    def to_json(self) -> dict[str, object]:
        """Return the finding as ``doctor --json`` writes it."""
        body = asdict(self)
        del body["exit_code"]
        return body


def examine(bundle: str | os.PathLike[str] | None = None, device: str = "cpu") -> Iterator[Finding]:
    """Run all checks, and yield each finding as soon as it is known.

    Args:
        bundle: Bundle to run here; None checks only the machine.
        device: Where to run it, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: The device is unknown.
    """
    requested = providers_of(device)
    yield versions()
    yield wheels()
    yield machine()
    yield providers(requested)
    yield processor(_cpu_flags())
    yield kernels()
    yield threads()
    if bundle is not None:
        yield from _examine_bundle(Path(bundle), requested)


def versions() -> Finding:
    """List the installed versions."""
    installed = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Finding(
        "versions",
        OK,
        ", ".join(f"{name} {version}" for name, version in installed.items()),
        "Include these versions when you report a problem.",
        installed,
    )


def wheels() -> Finding:
    """Check that no two distributions install the same module."""
    owners = metadata.packages_distributions()
    clashes = {module: sorted(set(owners[module])) for module in _MODULES if len(set(owners.get(module, ()))) > 1}
    if clashes:
        names = sorted({name for group in clashes.values() for name in group})
        found = "; ".join(f"{module} comes from {' and '.join(group)}" for module, group in clashes.items())
        advice = f"Run: pip uninstall {' '.join(names)}, then install one of them."
        return Finding("wheels", PROBLEM, found, advice, clashes)
    missing = [module for module in _MODULES if module not in owners]
    if missing:
        advice = "Run: pip install 'crosstune-export[cpu]' (or '[gpu]' for CUDA)."
        return Finding("wheels", PROBLEM, f"no {', '.join(missing)}", advice, {"missing": missing})
    found = ", ".join(f"{module} from {owners[module][0]}" for module in _MODULES)
    return Finding("wheels", OK, found, "Nothing to do: each module comes from one distribution.")


def machine() -> Finding:
    """Check that onnxruntime has wheels for this kind of machine."""
    bits = 64 if sys.maxsize > 1 << 32 else 32
    details = {"system": platform.system(), "processor": platform.machine(), "bits": bits, "byte_order": sys.byteorder}
    found = f"{details['system']} {details['processor']}, {bits} bits, {sys.byteorder}-endian"
    if bits == 32 or sys.byteorder != "little":
        advice = "Use a 64-bit little-endian machine: onnxruntime has no wheels for this one."
        return Finding("machine", PROBLEM, found, advice, details)
    if platform.system() == "Linux" and platform.libc_ver()[0] != "glibc":
        advice = "Use an image with glibc: onnxruntime has no wheels for musl."
        return Finding("machine", NOTE, f"{found}, no glibc", advice, details)
    return Finding("machine", OK, found, "Nothing to do.", details)


def providers(requested: Sequence[str]) -> Finding:
    """Check that the installed onnxruntime has the requested execution provider."""
    try:
        import onnxruntime
    except ImportError:
        advice = "Run: pip install 'crosstune-export[cpu]' (or '[gpu]' for CUDA)."
        return Finding(
            "providers", PROBLEM, "onnxruntime is not installed", advice, {"asked": list(requested), "there": []}
        )
    available = onnxruntime.get_available_providers()
    details = {"asked": list(requested), "there": available}
    found = f"requested {requested[0]}; available: {', '.join(available)}"
    if requested[0] not in available:
        advice = "Install crosstune-export[gpu] instead of [cpu], or pass --allow-fallback to run on the CPU."
        return Finding("providers", PROBLEM, found, advice, details)
    return Finding("providers", OK, found, "Nothing to do.", details)


def processor(flags: frozenset[str] | None) -> Finding:
    """Check which processor features the int8 kernels of onnxruntime can use.

    Args:
        flags: Features in /proc/cpuinfo; None if unknown.
    """
    if flags is None:
        advice = "Run crosstune-export bench with an int8 and an fp32 bundle to see which is faster here."
        return Finding("processor", NOTE, "features are unknown on this system", advice, {"features": None})
    present = [name for name in _FEATURES if name in flags]
    details = {"features": present, "int8_dot_products": any(name in flags for name in _INT8_DOT)}
    found = ", ".join(present) or "none of " + ", ".join(_FEATURES)
    if details["int8_dot_products"]:
        return Finding("processor", OK, found, "Use int8: this processor has int8 dot product instructions.", details)
    if "avx2" in flags or "asimd" in flags:
        advice = (
            "Compare int8 and fp32 with crosstune-export bench: this processor has no int8 dot products (VNNI, i8mm)."
        )
        return Finding("processor", NOTE, found, advice, details)
    return Finding(
        "processor", NOTE, found, "Expect slow runs: this processor has no suitable vector instructions.", details
    )


def kernels() -> Finding:
    """Check whether the fast kernels can run."""
    here = fast_kernels()
    details = {"kernels": here.name or PORTABLE, "library": here.path is not None}
    if here.name is not None:
        return Finding(
            "kernels", OK, f"{here.name}, of crosstune-kernels", "Nothing to do: int8 bundles use them.", details
        )
    advice = "Nothing is missing: bundles run on onnxruntime's own kernels."
    if here.path is None:
        advice += " On x86 processors with VNNI, crosstune-kernels makes int8 bundles faster."
    return Finding("kernels", NOTE if here.path is None else OK, f"onnxruntime's: {here.reason}", advice, details)


def threads() -> Finding:
    """Check how many processors this process may use."""
    present, usable, limit = os.cpu_count() or 1, default_threads(), processor_limit()
    details = {"present": present, "usable": usable, "control_group_limit": limit}
    group = "no container limit" if limit is None else f"container limit {limit:g}"
    found = f"{usable} of {present} processors may be used, {group}"
    if usable < present:
        advice = f"Omit --workers, or use at most {usable}: more would compete for processors."
        return Finding("threads", NOTE, found, advice, details)
    return Finding("threads", OK, found, "Omit --workers: classify then uses all processors, one thread each.", details)


def memory(graph_bytes: int) -> Finding:
    """Check that there is enough memory for a session.

    Args:
        graph_bytes: Size of ``model.onnx``.
    """
    need = _PROCESS_BYTES + _MEMORY_PER_GRAPH_BYTE * graph_bytes
    left = [size for size in (memory_left_bytes(), _memory_available_bytes()) if size is not None]
    details = {"needed_bytes": need, "available_bytes": min(left, default=None)}
    found = f"about {need / 1e6:.0f} MB for a process, " + (
        f"{min(left) / 1e6:.0f} MB left" if left else "free memory is unknown"
    )
    if left and min(left) < need:
        return Finding(
            "memory",
            PROBLEM,
            found,
            "Raise the memory limit, or build a smaller bundle (build --precision int8, --max-size-mb).",
            details,
            7,
        )
    sessions = max(1, min(left) // need) if left else 1
    return Finding("memory", OK, found, f"Use at most {sessions} --workers: each has its own session.", details)


def _examine_bundle(path: Path, requested: Sequence[str]) -> Iterator[Finding]:
    checks: tuple[Callable[[BundleFiles, Sequence[str]], Finding], ...] = (_placement, _selftest)
    try:
        files = read_bundle(path)
        readers = files.manifest.runtimes
        yield Finding(
            "bundle",
            OK,
            f"{files.manifest.graph.precision}, {files.size_bytes / 1e6:.1f} MB, every byte as built"
            + (f", read by {', '.join(readers)}" if readers else ""),
            "Nothing to do.",
            {
                "digest": files.manifest.digest,
                "precision": files.manifest.graph.precision,
                "size_bytes": files.size_bytes,
                "runtimes": list(readers),
            },
        )
        yield memory(len(files.model))
        yield _kernels_of(files, requested)
        for check in checks:
            yield check(files, requested)
    except CrossTuneError as error:
        found, _, advice = str(error).rpartition(". ")
        yield Finding("bundle", PROBLEM, found or str(error), advice or "Build it again.", {}, error.exit_code)


def _kernels_of(files: BundleFiles, requested: Sequence[str]) -> Finding:
    """Check which kernels run this bundle here, and why."""
    classifier = Classifier(files, threads=1, providers=requested, allow_fallback=True)
    details = {"kernels": classifier.kernels, "reason": classifier.kernels_reason}
    if not classifier.kernels_reason:
        return Finding("bundle's kernels", OK, classifier.kernels, "Nothing to do.", details)
    advice = "Nothing to do: it runs on onnxruntime's own kernels."
    return Finding("bundle's kernels", OK, f"{classifier.kernels}: {classifier.kernels_reason}", advice, details)


def _placement(files: BundleFiles, requested: Sequence[str]) -> Finding:
    """Check which provider runs which operators, in a profile of one run."""
    manifest = files.manifest
    with tempfile.TemporaryDirectory() as folder:
        session = open_inner(
            files.model,
            str(files.path),
            providers=requested,
            allow_fallback=True,
            disabled_optimizers=manifest.graph.disabled_optimizers,
            profile_prefix=str(Path(folder) / "run"),
        )
        tokenizer = TextTokenizer(files.tokenizer, manifest.tokens, manifest.text_pair, str(files.path))
        _, samples = read_selftest(files.selftest, str(files.path), manifest.graph.precision)
        feeds = tokenizer.batch(tokenizer.rows([samples[0].text])).feeds()
        session.run(None, {name: feeds[name] for name in manifest.graph.inputs})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    nodes: dict[str, Counter[str]] = {}
    for event in events:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in arguments and event["name"].endswith("_kernel_time"):
            nodes.setdefault(arguments["provider"], Counter())[arguments["op_name"]] += 1
    details = {provider: dict(operators.most_common()) for provider, operators in nodes.items()}
    found = "; ".join(
        f"{provider}: {sum(operators.values())} nodes ("
        + ", ".join(f"{name} {count}" for name, count in operators.most_common(6))
        + (", …)" if len(operators) > 6 else ")")
        for provider, operators in nodes.items()
    )
    if set(nodes) <= {requested[0]}:
        return Finding("placement", OK, found, f"Nothing to do: the whole graph runs on {requested[0]}.", details)
    if requested[0] not in nodes:
        return Finding("placement", NOTE, found, f"Nothing runs on {requested[0]}: see providers above.", details)
    advice = (
        f"Build for this target (--target): operators that do not run on {requested[0]} need copies between devices."
    )
    return Finding("placement", NOTE, found, advice, details)


def _selftest(files: BundleFiles, requested: Sequence[str]) -> Finding:
    classifier = Classifier(files, threads=1, providers=requested, allow_fallback=True)
    result = classifier.selftest()
    details = asdict(result) | {"passed": result.passed, "providers": list(classifier.providers)}
    found = (
        f"{result.samples} samples on {classifier.providers[0]}, {result.wrong_ids} with other ids, largest probability "
        f"difference {result.max_difference:.1e} (at most {result.tolerance:.0e})"
    )
    if result.passed:
        return Finding("self-test", OK, found, "Nothing to do: the results agree with those of the build.", details)
    advice = "Build on or for this machine, or with --precision fp32."
    return Finding("self-test", PROBLEM, found, advice, details, SelfTestError.exit_code)


def _cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """Return the features in /proc/cpuinfo; None if it lists none."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return None


def _memory_available_bytes(path: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
