"""Edits the labels of a finished bundle without torch: new descriptions are encoded with the graph in the bundle."""

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
from crosstune_export.bundle.label_bank import Floats, LabelBank, PriorMap, read_bank, with_bank, without_exits
from crosstune_export.bundle.manifest import SELFTEST_NAME, TOKENIZER_NAME, BundleManifest
from crosstune_export.bundle.selftest import read_selftest
from crosstune_export.bundle.write import selftest_bytes, write_bundle
from crosstune_export.runtime.session import open_session
from crosstune_export.runtime.tokenization import TextTokenizer


@dataclass(frozen=True)
class _State:
    """Labels and label bank during an edit."""

    labels: tuple[Label, ...]
    bank: LabelBank

    def index(self, name: str) -> int:
        names = [entry.name for entry in self.labels]
        if name not in names:
            raise DataError(f"label: {name!r} is not in the bundle, which has {', '.join(names)}. Check the name.")
        return names.index(name)


Describe = Callable[[Sequence[str]], Floats]


def add_label(path: str | os.PathLike[str], name: str, descriptions: Sequence[str]) -> BundleManifest:
    """Add a label that is known only by its description; the scores of the other labels do not change.

    Args:
        path: Bundle folder; replaced as a whole, or left unchanged after an error.
        name: Name of the new label.
        descriptions: One or more sentences that describe the label.

    Returns:
        The manifest as written.

    Raises:
        BundleError: The bundle is invalid.
        ConfigError: The bundle is packed.
        DataError: The name is taken, the label is invalid by the rules of training, or the head cannot use a description.
        ResourceError: Writing to the disk failed.
    """

    def edit(state: _State, describe: Describe) -> _State:
        entry, prior = _entry(state.labels, name, descriptions, path), _prior(state, path)
        described = describe(descriptions)
        key, bias = prior.key(described)
        scope_keys = state.bank.scope_keys
        bank = LabelBank(
            np.concatenate([state.bank.keys, key.reshape(1, 1, -1)], 1),
            np.concatenate([state.bank.bias, bias.reshape(1, 1)], 1),
            prior,
            None if scope_keys is None else np.column_stack([scope_keys, _similarity_key(scope_keys, described)]),
        )
        return _State((*state.labels, entry), bank)

    return _edited(path, edit, f"add {name}")


def describe_label(path: str | os.PathLike[str], name: str, descriptions: Sequence[str]) -> BundleManifest:
    """Replace the descriptions of a label; what was learned from its examples is kept.

    Args:
        path: Bundle folder; replaced as a whole, or left unchanged after an error.
        name: An existing label.
        descriptions: One or more sentences that describe the label.

    Returns:
        The manifest as written.

    Raises:
        BundleError: The bundle is invalid.
        ConfigError: The bundle is packed.
        DataError: The label does not exist, the descriptions are invalid by the rules of training, or the head cannot use a
            description.
        ResourceError: Writing to the disk failed.
    """

    def edit(state: _State, describe: Describe) -> _State:
        at, prior = state.index(name), _prior(state, path)
        others = [*state.labels[:at], *state.labels[at + 1 :]]
        entry = _entry(others, name, descriptions, path)
        old, new = describe(state.labels[at].descriptions), describe(descriptions)
        (old_key, old_bias), (new_key, new_bias) = prior.key(old), prior.key(new)
        keys, bias, scope_keys = state.bank.keys.copy(), state.bank.bias.copy(), state.bank.scope_keys
        keys[0, at] += new_key - old_key
        bias[0, at] += new_bias - old_bias
        if scope_keys is not None and _same_direction(
            scope_keys[:, at], old[: len(scope_keys)]
        ):  # without examples, it came from the description
            scope_keys = scope_keys.copy()
            scope_keys[:, at] = _similarity_key(scope_keys, new)
        labels = list(state.labels)
        labels[at] = entry
        return _State(tuple(labels), replace(state.bank, keys=keys, bias=bias, scope_keys=scope_keys))

    return _edited(path, edit, f"describe {name}")


