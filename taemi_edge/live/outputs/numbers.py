"""The numbers of a prediction as flat rows, for outputs that draw, publish or record them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec


def numbers_of(spec: OutputSpec, described: Mapping[str, Any] | None) -> list[float | None]:
    """The numbers of an output group, in the order of its names: values, or the probabilities of classes.

    Args:
        spec: the group as the manifest declares it.
        described: what a prediction carries of it; None where there was no prediction.

    Returns:
        One number for each name; None in place of each where there was no prediction.

    Example:
        >>> spec = ClassesSpec(names=("open", "shut"))
        >>> numbers_of(spec, {"best": "shut", "probabilities": {"open": 0.25, "shut": 0.75}})
        [0.25, 0.75]
        >>> numbers_of(spec, None)
        [None, None]
    """
    by_name: Any = described
    if described is not None and isinstance(spec, ClassesSpec):
        by_name = described.get("probabilities")
    return [None] * len(spec.names) if by_name is None else [by_name.get(name) for name in spec.names]
