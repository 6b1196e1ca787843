"""Schemathesis against a running server: valid and invalid requests of its OpenAPI page. None may get a 5xx.

    python -m benchmarks.robustness.serving_fuzz --bundle out/support.bundle --cases 5000

Half of the cases are valid (positive), half are invalid (negative). They are seeded: every run has the same cases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hypothesis
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--cases", type=int, default=5000, help="number of requests")
    parser.add_argument("--seed", type=int, default=13, help="seed of the requests")
    parser.add_argument("--output", type=Path, default=Path("out/serving_fuzz.json"), help="JSON file to write")
    arguments = parser.parse_args()
    server = subprocess.Popen(
        [str(Path(sys.executable).with_name("crosstune-export")), "serve", str(arguments.bundle), "--port", "0"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stderr is not None
    url = json.loads(server.stderr.readline())["url"]
    log_reader = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
    try:
        report = attack(url, arguments.cases, arguments.seed)
    finally:
        server.terminate()
        code = server.wait(60)
        log_reader.wait(60)
    report["server_exit_code"] = code
    print(json.dumps(report, indent=1))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if report["server_errors"] or code:
        sys.exit(1)


def attack(url: str, cases: int, seed: int) -> dict[str, object]:
    """Run so many cases and count the statuses."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [operation.ok() for operation in schema.get_all_operations()]
    # Most cases go to the operation that reads a body.
    chosen = [operation for operation in operations for _ in range(12 if operation.method == "post" else 1)]
    statuses: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    failures: list[str] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(data=st.data())
    def one(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(chosen))
        mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
        supported_mode = mode if operation.method == "post" else GenerationMode.POSITIVE
        case = data.draw(operation.as_strategy(generation_mode=supported_mode))
        response = case.call(base_url=url)
        statuses[f"{response.status_code}"] += 1
        modes[supported_mode.value] += 1
        if response.status_code >= 500:
            failures.append(case.as_curl_command())

    one()
    return {
        "cases": sum(statuses.values()),
        "modes": dict(sorted(modes.items())),
        "statuses": dict(sorted(statuses.items())),
        "server_errors": len(failures),
        "first_failures": failures[:3],
        "schemathesis": schemathesis.__version__,
    }


if __name__ == "__main__":
    main()
