"""Windows through classifiers on a Ray cluster, by way of Ray Data: one reading task a file, one session an actor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from crosstune_export.bulk.sources import STANDARD_INPUT, Source
from crosstune_export.bulk.window_classifier import WindowJob, WindowResult
from crosstune_export.bulk.windows import read_windows
from crosstune_export.errors import ExportError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

_BLOCK_BYTES = 1 << 18  # some windows: enough to keep many actors busy with one file


def classify_with_ray(
    sources: Sequence[Source], done: Mapping[Source, int], job: WindowJob, workers: int, address: str | None
) -> Iterator[WindowResult]:
    """Results in the order of the windows, which are those of the local engine.

    Args:
        sources: What to read; every machine of the cluster must find the files under these paths.
        done: How many windows of a source are not to be classified again.
        job: What to do with each window; takes the bundle along.
        workers: Actors at most; on a cluster that was joined, one for each of its processors.
        address: The cluster to join; None starts one on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: Standard input is among the sources.
        ExportError: As in one process.
    """
    if any(source.path == STANDARD_INPUT for source in sources):
        raise UsageError("--engine ray: standard input cannot be read by other processes. Give files.")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            "ray: not installed, expected for --engine ray. Run: pip install 'crosstune-export[ray]'"
        ) from error
    started = not ray.is_initialized()
    if started:
        own = (
            {"num_cpus": workers * job.threads, "include_dashboard": False} if address is None else {"address": address}
        )
        ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=True, **own)
    try:
        yield from _stream(ray, sources, done, job, workers if address is None else int(ray.cluster_resources()["CPU"]))
    finally:
        if started:
            ray.shutdown()


def _stream(
    ray: Any,  # noqa: ANN401
    sources: Sequence[Source],
    done: Mapping[Source, int],
    job: WindowJob,
    workers: int,
) -> Iterator[WindowResult]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK_BYTES
    text_column = job.columns.text
    before = 0
    readings = []
    for source in sources:
        readings.append({"reading": _Reading(source, done.get(source, 0), before, text_column)})
        before += source.size_bytes
    results = (
        ray.data.from_items(readings, override_num_blocks=max(1, len(readings)))
        .map_batches(_windows, batch_size=1, num_cpus=0)
        .map_batches(
            _Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            num_cpus=job.threads,
            concurrency=max(1, workers // job.threads),
        )
    )
    for row in results.iter_rows():
        result = row["result"]
        if isinstance(result, ExportError):
            raise result
        yield result


class _Reading:
    """What a reading task is to read."""

    def __init__(self, source: Source, done: int, before_bytes: int, text_column: str) -> None:
        self._source, self._done, self._before, self._text_column = source, done, before_bytes, text_column

    def items(self) -> Iterator[object]:
        """Windows; an error is an item too, so that it arrives in its place."""
        try:
            yield from islice(read_windows(self._source, self._text_column, self._before), self._done, None)
        except ExportError as error:
            yield error


def _windows(batch: dict[str, npt.NDArray[np.object_]]) -> Iterator[dict[str, npt.NDArray[np.object_]]]:
    for reading in batch["reading"]:
        for item in reading.items():
            yield {"window": _column(item)}


class _Actor:
    """Holds one session."""

    def __init__(self, job: WindowJob) -> None:
        self._classify = job.load()

    def __call__(self, batch: dict[str, npt.NDArray[np.object_]]) -> dict[str, npt.NDArray[np.object_]]:
        (window,) = batch["window"]
        try:
            return {"result": _column(window if isinstance(window, ExportError) else self._classify(window))}
        except ExportError as error:
            return {"result": _column(error)}


def _column(value: object) -> npt.NDArray[np.object_]:
    column = np.empty(1, object)
    column[0] = value
    return column
