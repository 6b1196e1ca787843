"""The pages follow the programs: the command-line page, links, extras and exit codes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT

BENCHMARKS = REPO_ROOT / "benchmarks"
PAGES = [*sorted(REPO_ROOT.glob("*.md")), BENCHMARKS / "README.md", *sorted((REPO_ROOT / "docs").rglob("*.md"))]
README = REPO_ROOT / "README.md"
MAKERS = REPO_ROOT / "tests" / "contracts" / "pages"


def make_page(*arguments: str, columns: str, script=MAKERS / "make_cli_page.py"):
    return subprocess.run(
        [sys.executable, script, *arguments], env=os.environ | {"COLUMNS": columns, "TERM": "xterm"},
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("columns", ["20", "300"])
def test_the_command_line_page_is_up_to_date_at_any_width(columns):
    done = make_page("--check", columns=columns)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", "")


def test_a_page_that_fell_behind_is_seen(tmp_path):
    makers = tmp_path / "tests" / "contracts" / "pages"
    shutil.copytree(MAKERS, makers)
    (tmp_path / "docs").mkdir()
    copied = makers / "make_cli_page.py"
    (tmp_path / "docs" / "cli.md").write_text((REPO_ROOT / "docs" / "cli.md").read_text("utf-8") + "\n", "utf-8")
    done = make_page("--check", columns="80", script=copied)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == "docs/cli.md: not what the command lines say. Run: make docs\n"
    assert make_page(columns="80", script=copied).returncode == 0
    assert (tmp_path / "docs" / "cli.md").read_bytes() == (REPO_ROOT / "docs" / "cli.md").read_bytes()


def test_every_spelling_of_an_option_is_on_the_page():
    import typer
    from crosstune_cli import crosstune_app, export_app

    page = (REPO_ROOT / "docs" / "cli.md").read_text("utf-8")
    commands = [*(typer.main.get_command(app).commands for app in (crosstune_app.app, export_app.app))]
    options = [option for group in commands for command in group.values() for option in command.params]
    spellings = {name for option in options for name in (*option.opts, *option.secondary_opts) if name.startswith("--")}
    assert {"--gate", "--no-gate"} < spellings
    assert [name for name in sorted(spellings - {"--help"}) if not re.search(rf"[`/]{name}[ `/]", page)] == []


def test_the_page_of_faults_is_up_to_date():
    done = make_page("--check", columns="80", script=MAKERS / "make_faults_page.py")
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", "")


def test_security_states_the_number_of_faults_and_the_oldest_versions():
    text = (REPO_ROOT / "SECURITY.md").read_text("utf-8")
    faults = re.findall(r"^\| [A-L]\d", (REPO_ROOT / "docs/development/faults.md").read_text("utf-8"), re.MULTILINE)
    assert f"lists {len(faults)} cases" in text
    project = (REPO_ROOT / "pyproject.toml").read_text("utf-8")
    table = text.split("## Dependencies")[1].split("| optimum-onnx")[0]
    stated = {}
    for packages, versions in re.findall(r"^\| ([a-z][\w, -]+) \| ([\d., below]+) \|", table, re.MULTILINE):
        oldest = [version for version in versions.split(", ") if not version.startswith("below")]
        stated |= dict(zip(packages.split(", "), oldest, strict=True))
    assert len(stated) > 15
    for package, version in stated.items():
        found = set(re.findall(rf'"{package}(?:\[data\])?>=([\d.]+)', project))
        assert version in found, f"{package}: SECURITY.md says {version}, pyproject.toml {found}"


def test_the_page_of_licences_is_up_to_date():
    done = make_page("--check", columns="80", script=MAKERS / "make_licences_page.py")
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", "")


@pytest.mark.parametrize("licence", ["", "GPL-3.0-only", "MIT AND LGPL-2.1", "UNKNOWN"])
def test_a_licence_that_is_missing_or_not_accepted(licence, monkeypatch):
    monkeypatch.syspath_prepend(str(MAKERS))
    import make_licences_page

    with pytest.raises(ValueError, match=r"^some-package: the licence is "):
        make_licences_page.accepted("some-package", licence)


def test_every_fault_is_there_and_every_mark_is_known(monkeypatch):
    monkeypatch.syspath_prepend(str(MAKERS))
    import make_faults_page

    page = make_faults_page.page()
    counts = {"A": 16, "B": 13, "C": 11, "D": 21, "E": 11, "F": 8, "G": 18, "H": 11, "I": 9, "J": 9, "K": 6, "L": 24}
    assert [line.split(" | ")[0][2:] for line in page.splitlines() if re.match(r"\| [A-L]\d", line)] == [
        f"{letter}{number}" for letter, count in counts.items() for number in range(1, count + 1)
    ]
    monkeypatch.setattr(make_faults_page, "marked_tests", lambda: {"Z1": ["tests/test_x.py::test_y"]})
    with pytest.raises(
        ValueError, match=r"^tests/test_x.py::test_y: names the fault 'Z1', which fault_rows.toml has not\.$"
    ):
        make_faults_page.page()
    monkeypatch.setattr(make_faults_page, "marked_tests", dict)
    with pytest.raises(ValueError, match=r"^fault_rows.toml: A1 has neither a test nor a note\.$"):
        make_faults_page.page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPO_ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


def test_every_page_is_in_the_contents_of_the_site():
    settings = (REPO_ROOT / "mkdocs.yml").read_text("utf-8")
    listed = set(re.findall(r": ([\w/]+\.md)$", settings, re.MULTILINE))
    excluded = set(re.findall(r"^  ([\w/]+\.md)$", settings, re.MULTILINE))
    assert listed | excluded == {
        page.relative_to(REPO_ROOT / "docs").as_posix() for page in (REPO_ROOT / "docs").rglob("*.md")
    }


def test_the_readme_is_short():
    assert len(README.read_text("utf-8").split()) <= 900


def test_the_charts_of_the_readme_show_the_results():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.readme_charts", "--check"], cwd=REPO_ROOT, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_is_on_the_page_of_the_python_reference():
    import crosstune
    import crosstune_export

    page = (REPO_ROOT / "docs" / "python.md").read_text("utf-8")
    named = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    assert named == {*crosstune.__all__, *crosstune_export.__all__} - {"__version__"}


def test_every_benchmark_and_every_result_is_on_the_page_of_benchmarks():
    page = (BENCHMARKS / "README.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+)(?:\.py|\.json|`| )", page))
    assert {path.stem for path in BENCHMARKS.rglob("*") if path.suffix in {".py", ".json"}} <= named


def test_every_result_is_on_a_page_and_every_result_on_a_page_is_there():
    """So that each figure of the docs can be followed to its rows; no rows are kept that no page uses."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES if page.parent != BENCHMARKS)
    kept = {path.name for path in (BENCHMARKS / "results").iterdir()}
    assert sorted(name for name in kept if name not in text) == []
    rows = re.findall(r"^\|.*\|$", (BENCHMARKS / "README.md").read_text("utf-8"), re.MULTILINE)
    cells = [row.split("|") for row in rows if row.count("|") == 6]  # the last one names what the script writes
    written = {name for row in cells for name in re.findall(r"`(\w+\.json)`", row[5])}
    assert sorted((set(re.findall(r"benchmarks/results/(\w+\.json)", text)) | written) - kept) == []


