"""The Kubernetes manifest of docs/deploy.md, as far as it can be checked without a cluster."""

from __future__ import annotations

import re

import pytest
import typer
import yaml
from crosstune_cli.export_app import app

from tests.conftest import REPO_ROOT


@pytest.fixture(scope="module")
def manifest() -> dict[str, dict]:
    """Its documents, by kind."""
    page = (REPO_ROOT / "docs" / "deploy.md").read_text("utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return {document["kind"]: document for document in yaml.safe_load_all(block)}


def test_the_pod_runs_the_server_of_the_image(manifest):
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    dockerfile = (REPO_ROOT / "Dockerfile").read_text("utf-8")
    port = int(re.search(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)[1])
    served = container["readinessProbe"]["httpGet"], container["livenessProbe"]["httpGet"], *container["ports"]
    assert {place.get("port", place.get("containerPort")) for place in served} == {port}
    assert manifest["Service"]["spec"]["ports"][0]["targetPort"] == port
    assert container["securityContext"]["runAsUser"] == int(re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)[1])
    (mounted,) = container["volumeMounts"]
    assert f'"serve", "{mounted["mountPath"]}"' in dockerfile
    assert [volume["name"] for volume in pod["volumes"]] == [mounted["name"]]
    paths = (REPO_ROOT / "crosstune_export" / "serve" / "api.py").read_text("utf-8")
    for probe in ("readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in paths


def test_no_request_is_cut_when_the_pod_ends(manifest):
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    serve = typer.main.get_command(app).commands["serve"]
    given = serve.make_context("serve", ["bundle", *pod["containers"][0]["args"]]).params
    assert given["drain_delay"] + given["drain_timeout"] < pod["terminationGracePeriodSeconds"]


def test_the_service_finds_the_pods(manifest):
    template = manifest["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifest["Service"]["spec"]["selector"] == template
    assert manifest["Deployment"]["spec"]["selector"]["matchLabels"] == template
