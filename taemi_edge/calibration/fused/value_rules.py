"""Rules for whole numbers that are computed from sizes: what arithmetic, comparisons and ranges give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from taemi_edge.calibration.fused.dims import ONE, Dim, numbers_of
from taemi_edge.calibration.fused.fact import MOST_VALUES, NOTHING, WHOLE, Fact, Known, Rule, Shape, attributes


def _cast(facts: Known, node: Any) -> Fact:
    fact, to = facts[node.input[0]], attributes(node).get("to")
    if to == onnx.TensorProto.BOOL and fact.dtype != onnx.TensorProto.BOOL:
        return Fact(fact.shape, fill=None if fact.fill is None else int(bool(fact.fill)))
    whole = to in (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
    return Fact(fact.shape, fact.values, fact.fill, fact.steps) if whole else Fact(fact.shape)


def _arithmetic(facts: Known, node: Any) -> Fact:
    """Add, Sub and Mul of whole numbers, and Div without a rest."""
    left, right = (facts[name] for name in node.input)
    shape = facts.broadcast(left.shape, right.shape)
    values = _pairwise(left, right, _OPERATIONS[node.op_type], shape)
    steps = None
    if node.op_type == "Mul":
        steps = _scaled(left, right) or _scaled(right, left)
    elif node.op_type == "Add":
        steps = _summed(left, right)
    return Fact(shape, values, steps=steps)


def _quotient(left: Dim, right: Dim) -> Dim | None:
    if left.number is not None and right.number:
        same_sign = (left.number >= 0) == (right.number > 0)
        return Dim.of(left.number // right.number) if same_sign or left.number % right.number == 0 else None
    return left.divided_by(right) if right.terms else None


_OPERATIONS: Mapping[str, Callable[[Dim, Dim], Dim | None]] = {
    "Add": Dim.__add__,
    "Sub": Dim.__sub__,
    "Mul": Dim.__mul__,
    "Div": _quotient,
}


def _pairwise(
    left: Fact, right: Fact, operation: Callable[[Dim, Dim], Dim | None], shape: Shape | None
) -> tuple[Dim, ...] | None:
    if left.values is None or right.values is None or shape is None or len(shape) > 1:
        return None
    length = max(len(left.values), len(right.values))
    pairs = zip(_stretched(left.values, length), _stretched(right.values, length), strict=True)
    found = [operation(a, b) for a, b in pairs]
    return None if any(v is None for v in found) else tuple(v for v in found if v is not None)


def _stretched(values: tuple[Dim, ...], length: int) -> tuple[Dim, ...]:
    return values * length if len(values) == 1 else values


def _scaled(fact: Fact, by: Fact) -> tuple[tuple[Dim, ...], Dim] | None:
    if fact.steps is None or by.values is None or len(by.values) != 1:
        return None
    factor = by.values[0]
    return tuple(step * factor for step in fact.steps[0]), fact.steps[1] * factor


def _summed(left: Fact, right: Fact) -> tuple[tuple[Dim, ...], Dim] | None:
    if left.steps is None or right.steps is None:
        return None
    rank = max(len(left.steps[0]), len(right.steps[0]))
    padded = [(Dim.of(0),) * (rank - len(steps)) + steps for steps in (left.steps[0], right.steps[0])]
    return tuple(a + b for a, b in zip(*padded, strict=True)), left.steps[1] + right.steps[1]


def _equal(facts: Known, node: Any) -> Fact:
    left, right = (facts[name] for name in node.input)
    shape = facts.broadcast(left.shape, right.shape)
    return Fact(shape, _pairwise(left, right, _are_equal, shape))


def _are_equal(left: Dim, right: Dim) -> Dim | None:
    difference = left - right
    if difference.number is not None:
        return Dim.of(int(difference.number == 0))
    constants = [factor for product, factor in difference.terms if not product]
    for sign in (1, -1):  # a sum of sizes and at least one is never nothing
        if constants and all(factor * sign > 0 for _, factor in difference.terms):
            return Dim.of(0)
    return None


def _at_least(facts: Known, node: Any) -> Fact:
    left, right = (facts[name] for name in node.input)
    fill = None
    if left.steps is not None and right.values is not None and len(right.values) == 1:
        least = left.steps[1] - right.values[0]
        if least.is_never_negative and all(step.is_never_negative for step in left.steps[0]):
            fill = 1
    return Fact(facts.broadcast(left.shape, right.shape), fill=fill)


def _both(facts: Known, node: Any) -> Fact:
    left, right = (facts[name] for name in node.input)
    fill = 1 if left.fill == right.fill == 1 else None
    return Fact(facts.broadcast(left.shape, right.shape), fill=fill)


def _where(facts: Known, node: Any) -> Fact:
    condition, yes, no = (facts[name] for name in node.input)
    shape = facts.broadcast(condition.shape, yes.shape, no.shape)
    values = None
    known = (condition.values, yes.values, no.values)
    if shape is not None and len(shape) <= 1 and all(v is not None for v in known):
        length = max(len(v or ()) for v in known)
        rows = zip(*(_stretched(v or (), length) for v in known), strict=True)
        chosen = [None if test.number is None else (a if test.number else b) for test, a, b in rows]
        values = None if any(v is None for v in chosen) else tuple(v for v in chosen if v is not None)
    return Fact(shape, values)


def _constant_of_shape(facts: Known, node: Any) -> Fact:
    target, value = facts[node.input[0]].values, attributes(node).get("value")
    if value is not None and value.data_type not in WHOLE:
        return Fact(target)
    fill = 0 if value is None else int(numpy_helper.to_array(value).flat[0])
    length = numbers_of(target) if target is not None else None
    short = length is not None and len(length) <= 1 and 0 <= int(np.prod(length)) <= MOST_VALUES
    return Fact(target, (Dim.of(fill),) * int(np.prod(length or [1])) if short else None, fill)


def _range(facts: Known, node: Any) -> Fact:
    found = [facts[name].values for name in node.input]
    if any(values is None or len(values) != 1 for values in found):
        return NOTHING
    start, limit, delta = (values[0] for values in found if values is not None)
    return Fact((limit - start,) if delta == ONE else None, steps=((delta,), start))


VALUE_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_OPERATIONS, _arithmetic),
    "And": _both,
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "Equal": _equal,
    "GreaterOrEqual": _at_least,
    "Range": _range,
    "Where": _where,
}
