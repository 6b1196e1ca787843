"""Classify windows on a Ray cluster with Ray Data: one reading task per file, one session per actor."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import ConfigError, CrossTuneError, MissingExtraError, ResourceError
from crosstune.rows.sources import STANDARD_INPUT, Source
from crosstune.rows.windows import read_windows
from crosstune_export.bulk.window_classifier import WindowJob, WindowResult

_Column: TypeAlias = "npt.NDArray[np.object_]"
_BLOCK_BYTES = 1 << 18  # chosen by hand: a few windows, so that one file keeps many actors busy


def classify_with_ray(
    sources: Sequence[Source], done: Mapping[Source, int], job: WindowJob, workers: int, address: str | None
) -> Generator[WindowResult, None, None]:
    """Yield results in the order of the windows, which are the same as those of the local engine.

    Args:
        sources: Files to read; every machine of the cluster must have them under these paths.
        done: Number of windows of each source to skip, because an interrupted run classified them.
        job: How to classify each window; includes the bundle.
        workers: Number of actors on this machine. A cluster that is joined gets one per ``job.threads`` processors.
        address: Cluster to join; None starts one on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ResourceError: No cluster can be started or reached.
        ConfigError: Standard input is among the sources.
        CrossTuneError: Any error of ``WindowJob.load`` or of the classification of a window.
    """
    if any(source.path == STANDARD_INPUT for source in sources):
        raise ConfigError("--engine ray: standard input cannot be read by other processes. Give files.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics unless the user turned them on
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            "ray: not installed, expected for --engine ray. Run: pip install 'crosstune-export[ray]'"
        ) from error
    where = {"num_cpus": workers * job.threads, "include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **where)
    except Exception as error:  # Ray raises several unrelated classes
        reason = " ".join(str(error).split())[:160]
        raise ResourceError(
            f"ray: cannot connect ({reason}), expected a cluster at {address or 'this machine'}. "
            "Check --ray-address, or use --engine local."
        ) from error
    if address is not None:
        workers = max(1, int(ray.cluster_resources()["CPU"]) // job.threads)
    rows = iter(_results(ray, sources, done, job, workers).iter_rows())
    try:
        for row in rows:
            result = row["result"]
            if isinstance(result, CrossTuneError):
                raise result
            yield result
    finally:
        del rows  # its executor must end before the cluster, or Ray kills this process
        ray.shutdown()


def _results(
    ray: Any,  # noqa: ANN401
    sources: Sequence[Source],
    done: Mapping[Source, int],
    job: WindowJob,
    workers: int,
) -> Any:  # noqa: ANN401
    """Return a lazy Ray dataset of results in order: files → windows → results."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK_BYTES
    before_bytes = 0
    readings = []
    for source in sources:
        readings.append(_Reading(source, done.get(source, 0), before_bytes, job.columns.needed))
        before_bytes += source.size_bytes
    return (
        ray.data.from_items([{"number": number} for number in range(len(readings))], override_num_blocks=len(readings))
        .map_batches(_windows, fn_args=(readings,), batch_size=1, num_cpus=0)
        .map_batches(
            _Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            num_cpus=job.threads,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
    )


@dataclass(frozen=True)
class _Reading:
    """Input of a reading task."""

    source: Source
    done: int
    before_bytes: int
    needed: tuple[str, ...]

    def items(self) -> Iterator[object]:
        """Yield windows; an error is yielded too, so that it arrives after the windows before it."""
        try:
            yield from islice(read_windows(self.source, self.needed, self.before_bytes), self.done, None)
        except CrossTuneError as error:
            yield error


def _windows(batch: dict[str, npt.NDArray[Any]], readings: Sequence[_Reading]) -> Iterator[dict[str, _Column]]:
    for number in batch["number"]:
        for item in readings[number].items():
            yield {"window": _column(item)}


class _Actor:
    """Holds one session."""

    def __init__(self, job: WindowJob) -> None:
        self._classify = job.load()

    def __call__(self, batch: dict[str, _Column]) -> dict[str, _Column]:
        (window,) = batch["window"]
        try:
            return {"result": _column(window if isinstance(window, CrossTuneError) else self._classify(window))}
        except CrossTuneError as error:
            return {"result": _column(error)}


def _column(value: object) -> _Column:
    column = np.empty(1, object)
    column[0] = value
    return column
