"""The list of mutations fits the code: each line stands where it is said to, and the tests that must fail are there."""

from __future__ import annotations

from benchmarks.robustness.run_mutants import MUTANTS, mutated, tomllib
from tests.conftest import REPO_ROOT


def test_every_mutation_can_be_applied_and_tested():
    mutants = tomllib.loads(MUTANTS.read_text("utf-8"))["mutant"]
    assert len({(mutant["file"], mutant["old"], mutant["new"]) for mutant in mutants}) == len(mutants) >= 150
    for mutant in mutants:
        source = (REPO_ROOT / mutant["file"]).read_text("utf-8")
        assert mutated(source, mutant["old"], mutant["new"]) not in (None, source), mutant
        for test in mutant["tests"]:
            path, _, name = test.partition("[")[0].partition("::")
            assert (REPO_ROOT / path).exists(), test
            assert not name or f"def {name}(" in (REPO_ROOT / path).read_text("utf-8"), test
