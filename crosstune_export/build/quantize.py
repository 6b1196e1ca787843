"""Turns a float graph into one with int8 weights and activations quantized as they come."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxscript import ir

from crosstune_export.build.passes import quantize_embeddings

#: What carries weights worth quantizing; embeddings have a pass of their own, label keys stay as they are.
_OPERATORS = ("MatMul", "Attention")


def quantize(model: ir.Model) -> ir.Model:
    """Quantize the encoder's matrices to int8 with one scale a column, and its embeddings with one scale a row.

    Weights use 7 of 8 bits: on processors without VNNI the products of 8-bit weights saturate and answers change
    (onnxruntime issues 6004 and 14642); 7 bits give the same answers everywhere at the same speed.

    Args:
        model: Float graph whose fused attention has constant weights; left as it is.

    Returns:
        A new model with the same inputs and outputs.
    """
    with tempfile.TemporaryDirectory(prefix="crosstune-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        ir.save(model, source)
        logging.disable(logging.WARNING)  # advice on preprocessing that the passes already did
        try:
            quantize_dynamic(
                str(source),
                str(target),
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        finally:
            logging.disable(logging.NOTSET)
        quantized = ir.serde.deserialize_model(onnx.load(str(target)))
    quantized.producer_name, quantized.producer_version = model.producer_name, None
    quantize_embeddings.apply(quantized)
    return quantized
