"""What would run where on this machine, and what stands in the way: one finding after another, each with advice."""

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
from crosstune_export.runtime.machine_limits import memory_left_bytes, processor_limit
from crosstune_export.runtime.session import default_threads, open_inner, providers_of
from crosstune_export.runtime.tokenization import TextTokenizer

OK, NOTE, PROBLEM = "ok", "note", "problem"
_PACKAGES = ("crosstune-export", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy", "pyarrow", "ray", "torch")
_MODULES = ("onnxruntime", "tokenizers", "numpy")
#: What int8 kernels use, the best first (x86, then Arm), by the names that the Linux kernel gives them.
_FEATURES = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp", "asimd")
_INT8_DOT = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
#: Loading holds the file, the parsed graph and the weights as the kernels want them, beside Python and its modules.
_MEMORY_PER_GRAPH_BYTE = 3
_PROCESS_BYTES = 80 << 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        status: ``ok``, ``note`` (it works, and could be better) or ``problem`` (something will not work).
        found: What is there.
        advice: What to do, one sentence.
        details: The same for machines.
        exit_code: What a problem makes the command exit with.
    """

    name: str
    status: str
    found: str
    advice: str
    details: Mapping[str, object] = field(default_factory=dict)
    exit_code: int = 2

    def to_json(self) -> dict[str, object]:
        """The finding as JSON."""
        body = asdict(self)
        del body["exit_code"]
        return body


def examine(bundle: str | os.PathLike[str] | None = None, device: str = "cpu") -> Iterator[Finding]:
    """Look at everything, each finding as soon as it is made.

    Args:
        bundle: A bundle to try here; None looks at the machine alone.
        device: Where it is to run, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: The device is another word.
    """
    wanted = providers_of(device)
    yield versions()
    yield wheels()
    yield machine()
    yield providers(wanted)
    yield processor(_cpu_flags())
    yield threads()
    if bundle is not None:
        yield from _examine_bundle(Path(bundle), wanted)


def versions() -> Finding:
    """Which versions are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Finding(
        "versions",
        OK,
        ", ".join(f"{name} {version}" for name, version in found.items()),
        "Name them when you report something.",
        found,
    )


def wheels() -> Finding:
    """Whether two distributions install the same module over each other."""
    owners = metadata.packages_distributions()
    clashes = {module: sorted(set(owners[module])) for module in _MODULES if len(set(owners.get(module, ()))) > 1}
    if clashes:
        names = sorted({name for group in clashes.values() for name in group})
        found = "; ".join(f"{module} comes from {' and '.join(group)}" for module, group in clashes.items())
        advice = f"Run: pip uninstall {' '.join(names)}, then install the one that you want."
        return Finding("wheels", PROBLEM, found, advice, clashes)
    missing = [module for module in _MODULES if module not in owners]
    if missing:
        advice = "Run: pip install 'crosstune-export[cpu]' (or '[gpu]' for CUDA)."
        return Finding("wheels", PROBLEM, f"no {', '.join(missing)}", advice, {"missing": missing})
    found = ", ".join(f"{module} from {owners[module][0]}" for module in _MODULES)
    return Finding("wheels", OK, found, "Nothing to do: one distribution for each module.")


def machine() -> Finding:
    """Whether there are wheels of onnxruntime for a machine like this."""
    bits = 64 if sys.maxsize > 1 << 32 else 32
    details = {"system": platform.system(), "processor": platform.machine(), "bits": bits, "byte_order": sys.byteorder}
    found = f"{details['system']} {details['processor']}, {bits} bits, {sys.byteorder}-endian"
    if bits == 32 or sys.byteorder != "little":
        advice = "Use a 64-bit little-endian machine: there is no onnxruntime for this one."
        return Finding("machine", PROBLEM, found, advice, details)
    if platform.system() == "Linux" and platform.libc_ver()[0] != "glibc":
        advice = "Use an image with glibc: onnxruntime has no wheels for musl."
        return Finding("machine", NOTE, f"{found}, no glibc", advice, details)
    return Finding("machine", OK, found, "Nothing to do.", details)


def providers(wanted: Sequence[str]) -> Finding:
    """Whether the execution provider that was asked for is in the installed onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        advice = "Run: pip install 'crosstune-export[cpu]' (or '[gpu]' for CUDA)."
        return Finding(
            "providers", PROBLEM, "onnxruntime is not installed", advice, {"asked": list(wanted), "there": []}
        )
    there = onnxruntime.get_available_providers()
    details = {"asked": list(wanted), "there": there}
    found = f"asked for {wanted[0]}; there are {', '.join(there)}"
    if wanted[0] not in there:
        advice = "Install crosstune-export[gpu] in place of [cpu], or pass --allow-fallback to run on the CPU."
        return Finding("providers", PROBLEM, found, advice, details)
    return Finding("providers", OK, found, "Nothing to do.", details)


def processor(flags: frozenset[str] | None) -> Finding:
    """Which instructions the int8 kernels of onnxruntime find here.

    Args:
        flags: As the Linux kernel names them; None where it does not say.
    """
    if flags is None:
        advice = "Run crosstune-export bench with an int8 and an fp32 bundle to see which is faster here."
        return Finding("processor", NOTE, "features are not known on this system", advice, {"features": None})
    present = [name for name in _FEATURES if name in flags]
    details = {"features": present, "int8_dot_products": any(name in flags for name in _INT8_DOT)}
    found = ", ".join(present) or "none of " + ", ".join(_FEATURES)
    if details["int8_dot_products"]:
        return Finding("processor", OK, found, "Use int8: this processor multiplies bytes in one instruction.", details)
    if "avx2" in flags or "asimd" in flags:
        advice = "Compare int8 and fp32 with crosstune-export bench: there are no int8 dot products (VNNI, i8mm) here."
        return Finding("processor", NOTE, found, advice, details)
    return Finding("processor", NOTE, found, "Expect slow runs: there are no vector instructions of note.", details)


def threads() -> Finding:
    """How many processors this process may use."""
    present, usable, limit = os.cpu_count() or 1, default_threads(), processor_limit()
    details = {"present": present, "usable": usable, "control_group_limit": limit}
    group = "no limit of a container" if limit is None else f"the container allows {limit:g}"
    found = f"{usable} of {present} processors may be used, {group}"
    if usable < present:
        advice = f"Leave --workers out, or use at most {usable}: more would wait for each other."
        return Finding("threads", NOTE, found, advice, details)
    return Finding("threads", OK, found, "Leave --workers out: classify takes all of them, one thread each.", details)


def memory(graph_bytes: int) -> Finding:
    """Whether there is memory for a session."""
    need = _PROCESS_BYTES + _MEMORY_PER_GRAPH_BYTE * graph_bytes
    left = [size for size in (memory_left_bytes(), _memory_available_bytes()) if size is not None]
    details = {"needed_bytes": need, "available_bytes": min(left, default=None)}
    found = f"about {need / 1e6:.0f} MB for a process, " + (
        f"{min(left) / 1e6:.0f} MB left" if left else "free memory is not known"
    )
    if left and min(left) < need:
        return Finding(
            "memory",
            PROBLEM,
            found,
            "Raise the limit of memory, or build a smaller bundle (build --precision int8, --max-size-mb).",
            details,
            7,
        )
    sessions = max(1, min(left) // need) if left else 1
    return Finding("memory", OK, found, f"Keep --workers at or below {sessions}: each has its own session.", details)


def _examine_bundle(path: Path, wanted: Sequence[str]) -> Iterator[Finding]:
    checks: tuple[Callable[[BundleFiles, Sequence[str]], Finding], ...] = (_placement, _selftest)
    try:
        files = read_bundle(path)
        yield Finding(
            "bundle",
            OK,
            f"{files.manifest.graph.precision}, {files.size_bytes / 1e6:.1f} MB, every byte as built",
            "Nothing to do.",
            {
                "digest": files.manifest.digest,
                "precision": files.manifest.graph.precision,
                "size_bytes": files.size_bytes,
            },
        )
        yield memory(len(files.model))
        for check in checks:
            yield check(files, wanted)
    except CrossTuneError as error:
        found, _, advice = str(error).rpartition(". ")
        yield Finding("bundle", PROBLEM, found or str(error), advice or "Build it again.", {}, error.exit_code)


def _placement(files: BundleFiles, wanted: Sequence[str]) -> Finding:
    """Which provider runs which operators, seen in a profile of one run: no estimate."""
    manifest = files.manifest
    with tempfile.TemporaryDirectory() as folder:
        session = open_inner(
            files.model,
            str(files.path),
            providers=wanted,
            allow_fallback=True,
            disabled_optimizers=manifest.graph.disabled_optimizers,
            profile_prefix=str(Path(folder) / "run"),
        )
        tokenizer = TextTokenizer(files.tokenizer, manifest.tokens, manifest.text_pair, str(files.path))
        _, samples = read_selftest(files.selftest, str(files.path))
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
    if set(nodes) <= {wanted[0]}:
        return Finding("placement", OK, found, f"Nothing to do: all of it runs on {wanted[0]}.", details)
    if wanted[0] not in nodes:
        return Finding("placement", NOTE, found, f"Nothing runs on {wanted[0]}: see providers above.", details)
    advice = f"Build for this target (--target): what does not run on {wanted[0]} costs a copy there and back."
    return Finding("placement", NOTE, found, advice, details)


def _selftest(files: BundleFiles, wanted: Sequence[str]) -> Finding:
    classifier = Classifier(files, threads=1, providers=wanted, allow_fallback=True)
    report = classifier.selftest()
    details = asdict(report) | {"passed": report.passed, "providers": list(classifier.providers)}
    found = (
        f"{report.samples} samples on {classifier.providers[0]}, {report.wrong_ids} with other ids, largest probability "
        f"difference {report.max_difference:.1e} (at most {report.tolerance:.0e})"
    )
    if report.passed:
        return Finding("self-test", OK, found, "Nothing to do: it answers here as it did where it was built.", details)
    advice = "Build on or for this machine, or with --precision fp32."
    return Finding("self-test", PROBLEM, found, advice, details, SelfTestError.exit_code)


def _cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """The features that the kernel lists; None where it lists none."""
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
