"""Create the graphs of other tools from a folder of weights. Run it by path, with the Python of the tool's environment.

    OPTIMUM/bin/python benchmarks/latency/latency_peers.py optimum WEIGHTS PEERS
    OPENVINO/bin/python benchmarks/latency/latency_peers.py openvino PEERS/fp32.onnx TEXTS.jsonl PEERS

``optimum`` needs optimum-onnx, onnxruntime and sentence-transformers. It writes fp32.onnx; o2_int8.onnx and
o3_int8.onnx (``optimum-cli export onnx --optimize``, then dynamic int8 of onnxruntime, because the quantizer of optimum
2.1 fails on graphs with fused attention); and sentence_transformers_int8.onnx
(``export_dynamic_quantized_onnx_model``). ``openvino`` needs openvino and nncf. It calibrates static int8 on the texts
and writes openvino_int8.xml.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def optimum(weights: Path, output: Path) -> None:
    """Graphs by way of optimum and of sentence-transformers."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    output.mkdir(parents=True, exist_ok=True)
    shutil.copy(weights / "tokenizer.json", output)
    with tempfile.TemporaryDirectory() as temporary:
        for level in (None, "O2", "O3"):
            folder = Path(temporary) / (level or "plain")
            line = [str(Path(sys.executable).parent / "optimum-cli"), "export", "onnx", "--model", str(weights)]
            line += ["--task", "feature-extraction", "--library-name", "transformers"]
            subprocess.run([*line, *(["--optimize", level] if level else []), str(folder)], check=True)
            if level is None:
                shutil.copy(folder / "model.onnx", output / "fp32.onnx")
                continue
            quantize_dynamic(
                folder / "model.onnx",
                output / f"{level.lower()}_int8.onnx",
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": TensorProto.FLOAT},
            )
        folder = Path(temporary) / "sentence-transformers"
        model = SentenceTransformer(str(weights), backend="onnx", model_kwargs={"export": True})
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))
        shutil.copy(next(folder.rglob("*qint8*.onnx")), output / "sentence_transformers_int8.onnx")


def openvino(fp32: Path, texts: Path, output: Path) -> None:
    """OpenVINO's static int8 by NNCF, calibrated on texts."""
    import nncf
    import numpy as np
    import openvino as ov
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(output / "tokenizer.json"))
    tokenizer.no_padding()
    rows = [tokenizer.encode(json.loads(line)["text"]).ids[:256] for line in texts.read_text("utf-8").splitlines()]
    core_model = ov.convert_model(fp32)
    names = {port.get_any_name() for port in core_model.inputs}

    def feeds(row: list[int]) -> dict[str, np.ndarray]:
        arrays = {"input_ids": [row], "attention_mask": [[1] * len(row)], "token_type_ids": [[0] * len(row)]}
        return {name: np.array(value, np.int64) for name, value in arrays.items() if name in names}

    quantized = nncf.quantize(
        core_model, nncf.Dataset(rows[:300], feeds), model_type=nncf.ModelType.TRANSFORMER, subset_size=300
    )
    ov.save_model(quantized, output / "openvino_int8.xml", compress_to_fp16=False)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    by_optimum = kinds.add_parser("optimum", help="graphs by optimum and sentence-transformers")
    by_optimum.add_argument("weights", type=Path, help="folder of the backbone")
    by_optimum.add_argument("output", type=Path, help="folder to write")
    by_openvino = kinds.add_parser("openvino", help="static int8 by OpenVINO")
    by_openvino.add_argument("fp32", type=Path, help="fp32.onnx that optimum wrote")
    by_openvino.add_argument("texts", type=Path, help="JSON Lines file with texts")
    by_openvino.add_argument("output", type=Path, help="folder that optimum wrote")
    arguments = parser.parse_args()
    if arguments.kind == "optimum":
        optimum(arguments.weights, arguments.output)
    else:
        openvino(arguments.fp32, arguments.texts, arguments.output)


if __name__ == "__main__":
    main()
