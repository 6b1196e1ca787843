"""The settings of a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crosstune.core.errors import ConfigError
from crosstune.rows.options import ReadOptions
from crosstune_export.builder.exporters.runtime_target import DEFAULT_ONNXRUNTIME, runtime_target
from crosstune_export.builder.search import Budgets
from crosstune_export.builder.variants import FP16, FP32, INT8, SEARCHED, SMALLER, TANH, Variant

_ON_CUDA = {"auto": (FP16,), "fp16": (FP16,), "fp32": (FP32,)}
_ON_CPU = {"auto": SEARCHED, "fp32": (FP32,), "fp16": (FP16,), "int8": (INT8,)}


@dataclass(frozen=True)
class BuildConfig:
    """Settings of a build.

    Attributes:
        precision: ``int8``, ``fp32`` or ``fp16``; ``auto`` tries several graphs and ships the fastest that is accurate
            enough (for CUDA it is fp16).
        target: ``cpu``, ``web`` (the same graph), ``cuda``, or ``mobile`` (``cpu`` plus a folder for phones).
        calibration: File of examples for calibration and comparison; None for the training examples. With a latency budget or early
            exits it needs no labels.
        reading: How to read it; recognised when None.
        max_flips_percent: Percent (0 to 100) of texts and truncated texts whose label may change compared with fp32.
        max_size_mb: Maximum size of the bundle, in megabytes of 10^6 bytes.
        max_latency_ms: Maximum median latency per text on this machine, one thread, in milliseconds. At least 200 calibration texts
            then teach heads on fewer layers the answers of all layers, if no graph of all layers is fast enough.
        backbone: Backbone folder, if it has moved since training.
        name: Name of the bundle; None for the name of its folder.
        report: HTML report to write; None for none.
        onnxruntime: Oldest onnxruntime that must load the graph, such as ``1.20``.
        exporter: ``torch`` or ``optimum``.
        backbone_onnx: Folder with the backbone graph from ``optimum-cli export onnx``, to use instead of an exporter.
        release: Release number; 0 for none.
        early_exit_percent: Percent (0 to 100) of texts whose label may change because they leave the graph early; None for no
            early exits.
    """

    precision: str = "auto"
    target: str = "cpu"
    calibration: Path | None = None
    reading: ReadOptions | None = None
    max_flips_percent: float = 2.0
    max_size_mb: float | None = None
    max_latency_ms: float | None = None
    backbone: str | None = None
    name: str | None = None
    report: Path | None = None
    onnxruntime: str = DEFAULT_ONNXRUNTIME
    exporter: str = "torch"
    backbone_onnx: Path | None = None
    release: int = 0
    early_exit_percent: float | None = None

    def check(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: A setting is out of range.
        """
        self.variants()
        self.budgets()
        runtime_target(self.onnxruntime)
        if self.early_exit_percent is not None:
            if not 0 < self.early_exit_percent <= 100:
                raise ConfigError(
                    f"early_exit: found {self.early_exit_percent}, expected more than 0, at most 100 (percent)."
                )
            if self.calibration is None:
                raise ConfigError(
                    "early_exit: no calibration texts, expected at least 200 texts without labels. Give --calibration."
                )
            if self.target == "cuda":
                raise ConfigError(
                    "early_exit: found the target cuda, expected cpu, web or mobile. Leave out --early-exit."
                )

    def variants(self) -> tuple[Variant, ...]:
        """Return the variants to try for the target and the precision.

        Raises:
            ConfigError: The target, precision, exporter or release is invalid.
        """
        if not 0 <= self.release < 1 << 31:
            raise ConfigError(f"release: found {self.release}, expected 0 to {(1 << 31) - 1}.")
        if self.exporter not in ("torch", "optimum"):
            raise ConfigError(f"exporter: found {self.exporter!r}, expected torch or optimum.")
        if self.exporter != "torch" and self.backbone_onnx is not None:
            raise ConfigError("exporter: optimum and backbone_onnx are both given, expected one of them.")
        if self.target not in ("cpu", "web", "cuda", "mobile"):
            raise ConfigError(f"target: found {self.target!r}, expected cpu, web, cuda or mobile.")
        by_precision = _ON_CUDA if self.target == "cuda" else _ON_CPU
        if self.precision not in by_precision:
            *others, last = by_precision
            raise ConfigError(
                f"precision: found {self.precision!r}, expected {', '.join(others)} or {last} for {self.target}."
            )
        return by_precision[self.precision]

    def smaller_variants(self) -> tuple[Variant, ...]:
        """Return further variants for a size budget, to be tried in order until one fits."""
        small = self.max_size_mb is not None and self.target != "cuda" and self.precision in ("auto", "int8")
        return SMALLER if small else ()

    def variants_on_fewer_layers(self) -> tuple[Variant, ...]:
        """Return the variants to try on fewer layers: only the most promising ones, because several depths are tried."""
        return (INT8, TANH) if self.target != "cuda" and self.precision == "auto" else self.variants()

    def budgets(self) -> Budgets:
        """Return the limits of the shipped graph.

        Raises:
            ConfigError: A limit is out of range.
        """
        if not 0 <= self.max_flips_percent <= 100:
            raise ConfigError(f"max_flips: found {self.max_flips_percent}, expected 0 to 100 (percent).")
        for name, value in (("max_size_mb", self.max_size_mb), ("max_latency_ms", self.max_latency_ms)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name}: found {value}, expected more than 0.")
        return Budgets(self.max_flips_percent, self.max_size_mb, self.max_latency_ms)
