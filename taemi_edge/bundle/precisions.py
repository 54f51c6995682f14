"""The one list of precisions, and what follows from it. This module imports nothing: the command line reads it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

#: What a part computes in, from the highest precision to the lowest. Every other list of precisions follows from it.
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
#: The precisions that are made with Q/DQ pairs, by ranges: symmetric INT8, and FP8 in the format E4M3.
QuantisedPrecision = Literal["int8", "fp8"]
#: What a calibration makes where its recipe asks for it, beside FP32, FP16 and INT8.
FurtherPrecision = Literal["bf16", "fp8"]
#: The precision that a build is asked for; with "auto" each part gets the fastest one inside the budget.
RequestedPrecision = Literal["auto", Precision]
#: How a graph is written: "int8" has Q/DQ pairs among FP32, "int8-fp16" and "fp8-fp16" among strongly typed FP16.
#: "int8-u8" and "int8-dynamic" are INT8 as the integer kernels of processors want it: unsigned asymmetric activations,
#: with ranges from clips (outputs quantised along chains that fuse) or found anew in each run (Linears alone).
Flavour = Literal["fp32", "fp16", "bf16", "int8", "int8-u8", "int8-dynamic", "int8-fp16", "fp8-fp16"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUANTISED: tuple[QuantisedPrecision, ...] = get_args(QuantisedPrecision)
FURTHER: tuple[FurtherPrecision, ...] = get_args(FurtherPrecision)
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
#: The flavours that only ONNX Runtime on a processor takes; no compiler of TensorRT sees them.
HOST_FLAVOURS: tuple[Flavour, ...] = ("int8-u8", "int8-dynamic")
#: The precisions that an FP32 graph can be cast to: no ranges are needed.
CAST: tuple[Precision, ...] = ("fp16", "bf16")
#: The flavours of each precision. The first is the one that ONNX Runtime runs and that the precision is judged by; the
#: last is the one that a compiler with strong typing takes.
FLAVOURS_OF: Mapping[Precision, tuple[Flavour, ...]] = {
    "fp32": ("fp32",),
    "fp16": ("fp16",),
    "bf16": ("bf16",),
    "int8": ("int8", "int8-u8", "int8-dynamic", "int8-fp16"),
    "fp8": ("fp8-fp16",),
}
#: How many bytes a weight has in an engine of each precision.
WEIGHT_BYTES: Mapping[Precision, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
