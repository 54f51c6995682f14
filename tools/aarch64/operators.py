"""Small graphs of ONNX Runtime's integer operators, with what NumPy says that they give.

Scales are powers of two wherever sums are added, so that a right kernel and NumPy agree to the last bit. Rows and
columns of the largest bytes stand beside drawn ones: there a kernel that adds products in 16 bits, as on x86 without
VNNI, gives another sum.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

#: Operators of ONNX Runtime alone; the others are standard ones.
_MICROSOFT = "com.microsoft"
_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}
_TYPES |= {np.dtype(np.int8): TensorProto.INT8, np.dtype(np.int32): TensorProto.INT32}
#: Rows, columns, and lengths of the sums: a multiple of every kernel's step, and one that leaves a tail.
_ROWS, _COLUMNS, _TERMS = 5, 19, (96, 37)
#: A zero point that is neither end of the range.
_X_ZERO, _Y_ZERO = 113, 128
_X_SCALE, _W_SCALE = np.float32(2.0**-6), np.float32(2.0**-7)
#: Name, channels in and out, size of the kernel, groups.
_CONVOLUTIONS = (("3x3", 24, 20, 3, 1), ("1x1", 32, 20, 1, 1), ("depthwise", 24, 24, 3, 24))


@dataclass(frozen=True)
class _Kind:
    """Which bytes an operator multiplies: those of its input, and those of its weights with their zero point."""

    name: str
    x: Any
    w: Any
    zero: int
    low: int
    high: int

    def weights(self, random: np.random.Generator, shape: Sequence[int]) -> Array:
        """Drawn weights, those of the first output all the largest, and those of the second all the smallest."""
        values = random.integers(self.low, self.high + 1, shape).astype(self.w)
        if len(shape) == 2:  # (terms, columns)
            values[:, 0], values[:, 1] = self.high, self.low
        else:  # (out, in, ...)
            values[0], values[1] = self.high, self.low
        return values


_KINDS = (
    _Kind("U8S8", np.uint8, np.int8, 0, -127, 127),
    _Kind("U8S8 of 7 bits", np.uint8, np.int8, 0, -64, 64),
    _Kind("U8S8 with -128", np.uint8, np.int8, 0, -128, 127),
    _Kind("U8U8", np.uint8, np.uint8, 128, 1, 255),
    _Kind("U8U8 around 0", np.uint8, np.uint8, 0, 0, 255),
    _Kind("S8S8", np.int8, np.int8, 0, -127, 127),
)


@dataclass(frozen=True)
class OperatorCase:
    """One graph, what is fed to it, and what it must give.

    Attributes:
        name: the operator, and what is particular: "QLinearConv depthwise U8S8".
        graph: the content of an ONNX file.
        feeds: its inputs.
        expected: its only output, by NumPy's integers.
    """

    name: str
    graph: bytes
    feeds: Mapping[str, Array]
    expected: Array


def operator_cases() -> Iterator[OperatorCase]:
    """Every case; the same on every machine."""
    random = np.random.default_rng(11)
    for kind in _KINDS:
        for terms in _TERMS:
            yield from _products(random, terms, kind)
        if kind.x is np.uint8:
            yield from _convolutions(random, kind)
            yield from _pairs(random, kind)
    yield from _elementwise(random)


def write_cases(folder: Path) -> None:
    """Write each case as NAME.npz, with its graph as bytes: a machine without onnx reads it."""
    for case in operator_cases():
        content = io.BytesIO()
        feeds = {f"feed_{name}": value for name, value in case.feeds.items()}
        graph = np.frombuffer(case.graph, np.uint8)
        np.savez(content, graph=graph, expected=case.expected, **feeds)  # type: ignore[arg-type]
        (folder / f"{case.name}.npz").write_bytes(content.getvalue())


def _products(random: np.random.Generator, terms: int, kind: _Kind) -> Iterator[OperatorCase]:
    """Matrix products, as Linears become."""
    name = kind.name if terms % 8 == 0 else f"{kind.name} tail"
    x, w = _bytes(random, (_ROWS, terms), kind.x), kind.weights(random, (terms, _COLUMNS))
    x_zero = kind.x(_X_ZERO if kind.x is np.uint8 else -7)
    total = (x.astype(np.int64) - int(x_zero)) @ (w.astype(np.int64) - kind.zero)
    w_zero = kind.w(kind.zero)
    integers = [("w", w), ("xz", x_zero), ("wz", w_zero)]
    yield _case(f"MatMulInteger {name}", "MatMulInteger", x, integers, total.astype(np.int32))
    floats = total.astype(np.float32) * np.float32(2.0**-13)
    to_float = [("w", w), ("xs", _X_SCALE), ("ws", _W_SCALE), ("xz", x_zero), ("wz", w_zero)]
    yield _case(f"MatMulIntegerToFloat {name}", "MatMulIntegerToFloat", x, to_float, floats, _MICROSOFT)
    if kind.x is not np.uint8:
        return
    inputs = [("xs", _X_SCALE), ("xz", x_zero), ("w", w), ("ws", _W_SCALE), ("wz", w_zero)]
    out = [("ys", np.float32(2)), ("yz", np.uint8(_Y_ZERO))]
    yield _case(f"QLinearMatMul {name}", "QLinearMatMul", x, [*inputs, *out], _requantised(total, 2.0**-14))
    bias = np.arange(_COLUMNS, dtype=np.int32) * 1000
    y = _requantised(total + bias, 2.0**-14)
    yield _case(f"QGemm {name}", "QGemm", x, [*inputs, ("b", bias), *out], y, _MICROSOFT)
    yield _dynamic(x, w, kind, name)


def _dynamic(x: Array, w: Array, kind: _Kind, name: str) -> OperatorCase:
    """A product whose input is quantised as it comes: whole numbers from 0 to 255 are their own bytes."""
    floats = x.astype(np.float32)
    floats[0, :2] = 0, 255
    total = floats.astype(np.int64) @ (w.astype(np.int64) - kind.zero)
    inputs = [("w", w), ("ws", _W_SCALE), ("wz", kind.w(kind.zero))]
    expected = total.astype(np.float32) * _W_SCALE
    return _case(f"DynamicQuantizeMatMul {name}", "DynamicQuantizeMatMul", floats, inputs, expected, _MICROSOFT)


def _convolutions(random: np.random.Generator, kind: _Kind) -> Iterator[OperatorCase]:
    """Convolutions with weights per channel: plain, of one pixel, and channel by channel."""
    for shape, channels, out, size, group in _CONVOLUTIONS:
        x = _bytes(random, (1, channels, 9, 9), np.uint8)
        w = kind.weights(random, (out, channels // group, size, size))
        total = _convolved(x.astype(np.int64) - _X_ZERO, w.astype(np.int64) - kind.zero, group)
        powers = np.where(np.arange(out) % 2, 2.0**-7, 2.0**-8).astype(np.float32)
        y = _requantised(total, (powers * _X_SCALE / 4)[None, :, None, None])
        inputs = [("xs", _X_SCALE), ("xz", np.uint8(_X_ZERO)), ("w", w), ("ws", powers)]
        inputs += [("wz", np.full(out, kind.zero, kind.w)), ("ys", np.float32(4)), ("yz", np.uint8(_Y_ZERO))]
        yield _case(f"QLinearConv {shape} {kind.name}", "QLinearConv", x, inputs, y, group=group)
        x, y = (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (x, y))
        name = f"QLinearConv {shape} channels last {kind.name}"
        yield _case(name, "QLinearConv", x, inputs, y, _MICROSOFT, group=group, channels_last=1)


def _elementwise(random: np.random.Generator) -> Iterator[OperatorCase]:
    """What stands between products in a chain of quantised tensors."""
    shape = (1, 24, 4, 4)
    a, b = _bytes(random, shape, np.uint8), _bytes(random, shape, np.uint8)
    left, right = a.astype(np.int64) - _X_ZERO, b.astype(np.int64) - _X_ZERO
    one, zero, out = np.float32(1), np.uint8(_X_ZERO), [("ys", np.float32(4)), ("yz", np.uint8(_Y_ZERO))]
    both = [("as", one), ("az", zero), ("b", b), ("bs", np.float32(2)), ("bz", zero), *out]
    yield _case("QLinearAdd at ties", "QLinearAdd", a, both, _requantised(left + 2 * right, 2.0**-2), _MICROSOFT)
    thirds = [*both[:5], ("ys", np.float32(3)), out[1]]
    yield _case("QLinearAdd", "QLinearAdd", a, thirds, _requantised(left + 2 * right, 1 / 3), _MICROSOFT)
    product = _requantised(left * right * 2, 2.0**-7)
    scaled = [*both[:5], ("ys", np.float32(128)), out[1]]
    yield _case("QLinearMul", "QLinearMul", a, scaled, product, _MICROSOFT)
    pooled = _requantised(left.sum((2, 3), keepdims=True), 2.0**-5)
    pool = [("as", one), ("az", zero), ("ys", np.float32(2)), out[1]]
    yield _case("QLinearGlobalAveragePool", "QLinearGlobalAveragePool", a, pool, pooled, _MICROSOFT)
    squares = left.reshape(1, 24, 2, 2, 2, 2).sum((3, 5))
    averaged = _requantised(squares, 2.0**-3)
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    yield _case("QLinearAveragePool", "QLinearAveragePool", a, pool, averaged, _MICROSOFT, **window)


def _pairs(random: np.random.Generator, kind: _Kind) -> Iterator[OperatorCase]:
    """Standard graphs with pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime rewrites to the above."""
    x, w = _bytes(random, (_ROWS, 96), np.uint8), kind.weights(random, (96, _COLUMNS))
    total = (x.astype(np.int64) - _X_ZERO) @ (w.astype(np.int64) - kind.zero)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=1),
        helper.make_node("MatMul", ["xf", "wf"], ["yf"]),
    ]
    constants = {"xs": _X_SCALE, "xz": np.uint8(_X_ZERO), "w": w, "ws": np.full(_COLUMNS, _W_SCALE)}
    constants |= {"wz": np.full(_COLUMNS, kind.zero, kind.w), "ys": np.float32(2), "yz": np.uint8(_Y_ZERO)}
    floats = total.astype(np.float32) * np.float32(2.0**-13)
    feeds = {"x": x}
    yield OperatorCase(f"DQ MatMul {kind.name}", _model(nodes, constants, feeds, "yf", floats), feeds, floats)
    nodes.append(helper.make_node("QuantizeLinear", ["yf", "ys", "yz"], ["y"]))
    y = _requantised(total, 2.0**-14)
    yield OperatorCase(f"DQ MatMul Q {kind.name}", _model(nodes, constants, feeds, "y", y), feeds, y)


def _bytes(random: np.random.Generator, shape: Sequence[int], kind: Any) -> Array:
    """Drawn bytes, beside rows, or columns of a picture, of the largest and the smallest, which overflow first."""
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    values = random.integers(low, high + 1, shape).astype(kind)
    if len(shape) == 2:
        values[0], values[1] = high, low
    else:
        values[..., :3], values[..., -3:] = high, low
    return values


def _requantised(total: Array, multiplier: Any) -> Array:
    """Sums as unsigned bytes: ties go to the even number, as QuantizeLinear says."""
    rounded = np.rint(total.astype(np.float64) * multiplier) + _Y_ZERO
    clipped: Array = np.clip(rounded, 0, 255).astype(np.uint8)
    return clipped


def _convolved(x: Array, w: Array, group: int) -> Array:
    """A convolution without padding, in NumPy's integers. (1, C, H, W) and (O, C / group, S, S)."""
    windows = np.lib.stride_tricks.sliding_window_view(x[0], w.shape[2:], axis=(1, 2))  # (C, H', W', S, S)
    parts = zip(np.split(windows, group), np.split(w, group), strict=True)
    return np.concatenate([np.einsum("chwij,ocij->ohw", part, kernel) for part, kernel in parts])[None]


def _case(
    name: str,
    op: str,
    x: Array,
    inputs: Sequence[tuple[str, Any]],
    expected: Array,
    domain: str = "",
    **attributes: Any,
) -> OperatorCase:
    """A graph of one operator: its first input is fed, the others are constants."""
    node = helper.make_node(op, ["x", *(key for key, _ in inputs)], ["y"], domain=domain, **attributes)
    return OperatorCase(name, _model([node], dict(inputs), {"x": x}, "y", expected), {"x": x}, expected)


def _model(nodes: Sequence[Any], constants: Mapping[str, Any], feeds: Mapping[str, Array], out: str, y: Array) -> bytes:
    inputs = [helper.make_tensor_value_info(name, _TYPES[value.dtype], value.shape) for name, value in feeds.items()]
    output = helper.make_tensor_value_info(out, _TYPES[y.dtype], y.shape)
    used = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(list(nodes), "case", inputs, [output], kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_MICROSOFT, 1)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content
