"""Pooled hidden states on disk, so that a text is encoded once however often it is trained on."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import CrossTuneWarning, ResourceError
from crosstune.core.progress import StepProgress
from crosstune.core.token_layout import Text, TokenLayout
from crosstune.features.pooling import POOLING_VERSION, pool_layers

#: Bytes before the states of a text that bind them to it.
_CHECKSUM_BYTES = 16
#: Tokens of a batch, at most; longer texts are encoded alone. Texts of 9 to 18 tokens take 0.39 of their time alone (MiniLM), and 0.32
#: with twice as many tokens, which few shots would have to fill with repeated texts.
_BATCH_TOKENS = 64


def default_cache_path() -> Path:
    """Where features are kept: in ``$CROSSTUNE_CACHE``, else in the user's cache folder; an empty variable counts as none.

    Raises:
        ResourceError: The variable is not set, and the user has no home.
    """
    if folder := os.environ.get("CROSSTUNE_CACHE"):
        return Path(folder) / "features.sqlite"
    if sys.platform != "darwin" and (folder := os.environ.get("XDG_CACHE_HOME")):
        return Path(folder) / "crosstune" / "features.sqlite"
    try:
        home = Path.home()
    except RuntimeError as error:  # a user of a container may have a number and no home
        raise ResourceError(
            "CROSSTUNE_CACHE: not set, and this user has no home for the feature cache. Set it to a folder."
        ) from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "crosstune" / "features.sqlite"


@dataclass(frozen=True)
class TextStates:
    """States of N texts.

    Attributes:
        pools: P names out of ``spec.POOLS``.
        pooled: float32 (N, P, layers + 1, D).
        layers: K layers whose token states are kept.
        tokens: N arrays (K, T, D), special tokens included: float16, or float32 where a state is beyond the range of float16.
    """

    pools: tuple[str, ...]
    pooled: npt.NDArray[np.float32]
    layers: tuple[int, ...]
    tokens: list[npt.NDArray[np.float16] | npt.NDArray[np.float32]]

    def select(self, rows: npt.NDArray[np.int64]) -> TextStates:
        """The states of some of the texts, by their row."""
        return replace(self, pooled=self.pooled[rows], tokens=[self.tokens[row] for row in rows])


class FeatureCache:
    """A table from (backbone, layout, pools, layers, text) to states.

    Texts of the same number of tokens are encoded together. The size of a batch depends on this number only; if texts are missing, some
    are repeated. All matrix products of a text therefore have the same shapes in every batch, and its features are the same to the last
    bit. So the training is the same whether the cache is warm, cold or half full. A row is used only if its checksum fits. A file that is
    not a usable cache is moved aside; where none can be written, training goes on without, with a warning. The file and a folder that
    is made for it are readable by their user only, because the features of a text tell much about it.

    Examples:
        >>> backbone = Backbone.load("minilm")
        >>> with FeatureCache(None) as cache:
        ...     cache.states(backbone, ["where is it?", "thank you"], ("mean", "first"), (6,)).pooled.shape
        (2, 2, 7, 384)
    """

    def __init__(self, path: Path | None) -> None:
        """Open or create the cache; in memory when ``path`` is None, or with a warning where it cannot be written."""
        self._path = path
        self._table = self._open()

    def states(
        self,
        backbone: Backbone,
        texts: Sequence[Text],
        pools: Sequence[str],
        layers: Sequence[int],
        tokens: TokenLayout | None = None,
        progress: StepProgress | None = None,
    ) -> TextStates:
        """Pooled states of every layer, and the states of all tokens in some.

        Args:
            backbone: What encodes.
            texts: N texts or pairs.
            pools: P names out of ``spec.POOLS``.
            layers: Layers whose token states are wanted.
            tokens: The layout of ids, the backbone's own when None.
            progress: Called with texts done and N.
        """
        layout = tokens or backbone.tokens
        shape = (len(pools), backbone.layer_count + 1, backbone.hidden_size)
        states = TextStates(tuple(pools), np.empty((len(texts), *shape), np.float32), tuple(layers), [])
        key_start = json.dumps([POOLING_VERSION, backbone.digest, repr(layout), list(pools), list(layers)])
        keys = [_key(key_start, text) for text in texts]
        rows = backbone.tokenize(texts, layout)
        data = [self._stored(key) for key in keys]
        for i, row in enumerate(rows):
            count = math.prod((len(layers), len(row.ids), backbone.hidden_size))
            if len(data[i]) - states.pooled[i].nbytes not in (2 * count, 4 * count):
                data[i] = b""
        missing = [i for i, stored in enumerate(data) if not stored]
        done = len(texts) - len(missing)
        if progress is not None and done:
            progress(done, len(texts))
        for batch in _batches([len(rows[i].ids) for i in missing]):
            hidden = backbone.forward([rows[missing[i]] for i in batch])
            pooled = pool_layers(hidden, pools, backbone.pool_positions(layout)).cpu().numpy()
            kept = [hidden.states[layer].cpu().numpy() for layer in layers]
            for place, i in enumerate(dict.fromkeys(batch)):
                data[missing[i]] = pooled[place].tobytes() + _token_bytes([part[place] for part in kept])
                self._store(keys[missing[i]], data[missing[i]])
                done += 1
            if progress is not None:
                progress(done, len(texts))
        for i, row in enumerate(rows):
            states.pooled[i] = np.frombuffer(data[i], np.float32, states.pooled[i].size).reshape(shape)
            tokens_shape = (len(layers), len(row.ids), backbone.hidden_size)
            kept_bytes = data[i][states.pooled[i].nbytes :]
            if len(kept_bytes) == 2 * math.prod(tokens_shape):
                states.tokens.append(np.frombuffer(kept_bytes, np.float16).reshape(tokens_shape))
            else:
                states.tokens.append(np.frombuffer(kept_bytes, np.float32).reshape(tokens_shape))
        return states

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        if self._path is None:
            return self._create(":memory:")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._path.chmod(0o600)
            try:
                return self._create(str(self._path))
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                return self._create_anew(self._path)
        except (OSError, sqlite3.OperationalError) as error:
            return self._without_file(error)

    def _without_file(self, error: Exception) -> sqlite3.Connection:
        """Go on with a cache in memory, which lasts as long as this run."""
        warnings.warn(
            CrossTuneWarning(
                f"{self._path}: the feature cache cannot be used ({error}); texts are encoded again. "
                "Free some space, or set CROSSTUNE_CACHE to a folder that can be written."
            ),
            stacklevel=2,
        )
        self._path = None
        return self._create(":memory:")

    @staticmethod
    def _create(target: str) -> sqlite3.Connection:
        table = sqlite3.connect(
            target, timeout=60, isolation_level=None
        )  # each statement commits, so that no lock is held while a text is encoded
        try:
            table.execute("PRAGMA journal_mode = WAL")
            table.execute("PRAGMA synchronous = NORMAL")  # features can always be computed again
            table.execute(
                "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, states BLOB NOT NULL) WITHOUT ROWID"
            )
            columns = [column[1] for column in table.execute("PRAGMA table_info(features)")]
            if columns != ["key", "states"]:
                raise sqlite3.DatabaseError(f"columns {columns}")
        except BaseException:
            table.close()
            raise
        return table

    @classmethod
    def _create_anew(cls, path: Path) -> sqlite3.Connection:
        """Move a damaged file aside and begin another."""
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.replace(path.with_suffix(".damaged"))
        return cls._create(str(path))

    def _stored(self, key: bytes) -> bytes:
        """The states of a text; empty if they are not there, or damaged."""
        try:
            row = self._table.execute("SELECT states FROM features WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            self._recover(error)
            return b""
        if row is None or not isinstance(row[0], bytes):
            return b""
        checksum, states = row[0][:_CHECKSUM_BYTES], row[0][_CHECKSUM_BYTES:]
        return states if checksum == _checksum(key, states) else b""

    def _store(self, key: bytes, states: bytes) -> None:
        try:
            self._table.execute("INSERT OR REPLACE INTO features VALUES (?, ?)", (key, _checksum(key, states) + states))
        except sqlite3.Error as error:
            self._recover(error)

    def _recover(self, error: sqlite3.Error) -> None:
        """Begin another file after damage that opening did not notice, and go on without one if the disk refuses."""
        if self._path is None:
            raise error
        self._table.close()
        try:
            if isinstance(error, sqlite3.OperationalError):
                raise error
            self._table = self._create_anew(self._path)
        except (OSError, sqlite3.OperationalError) as refusal:
            self._table = self._without_file(refusal)


def _token_bytes(layers: Sequence[npt.NDArray[np.float32]]) -> bytes:
    """The token states of a text in float16; in float32 if one of them would be infinite."""
    with np.errstate(over="ignore"):
        halves = [states.astype(np.float16) for states in layers]
    fits = all(np.isfinite(half).all() for half in halves)
    return b"".join(states.tobytes() for states in (halves if fits else layers))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions of texts in batches of one length, whose size depends on that length alone; some come twice to fill their batch.

    Examples:
        >>> list(_batches([30, 70, 30, 30]))
        [[0, 2], [3, 3], [1]]

    Args:
        lengths: Tokens of each text.
    """
    for length in sorted(set(lengths)):
        size = max(1, _BATCH_TOKENS // length)
        alike = [i for i, tokens in enumerate(lengths) if tokens == length]
        for start in range(0, len(alike), size):
            yield list(islice(cycle(alike[start : start + size]), size))


def _checksum(key: bytes, states: bytes) -> bytes:
    """Binds the states to their text, so that neither damaged rows nor exchanged ones are used."""
    return hashlib.blake2b(states, key=key, digest_size=_CHECKSUM_BYTES).digest()


def _key(start: str, text: Text) -> bytes:
    return hashlib.sha256(json.dumps([start, text]).encode("utf-8", "surrogatepass")).digest()
