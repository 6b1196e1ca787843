"""A default is the same on the command line and in Python."""

from __future__ import annotations

import inspect

import pytest
import typer
from crosstune_cli import crosstune_app, export_app

from crosstune.augmentation import job
from crosstune.augmentation.augment import AugmentConfig
from crosstune.checkpoint import Checkpoint
from crosstune_export.builder.config import BuildConfig
from crosstune_export.bulk.run import BulkOptions
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.verification import verify

#: Option to parameter, where the two have different names.
BUILD = {"max_flips": "max_flips_percent", "report_file": "report"}
AUGMENT = {"timeout": "timeout_s", "max_wait": "max_wait_s", "key_name": "key_env"}
SERVE = {"receive_timeout": "receive_timeout_s", "drain_timeout": "drain_timeout_s", "drain_delay": "drain_delay_s"}


def options(app: typer.Typer, command: str) -> dict[str, object]:
    parameters = typer.main.get_command(app).commands[command].params
    return {option.name: option.default for option in parameters if option.param_type_name == "option"}


def defaults(function: object) -> dict[str, object]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty
    }


@pytest.mark.parametrize(
    ("app", "command", "functions", "names", "at_least"),
    [
        (export_app.app, "build", [BuildConfig], BUILD, 12),
        (export_app.app, "verify", [verify], {"max_flips": "max_label_changes_percent"}, 6),
        (export_app.app, "classify", [BulkOptions], {}, 8),
        (export_app.app, "serve", [ServeLimits], SERVE, 7),
        (crosstune_app.app, "augment", [AugmentConfig, job.prepare], AUGMENT, 8),
        (crosstune_app.app, "evaluate", [Checkpoint.answers], {}, 1),
    ],
)
def test_the_defaults_of_a_command_are_those_of_its_function(app, command, functions, names, at_least):
    expected = {name: value for function in functions for name, value in defaults(function).items()}
    found = {names.get(name, name): value for name, value in options(app, command).items()}
    shared = {name for name in set(found) & set(expected) if name not in ("workers", "file_format", "progress")}
    assert len(shared) >= at_least
    assert {name: found[name] for name in shared} == {name: expected[name] for name in shared}
