"""Rules for shapes: what each operator makes of the shapes that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taemi_edge.calibration.fused.dims import ONE, Dim, numbers_of, product_of
from taemi_edge.calibration.fused.fact import MOST_VALUES, NOTHING, Fact, Known, Rule, attributes


def _same(facts: Known, node: Any) -> Fact:
    return Fact(facts.shape(node.input[0]))


def _elementwise(facts: Known, node: Any) -> Fact:
    return Fact(facts.broadcast(*(facts.shape(name) for name in node.input if name)))


def _shape(facts: Known, node: Any) -> Fact:
    shape, given = facts.shape(node.input[0]), attributes(node)
    if shape is None or len(shape) > MOST_VALUES:
        return NOTHING
    return Fact(values=shape[given.get("start", 0) : given.get("end", len(shape))])


def _gather(facts: Known, node: Any) -> Fact:
    data, index = (facts[name] for name in node.input)
    axis = attributes(node).get("axis", 0)
    if data.values is not None and index.values is not None and axis in (0, -1) and index.shape is not None:
        picked = [number for dim in index.values if (number := dim.number) is not None]
        if len(picked) == len(index.values) and all(-len(data.values) <= i < len(data.values) for i in picked):
            return Fact(index.shape, tuple(data.values[i] for i in picked))
    if data.shape is None or index.shape is None:
        return Fact(fill=data.fill)
    axis %= max(len(data.shape), 1)
    return Fact((*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]), fill=data.fill)


def _gather_elements(facts: Known, node: Any) -> Fact:
    return Fact(facts.shape(node.input[1]), fill=facts[node.input[0]].fill)


def _axes(facts: Known, node: Any, place: int = 1) -> list[int] | None:
    """The axes that a node names in an input, or in an attribute as older versions do."""
    if "axes" in (given := attributes(node)):
        return list(given["axes"])
    values = facts[node.input[place]].values if len(node.input) > place and node.input[place] else None
    return None if values is None else numbers_of(values)


def _unsqueeze(facts: Known, node: Any) -> Fact:
    fact, axes = facts[node.input[0]], _axes(facts, node)
    if fact.shape is None or axes is None:
        return Fact(fill=fact.fill)
    rank = len(fact.shape) + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(fact.shape)
    shape = tuple(ONE if axis in new else next(old) for axis in range(rank))
    steps = None
    if fact.steps is not None:
        old_steps = iter(fact.steps[0])
        steps = (tuple(Dim.of(0) if a in new else next(old_steps) for a in range(rank)), fact.steps[1])
    return Fact(shape, fact.values if rank <= 1 else None, fact.fill, steps)


def _squeeze(facts: Known, node: Any) -> Fact:
    fact, axes = facts[node.input[0]], _axes(facts, node)
    if fact.shape is None or axes is None:
        return Fact(fill=fact.fill)
    gone = {axis % max(len(fact.shape), 1) for axis in axes}
    shape = tuple(dim for axis, dim in enumerate(fact.shape) if axis not in gone)
    return Fact(shape, fact.values, fact.fill)


def _concat(facts: Known, node: Any) -> Fact:
    found, axis = [facts[name] for name in node.input], attributes(node)["axis"]
    shapes = [fact.shape for fact in found if fact.shape is not None]
    if len(shapes) < len(found) or len({len(shape) for shape in shapes}) != 1 or not shapes[0]:
        return NOTHING
    values: tuple[Dim, ...] | None = ()
    for fact in found:
        values = None if values is None or fact.values is None else values + fact.values
    axis %= len(shapes[0])
    joined = sum((shape[axis] for shape in shapes), Dim.of(0))
    shape = tuple(joined if place == axis else dim for place, dim in enumerate(shapes[0]))
    short = values is not None and len(values) <= MOST_VALUES and len(shape) == 1
    return Fact(shape, values if short else None)


def _reshape(facts: Known, node: Any) -> Fact:
    fact, target = facts[node.input[0]], facts[node.input[1]].values
    if target is None or attributes(node).get("allowzero", 0):
        return Fact(fill=fact.fill)
    if fact.shape is None:
        return Fact(fill=fact.fill)
    shape: list[Dim | None] = []
    for axis, size in enumerate(target):
        if size.number != -1 and not size.is_never_negative:
            return Fact(fill=fact.fill)
        if size.number == 0:
            shape.append(fact.shape[axis] if axis < len(fact.shape) else None)
        else:
            shape.append(None if size.number == -1 else size)
    if shape.count(None) > 1:
        return Fact(fill=fact.fill)
    if None in shape:
        rest = product_of(fact.shape).divided_by(product_of(dim for dim in shape if dim is not None))
        shape[shape.index(None)] = rest or Dim.named(f"{node.output[0]}[-1]")
    values = fact.values if len(shape) <= 1 else None
    return Fact(tuple(dim for dim in shape if dim is not None), values, fact.fill)


def _flatten(facts: Known, node: Any) -> Fact:
    fact, axis = facts[node.input[0]], attributes(node).get("axis", 1)
    if fact.shape is None:
        return Fact(fill=fact.fill)
    axis = axis + len(fact.shape) if axis < 0 else axis
    return Fact((product_of(fact.shape[:axis]), product_of(fact.shape[axis:])), fill=fact.fill)


def _expand(facts: Known, node: Any) -> Fact:
    fact, target = facts[node.input[0]], facts[node.input[1]].values
    shape = None if fact.shape is None or target is None else facts.broadcast(fact.shape, target)
    return Fact(shape, fill=fact.fill)


def _transpose(facts: Known, node: Any) -> Fact:
    fact = facts[node.input[0]]
    if fact.shape is None:
        return Fact(fill=fact.fill)
    order = attributes(node).get("perm", list(reversed(range(len(fact.shape)))))
    return Fact(tuple(fact.shape[axis] for axis in order), fill=fact.fill)


def _matmul(facts: Known, node: Any) -> Fact:
    left, right = (facts.shape(node.input[place]) for place in (0, 1))
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return NOTHING
    batches = facts.broadcast(left[:-2], right[:-2])
    return Fact((*(batches or ()), left[-2], right[-1]))


def _gemm(facts: Known, node: Any) -> Fact:
    left, right, given = facts.shape(node.input[0]), facts.shape(node.input[1]), attributes(node)
    if left is None or right is None:
        return NOTHING
    return Fact((left[1 if given.get("transA") else 0], right[0 if given.get("transB") else 1]))


def _reduce(facts: Known, node: Any) -> Fact:
    shape, axes, given = facts.shape(node.input[0]), _axes(facts, node), attributes(node)
    if shape is None or axes is None:
        return NOTHING
    gone = {axis % max(len(shape), 1) for axis in axes}
    if given.get("keepdims", 1):
        return Fact(tuple(ONE if axis in gone else dim for axis, dim in enumerate(shape)))
    return Fact(tuple(dim for axis, dim in enumerate(shape) if axis not in gone))


#: The places of a Slice's inputs behind its data.
_STARTS, _ENDS, _AXES = 1, 2, 3


def _slice(facts: Known, node: Any) -> Fact:
    fact = facts[node.input[0]]
    if fact.shape is None or len(node.input) <= _ENDS:
        return Fact(fill=fact.fill)
    starts, ends = (facts[node.input[place]].values for place in (_STARTS, _ENDS))
    axes = (
        _axes(facts, node, _AXES) if len(node.input) > _AXES and node.input[_AXES] else list(range(len(starts or ())))
    )
    steps = facts[node.input[4]].values if len(node.input) > 4 else None
    if starts is None or ends is None or axes is None or any(step != ONE for step in steps or ()):
        return Fact(tuple(Dim.named(f"{node.output[0]}[{a}]") for a in range(len(fact.shape))), fill=fact.fill)
    shape, values = list(fact.shape), None
    for axis, start, end in zip(axes, starts, ends, strict=True):
        shape[axis] = _sliced(facts, f"{node.output[0]}[{axis}]", shape[axis], start, end)
    if fact.values is not None and (limits := numbers_of((*starts, *ends))) is not None and len(limits) == 2:
        values = fact.values[limits[0] : limits[1]]
        shape = [Dim.of(len(values))]
    return Fact(tuple(shape), values, fact.fill)


def _sliced(facts: Known, name: str, size: Dim, start: Dim, end: Dim) -> Dim:
    """The size of an axis of which the part from start to end is taken."""
    if start.number == 0 and end == size:
        return size
    numbers = numbers_of((size, start, end))
    if numbers is not None:
        return Dim.of(len(range(numbers[0])[numbers[1] : numbers[2]]))
    if start.number == 0 and end.is_never_negative and size.number is not None:
        facts.shortest[name] = (end, size.number)
    return Dim.named(name)


def _split(facts: Known, node: Any) -> Fact | tuple[Fact, ...]:
    shape, given = facts.shape(node.input[0]), attributes(node)
    if shape is None or not shape:
        return NOTHING
    axis, sizes = given.get("axis", 0) % len(shape), given.get("split")
    if sizes is None and len(node.input) > 1 and node.input[1]:
        values = facts[node.input[1]].values
        if values is None:
            return NOTHING
        sizes = numbers_of(values)
    equal = shape[axis].divided_by(Dim.of(len(node.output)))
    parts = [equal] * len(node.output) if sizes is None else [Dim.of(size) for size in sizes]
    return tuple(Fact(None if part is None else (*shape[:axis], part, *shape[axis + 1 :])) for part in parts)


def _quantised(facts: Known, node: Any) -> tuple[Fact, ...]:
    return Fact(facts.shape(node.input[0])), Fact(()), Fact(())


def _convolution(facts: Known, node: Any) -> Fact:
    data, weight = facts.shape(node.input[0]), facts.shape(node.input[1])
    if data is None or weight is None:
        return NOTHING
    sizes = (Dim.named(f"{node.output[0]}[{axis}]") for axis in range(2, len(data)))
    return Fact((data[0], weight[0], *sizes))


_SAME = """
Abs Acos Asin Atan BatchNormalization Ceil Celu Clip Cos CumSum DequantizeLinear Elu Erf Exp Floor Gelu
GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Log
LogSoftmax Mish Neg Not QuantizeLinear Reciprocal Relu Round ScatterElements ScatterND Selu Sigmoid Sign Sin Softmax
Softplus Sqrt Tan Tanh Trilu
"""
_ELEMENTWISE = "BitwiseAnd Greater Less LessOrEqual Max Min Mod Or PRelu Pow Xor"
_REDUCING = "ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"
SHAPE_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(_REDUCING.split(), _reduce),
    "Concat": _concat,
    "Conv": _convolution,
    "DynamicQuantizeLinear": _quantised,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