def extras() -> set[str]:
    text = (REPO_ROOT / "pyproject.toml").read_text("utf-8")
    table = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))


def test_the_table_of_extras():
    page = (REPO_ROOT / "docs" / "install.md").read_text("utf-8")
    rows = re.findall(r"^\| `\[(\w+)\]` \|", page, re.MULTILINE)
    assert set(rows) == extras()
    assert len(rows) == len(set(rows))


def test_every_pip_line_in_pages_and_messages_names_real_extras():
    sources = (
        path for folder in ("crosstune", "crosstune_export", "cli") for path in (REPO_ROOT / folder).rglob("*.py")
    )
    groups = (
        group
        for path in (*PAGES, *sources)
        for group in re.findall(r"pip install '(?:crosstune-export|\.)\[([\w,]+)\]'", path.read_text("utf-8"))
    )
    named = {extra for group in groups for extra in group.split(",")}
    assert {"cpu", "train", "export", "offline"} <= named <= extras()


def test_the_table_of_exit_codes():
    from crosstune_cli.signals import STOP_SIGNALS

    from crosstune.core import errors

    page = (REPO_ROOT / "docs" / "errors.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)
    codes = {int(code) for code, _ in rows}
    used = {
        value.exit_code
        for module in (errors,)
        for value in vars(module).values()
        if isinstance(value, type) and hasattr(value, "exit_code")
    }
    assert codes == used | {0, 1} | {code for code, _ in STOP_SIGNALS.values()}


def test_the_changelog_has_this_version():
    import crosstune

    text = (REPO_ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## \[{re.escape(crosstune.__version__)}\]", text, re.MULTILINE)
