"""Edits the labels of a finished bundle: new descriptions are encoded by the bundle's own graph, without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crosstune.core.errors import ConfigError, DataError
from crosstune.core.labels import Label, require_usable
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import Text
from crosstune_export.bundle.files import BundleFiles, read_bundle
from crosstune_export.bundle.label_bank import Floats, LabelBank, PriorMap, read_bank, with_bank
from crosstune_export.bundle.manifest import SELFTEST_NAME, TOKENIZER_NAME, BundleManifest
from crosstune_export.bundle.selftest import read_selftest
from crosstune_export.bundle.write import selftest_bytes, write_bundle
from crosstune_export.runtime.session import open_session
from crosstune_export.runtime.tokenization import TextTokenizer


@dataclass(frozen=True)
class _State:
    """Labels and bank as they are being edited."""

    labels: tuple[Label, ...]
    bank: LabelBank

    def index(self, name: str) -> int:
        names = [entry.name for entry in self.labels]
        if name not in names:
            raise DataError(f"label: {name!r} is not in the bundle, which has {', '.join(names)}. Check the name.")
        return names.index(name)


Describe = Callable[[Sequence[str]], Floats]


def add_label(path: str | os.PathLike[str], name: str, descriptions: Sequence[str]) -> BundleManifest:
    """Add a label that is known by its description alone; what the others score stays as it is.

    Args:
        path: The bundle folder; replaced as a whole, or left as it is.
        name: The new label.
        descriptions: What it means, at least one sentence.

    Returns:
        The manifest as written.

    Raises:
        BundleError: The bundle is refused.
        ConfigError: It is packed.
        DataError: Training would refuse such a label, the name is taken, or the head knows no labels without shots.
        ResourceError: The disk refuses a write.
    """

    def edit(state: _State, describe: Describe) -> _State:
        entry, prior = _entry(state.labels, name, descriptions, path), _prior(state, path)
        described = describe(descriptions)
        key, bias = prior.key(described)
        scope = state.bank.scope
        bank = LabelBank(
            np.concatenate([state.bank.keys, key.reshape(1, 1, -1)], 1),
            np.concatenate([state.bank.bias, bias.reshape(1, 1)], 1),
            prior,
            None if scope is None else np.column_stack([scope, _scope_key(scope, described)]),
        )
        return _State((*state.labels, entry), bank)

    return _edited(path, edit, f"add {name}")


def describe_label(path: str | os.PathLike[str], name: str, descriptions: Sequence[str]) -> BundleManifest:
    """Exchange the descriptions of a label; what its shots taught stays on top, its part of the scope too.

    Args, Returns and Raises as for ``add_label``; ``name`` is a label that is there.
    """

    def edit(state: _State, describe: Describe) -> _State:
        at, prior = state.index(name), _prior(state, path)
        others = [*state.labels[:at], *state.labels[at + 1 :]]
        entry = _entry(others, name, descriptions, path)
        old, new = describe(state.labels[at].descriptions), describe(descriptions)
        (old_key, old_bias), (new_key, new_bias) = prior.key(old), prior.key(new)
        keys, bias, scope = state.bank.keys.copy(), state.bank.bias.copy(), state.bank.scope
        keys[0, at] += new_key - old_key
        bias[0, at] += new_bias - old_bias
        if scope is not None and _same_direction(scope[:, at], old[: len(scope)]):  # no shots: it is the description's
            scope = scope.copy()
            scope[:, at] = _scope_key(scope, new)
        labels = list(state.labels)
        labels[at] = entry
        return _State(tuple(labels), replace(state.bank, keys=keys, bias=bias, scope=scope))

    return _edited(path, edit, f"describe {name}")


def rename_label(path: str | os.PathLike[str], old: str, new: str) -> BundleManifest:
    """Give a label another name; nothing else changes.

    Raises:
        BundleError: The bundle is refused.
        DataError: There is no such label, the new name is taken, or training would refuse it.
        ResourceError: The disk refuses a write.
    """

    def edit(state: _State, describe: Describe) -> _State:
        del describe
        at = state.index(old)
        labels = list(state.labels)
        replaced = labels.pop(at)
        labels.insert(at, _entry(labels, new, replaced.descriptions, path))
        return replace(state, labels=tuple(labels))

    return _edited(path, edit, f"rename {old} to {new}")


def remove_label(path: str | os.PathLike[str], name: str) -> BundleManifest:
    """Take a label out; what the others score stays as it is.

    Raises:
        BundleError: The bundle is refused.
        DataError: There is no such label, or only two are left.
        ResourceError: The disk refuses a write.
    """

    def edit(state: _State, describe: Describe) -> _State:
        del describe
        at = state.index(name)
        if len(state.labels) == 2:
            raise DataError(f"label: {name!r} is one of two, expected at least 2 to stay. Add another one first.")
        bank = replace(
            state.bank,
            keys=np.delete(state.bank.keys, at, 1),
            bias=np.delete(state.bank.bias, at, 1),
            scope=None if state.bank.scope is None else np.delete(state.bank.scope, at, 1),
        )
        return _State(state.labels[:at] + state.labels[at + 1 :], bank)

    return _edited(path, edit, f"remove {name}")


def _edited(path: str | os.PathLike[str], edit: Callable[[_State, Describe], _State], what: str) -> BundleManifest:
    files = read_bundle(path)
    if not files.path.is_dir():
        raise ConfigError(f"{path}: is a packed bundle, expected a folder. Run crosstune-export unpack first.")
    manifest = files.manifest
    bank = read_bank(files.model, len(manifest.labels), str(files.path))
    tokenizer = TextTokenizer(files.tokenizer, manifest.tokens, manifest.text_pair, str(files.path / TOKENIZER_NAME))

    def describe(sentences: Sequence[str]) -> Floats:
        session = open_session(files.model, manifest.graph, str(files.path))
        texts: list[Text] = [(text, "") if manifest.text_pair else text for text in sentences]
        rows = [session.run(tokenizer.batch([row]).feeds())[1][0] for row in tokenizer.rows(texts)]
        mean: Floats = np.mean(rows, 0, dtype=np.float32)
        pooled = manifest.head_facts.pooled_size
        if pooled is not None:
            mean[pooled:] = 0  # the graph's label queries are those of the labels it was built with
        return mean

    state = edit(_State(manifest.labels, bank), describe)
    model = with_bank(files.model, state.bank) if state.bank is not bank else files.model
    edits: list[Json] = [*manifest.head_facts.edits, what]
    changed = replace(manifest, labels=state.labels, head={**manifest.head, "edits": edits}, files={})
    return write_bundle(Path(path), changed, model, files.tokenizer, _selftest(files, changed, model, tokenizer))


def _selftest(files: BundleFiles, manifest: BundleManifest, model: bytes, tokenizer: TextTokenizer) -> bytes:
    """The same sample texts with the new probabilities."""
    _, samples = read_selftest(files.selftest, str(files.path / SELFTEST_NAME))
    session = open_session(model, manifest.graph, str(files.path))
    texts = [sample.text for sample in samples]
    rows = tokenizer.rows(texts)
    probs = np.stack([session.run(tokenizer.batch([row]).feeds())[0][0] for row in rows])
    return selftest_bytes(manifest.graph.precision, texts, rows, probs)


def _scope_key(scope: Floats, described: Floats) -> Floats:
    """The column (S,) of a label of these features (F,) for scope keys (S, L): as long as they are, in its own direction."""
    column = described[: len(scope)]
    length = np.linalg.norm(scope, axis=0).mean() / np.linalg.norm(column)
    key: Floats = (column * length).astype(np.float32)
    return key


def _same_direction(one: Floats, other: Floats) -> bool:
    """But for the rounding of float16, in which a bundle may keep one of them."""
    wide, wider = one.astype(np.float64), other.astype(np.float64)
    return bool(wide @ wider >= (1 - 1e-6) * np.linalg.norm(wide) * np.linalg.norm(wider))


def _prior(state: _State, path: str | os.PathLike[str]) -> PriorMap:
    if state.bank.prior is None:
        raise DataError(
            f"{path}: its head cannot take a label from a description, expected the default head. "
            "Train with --head default and build again."
        )
    return state.bank.prior


def _entry(others: Sequence[Label], name: str, descriptions: Sequence[str], path: str | os.PathLike[str]) -> Label:
    """A label that may stand beside these, by the rule of training."""
    if name in [entry.name for entry in others]:
        raise DataError(f"label: {name!r} is already in the bundle. Choose another name.")
    entry = Label(name, tuple(descriptions))
    try:
        require_usable([Label(one.name, one.descriptions) for one in (*others, entry)], str(path))
    except DataError as error:
        raise DataError(str(error)) from error
    return entry
