"""Measures the highest rates of a machine: bytes copied in a second, and operations of large matrix products.

The least time of a part follows from them (`taemi_edge.bench.compare`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.tensorrt.library import is_strongly_typed, network_flags

if TYPE_CHECKING:
    import torch

_COPY_BYTES = 1 << 30
_RUNS = 10
#: Rows and columns of the matrices that a processor multiplies.
_SIDE = 2048


def host_ceilings(threads: int = 1) -> dict[str, float]:
    """The rates of the processor, measured with numpy and with ONNX Runtime.

    Args:
        threads: of ONNX Runtime; 0 takes all cores. Numpy's BLAS takes what its environment says.

    Returns:
        `copy_gb_s` of a copy that is larger than every cache; `fp32_tflop_s` of a matrix product of numpy's BLAS or of
        ONNX Runtime, whichever is faster; and, where onnx is installed, `int8_tflop_s` of ONNX Runtime's product of U8
        with S8.
    """
    source = np.ones(_COPY_BYTES // 16, np.float32)
    target = np.empty_like(source)
    copy_s = _median_s(lambda: np.copyto(target, source))
    side = _SIDE
    a, b = (np.random.default_rng(i).standard_normal((side, side), np.float32) for i in range(2))
    product_s = _median_s(lambda: a @ b)
    found = {"copy_gb_s": 2 * source.nbytes / copy_s / 1e9, "fp32_tflop_s": 2 * side**3 / product_s / 1e12}
    for name, rate in _onnxruntime_ceilings(side, threads).items():
        found[name] = max(rate, found.get(name, 0.0))
    return found


def _onnxruntime_ceilings(side: int, threads: int) -> dict[str, float]:
    """The rates of ONNX Runtime's matrix products with constant weights; empty where onnx is not installed.

    Those of whole numbers are measured in both forms: with sums of 32 bits as they are, and brought back to 8 bits.
    """
    if find_spec("onnx") is None:
        return {}
    draw = np.random.default_rng(0)
    left, weights = (draw.standard_normal((side, side), np.float32) for _ in range(2))
    rate_of = partial(_product_rate, threads=threads)
    # weights of 7 bits: sums of 8 bits overflow on processors without VNNI, which takes no other time
    whole = draw.integers(0, 256, (side, side), np.uint8), draw.integers(-64, 65, (side, side), np.int8)
    scale, zero, of_weights = np.float32(1e-3), np.uint8(128), np.int8(0)
    return {
        "fp32_tflop_s": rate_of("MatMul", left, {"b": weights}),
        "int8_tflop_s": max(
            rate_of("MatMulInteger", whole[0], {"b": whole[1], "a_zero": zero, "b_zero": of_weights}, np.int32),
            rate_of(
                "QLinearMatMul",
                whole[0],
                {"a_scale": scale, "a_zero": zero, "b": whole[1], "b_scale": scale, "b_zero": of_weights}
                | {"y_scale": np.float32(1.0), "y_zero": zero},
            ),
        ),
    }


def _product_rate(op: str, left: Array, constants: Mapping[str, Any], gives: Any = None, *, threads: int) -> float:
    """How many 10^12 operations a second an ONNX node does that multiplies `left` by a constant matrix.

    Args:
        gives: the type of its output; by default that of `left`.
    """
    import onnxruntime
    from onnx import helper, numpy_helper

    types = [helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for dtype in (left.dtype, gives or left.dtype)]
    seams = [helper.make_tensor_value_info(n, kind, left.shape) for n, kind in zip("ay", types, strict=True)]
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([helper.make_node(op, ["a", *constants], ["y"])], op, seams[:1], seams[1:], kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return 2 * float(left.shape[0]) ** 3 / _median_s(lambda: session.run(None, {"a": left})) / 1e12


def torch_ceilings(device: torch.device) -> dict[str, float]:
    """The rates of a device, measured with PyTorch.

    Matrix products are of random numbers, since zeros need less power and run faster.

    Returns:
        On a GPU `copy_gb_s`, `fp32_tflop_s` and `fp16_tflop_s`; on the CPU `fp32_tflop_s`.
    """
    import torch

    on_gpu = device.type == "cuda"
    if not on_gpu:
        a, b = (torch.randn(2048, 2048) for _ in range(2))
        return {"fp32_tflop_s": 2 * 2048**3 / _median_s(lambda: torch.matmul(a, b)) / 1e12}

    def timed(call: Callable[[], Any]) -> float:
        def whole() -> None:
            call()
            torch.cuda.synchronize()

        return _median_s(whole)

    source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found = {"copy_gb_s": 2 * _COPY_BYTES / timed(lambda: target.copy_(source)) / 1e9}
    side = 8192
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        x, y = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        found[f"{name}_tflop_s"] = 2 * side**3 / timed(partial(torch.matmul, x, y)) / 1e12
    return found


def tensorrt_ceilings(bundle: Bundle) -> dict[str, float]:
    """The rates of a GPU, measured with CUDA copies and an FP16 matrix product that TensorRT builds.

    Returns:
        `copy_gb_s`, and `fp16_tflop_s` where TensorRT builds the product.
    """
    from taemi_edge.runtime.tensorrt.gpu import open_gpu

    with open_gpu(bundle) as gpu:
        cuda, stream = gpu.cuda, gpu.stream
        source, target = gpu.allocate(_COPY_BYTES), gpu.allocate(_COPY_BYTES)

        def timed(call: Callable[[], Any]) -> float:
            def whole() -> None:
                call()
                stream.synchronize()

            return _median_s(whole)

        with gpu.errors("measuring copies"):
            copy_s = timed(lambda: cuda.memcpy_dtod_async(int(target), int(source), _COPY_BYTES, stream))
        found = {"copy_gb_s": 2 * _COPY_BYTES / copy_s / 1e9}
        side = 4096
        engine = bundle.manifest.engine
        sources = (engine.flags.get("tactic_sources", "default") if engine else "default").split()
        context = _product_of(gpu, side, [name for name in sources if name != "default"])
        if context is not None:
            values = np.random.default_rng(0).standard_normal((side, side)).astype(np.float16)
            places = {name: gpu.allocate_like(values) for name in ("a", "b", "c")}
            for name, place in places.items():
                context.set_tensor_address(name, int(place))
            with gpu.errors("measuring a matrix product"):
                product_s = timed(lambda: context.execute_async_v3(stream.handle))
            found["fp16_tflop_s"] = 2 * side**3 / product_s / 1e12
        return found


def _product_of(gpu: Any, side: int, tactic_sources: list[str]) -> Any:
    """An execution context that multiplies two FP16 matrices; None where TensorRT builds none."""
    trt = gpu.trt
    builder = trt.Builder(gpu.logger)
    network = builder.create_network(network_flags(trt))
    a, b = (network.add_input(name, trt.float16, (side, side)) for name in ("a", "b"))
    product = network.add_matrix_multiply(a, trt.MatrixOperation.NONE, b, trt.MatrixOperation.NONE).get_output(0)
    product.name = "c"
    network.mark_output(product)
    config = builder.create_builder_config()
    if not is_strongly_typed(trt):
        config.set_flag(trt.BuilderFlag.FP16)
        product.dtype = trt.float16
    if tactic_sources:
        config.set_tactic_sources(sum(1 << int(getattr(trt.TacticSource, name)) for name in tactic_sources))
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        return None
    engine = gpu.runtime.deserialize_cuda_engine(serialised)
    return None if engine is None else engine.create_execution_context()


def _median_s(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(_RUNS + 2):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times[2:])
