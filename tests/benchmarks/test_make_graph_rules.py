"""The rules for graphs are written from what builds write, also where a graph is one call of a function."""

from __future__ import annotations

import json

import onnx
import pytest

from benchmarks.robustness import make_graph_rules
from crosstune_export.bundle.files import read_bundle
from tests.conftest import REPO_ROOT
from tests.fixtures.forged_graphs import in_function


@pytest.fixture
def graph_in_function():
    model = onnx.load_from_string(read_bundle(REPO_ROOT / "tests" / "golden" / "format-1.1.bundle.zip").model)
    in_function(model)
    return model


@pytest.mark.fault("L17")
def test_the_nodes_of_a_function_count_as_those_of_the_graph(graph_in_function, tmp_path, monkeypatch):
    committed = json.loads(make_graph_rules.RULES.read_bytes())
    rules_path = tmp_path / "rules.json"
    rules_path.write_bytes(make_graph_rules.RULES.read_bytes())
    onnx.save(graph_in_function, tmp_path / "graph.onnx")
    monkeypatch.setattr(make_graph_rules, "RULES", rules_path)
    monkeypatch.setattr("sys.argv", ["make_graph_rules", "--graphs", str(tmp_path), "--no-build"])

    make_graph_rules.main()

    written = json.loads(rules_path.read_bytes())
    nodes = graph_in_function.functions[0].node
    for domain, operators in written["operators"].items():
        assert set(operators) == {node.op_type for node in nodes if node.domain == domain}
        for name, entry in operators.items():
            assert set(entry["forms"]) <= set(committed["operators"][domain][name]["forms"])
    unchanged = set(committed) - {"operators", "types"}
    assert "function" in unchanged
    assert {name: written[name] for name in unchanged} == {name: committed[name] for name in unchanged}


def test_a_function_with_other_names_inside_is_refused(graph_in_function):
    graph_in_function.functions[0].input[0] = "another"
    with pytest.raises(SystemExit, match="other names"):
        make_graph_rules.inlined(graph_in_function)