def rename_label(path: str | os.PathLike[str], old: str, new: str) -> BundleManifest:
    """Rename a label; nothing else changes.

    Raises:
        BundleError: The bundle is invalid.
        ConfigError: The bundle is packed.
        DataError: The label does not exist, or the new name is taken or invalid by the rules of training.
        ResourceError: Writing to the disk failed.
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
    """Remove a label; the scores of the other labels do not change.

    Raises:
        BundleError: The bundle is invalid.
        ConfigError: The bundle is packed.
        DataError: The label does not exist, or is one of only two.
        ResourceError: Writing to the disk failed.
    """

    def edit(state: _State, describe: Describe) -> _State:
        del describe
        at = state.index(name)
        if len(state.labels) == 2:
            raise DataError(
                f"label: {name!r} is one of only two labels, expected at least 2 to remain. Add another label first."
            )
        bank = replace(
            state.bank,
            keys=np.delete(state.bank.keys, at, 1),
            bias=np.delete(state.bank.bias, at, 1),
            scope_keys=None if state.bank.scope_keys is None else np.delete(state.bank.scope_keys, at, 1),
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
        session = open_session(
            without_exits(files.model), manifest.graph, str(files.path), longest=manifest.tokens.max_length_tokens
        )
        texts: list[Text] = [(text, "") if manifest.text_pair else text for text in sentences]
        rows = [session.run(tokenizer.batch([row]).feeds())[1][0] for row in tokenizer.rows(texts)]
        mean: Floats = np.mean(rows, 0, dtype=np.float32)
        pooled = manifest.head_facts.pooled_size
        if pooled is not None:
            mean[pooled:] = 0  # the rest depends on label queries, which a new label has no part in
        return mean

    state = edit(_State(manifest.labels, bank), describe)
    model = with_bank(files.model, state.bank) if state.bank is not bank else files.model
    edits: list[Json] = [*manifest.head_facts.edits, what]
    changed = replace(manifest, labels=state.labels, head={**manifest.head, "edits": edits}, files={})
    if model is not files.model:  # the exits know the old labels only
        changed = replace(changed, exits=None)
    return write_bundle(Path(path), changed, model, files.tokenizer, _selftest(files, changed, model, tokenizer))


def _selftest(files: BundleFiles, manifest: BundleManifest, model: bytes, tokenizer: TextTokenizer) -> bytes:
    """Return the self-test with the same texts and new probabilities."""
    _, samples = read_selftest(files.selftest, str(files.path / SELFTEST_NAME), manifest.graph.precision)
    session = open_session(model, manifest.graph, str(files.path))
    texts = [sample.text for sample in samples]
    rows = tokenizer.rows(texts)
    probs = np.stack([session.run(tokenizer.batch([row]).feeds())[0][0] for row in rows])
    return selftest_bytes(manifest.graph.precision, texts, rows, probs)


def _similarity_key(scope_keys: Floats, described: Floats) -> Floats:
    """Return a similarity key (S,) for a label whose description has the features (F,), with the mean norm of the keys (S, L)."""
    column = described[: len(scope_keys)]
    length = np.linalg.norm(scope_keys, axis=0).mean() / np.linalg.norm(column)
    key: Floats = (column * length).astype(np.float32)
    return key


def _same_direction(a: Floats, b: Floats) -> bool:
    """Whether two vectors are parallel up to float16 rounding, since a bundle may store one of them in float16."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return bool(a64 @ b64 >= (1 - 1e-6) * np.linalg.norm(a64) * np.linalg.norm(b64))


def _prior(state: _State, path: str | os.PathLike[str]) -> PriorMap:
    if state.bank.prior is None:
        raise DataError(
            f"{path}: its head cannot add labels from descriptions, expected the default head. "
            "Train with --head default and build again."
        )
    return state.bank.prior


def _entry(others: Sequence[Label], name: str, descriptions: Sequence[str], path: str | os.PathLike[str]) -> Label:
    """Return a new label, after checking it together with the others by the rules of training."""
    if name in [entry.name for entry in others]:
        raise DataError(f"label: {name!r} is already in the bundle. Choose another name.")
    entry = Label(name, tuple(descriptions))
    require_usable([*others, entry], str(path))
    return entry
