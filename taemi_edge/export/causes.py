"""Why a module did not export, and what to write instead.

Exporters fail with words of their own, or say nothing and freeze a length. What people have to change is one of a few
patterns in their code. They are listed here with the advice; a message names the line where it can be found.
"""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Place:
    """A line of code."""

    file: str
    line: int

    @property
    def source(self) -> str:
        """The text of the line, if the file can be read."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}, line {self.line}"


class TraceError(Exception):
    """An exporter failed; `places` are lines of the user's code, the deepest last."""

    def __init__(self, message: str, places: list[Place] | None = None) -> None:
        super().__init__(message)
        self.places = places or []

    def __reduce__(self) -> tuple[type[TraceError], tuple[str, list[Place]]]:
        return type(self), (str(self), self.places)


@dataclass(frozen=True)
class Attempt:
    """What one exporter did wrong: each text follows "the exporter"; the places are those that it complained of."""

    exporter: str
    problems: list[str]
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Cause:
    """A pattern that does not export.

    Attributes:
        name: what it is called in a message.
        line: matches a line of source that has it.
        message: matches what an exporter says of it; nothing where exporters do not.
        advice: what to write instead.
    """

    name: str
    line: str
    message: str
    advice: str


#: A pattern that nothing matches, not even an empty line.
_NEVER = r"(?!)"

CAUSES = (
    Cause(
        "pack_padded_sequence",
        r"\bpack_padded_sequence\s*\(",
        r"pack_padded|PackPadded|prim_PackPadded",
        "run the recurrence over the padded steps and gather its state at the last step whose mask is 1",
    ),
    Cause(
        "a length read from .data",
        r"\.data\.(shape|size)\b",
        _NEVER,
        "write .shape without .data, which hides the length from the tracer",
    ),
    Cause(
        "a memory address",
        r"\.data_ptr\s*\(",
        r"data_ptr",
        "compare with `is`, or decide once in __init__: tensors have no address while a module is exported",
    ),
    Cause(
        "a branch on values",
        r"^\s*(if|elif|while|assert)\b.*\.(all|any|item|max|min|sum)\s*\(|\b(if|elif|while)\b.*\bmask\b",
        r"data-dependent|GuardOnDataDependent|Could not guard|_local_scalar_dense",
        "write one way for all values, such as torch.where(mask, a, b)",
    ),
    Cause(
        "a value taken out of the graph",
        r"\.(item|tolist|numpy)\s*\(",
        r"\.item\(\)|aten::item|\.numpy\(\)",
        "keep it a tensor",
    ),
    Cause(
        "a length as a Python number",
        r"\b(int|float|range)\s*\(.*(shape|size|len)\b|\blen\s*\(",
        _NEVER,
        "use x.shape[1], x.new_zeros and x.reshape without int(), and nn.LSTM or tensors in place of a loop over steps",
    ),
    Cause(
        "autocast",
        r"\bautocast\s*\(",
        _NEVER,
        "leave it out: FP16 and INT8 are made of the FP32 graph by `taemi-edge calibrate`",
    ),
    Cause(
        "a module that is quantised already",
        r"\bquantize_dynamic\s*\(",
        r"quantized::|LinearPackedParams|torch\.int8|_weight_int8pack_mm",
        "export the module in FP32: `taemi-edge calibrate` makes INT8 of it",
    ),
    Cause(
        "a parametrization",
        _NEVER,
        r"linalg_matrix_exp|aten::mH|linalg_householder",
        "fold it into the weight with torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')",
    ),
    Cause(
        "a recurrence with proj_size",
        r"\bproj_size\s*=\s*[1-9]",
        r"LSTMs with projections",
        "leave proj_size out, and put a Linear behind the recurrence",
    ),
    Cause(
        "a pooling to a size that does not divide the length",
        _NEVER,
        r"adaptive_(avg|max)_pool",
        "pool to 1, or with a kernel and stride of your own: ONNX has no pooling to a size",
    ),
    Cause(
        "an operator without ONNX",
        _NEVER,
        r"UnsupportedOperator|No ONNX function found|DispatchError|Exporting the operator|ONNX export of operator",
        "write it with operators that ONNX has (onnx.ai/onnx/operators)",
    ),
)

#: What freezes a length, where the exporter does not say so.
_LENGTH = next(cause for cause in CAUSES if cause.name == "a length as a Python number")

#: These lines are said to be at fault only where an exporter complained of them: they are harmless in most places.
_COMMON = frozenset({"a branch on values", "a value taken out of the graph", "a length as a Python number"})


def places_of(error: BaseException) -> list[Place]:
    """The lines that an exception went through outside of PyTorch, Python and this package, the deepest last."""
    if isinstance(error, TraceError):
        return error.places
    frames = traceback.extract_tb(error.__traceback__)
    return [Place(frame.filename, frame.lineno or 0) for frame in frames if _is_users(frame.filename)]


@contextmanager
def packing_refused() -> Iterator[None]:
    """Raise at the line that packs a sequence: neither exporter has it, and what they say of it names no line."""
    pack = torch._VF._pack_padded_sequence

    def refuse(input: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:  # noqa: A002
        frames = traceback.extract_stack()
        places = [Place(frame.filename, frame.lineno or 0) for frame in frames if _is_users(frame.filename)]
        raise TraceError("a packed sequence has no ONNX", places)

    torch._VF._pack_padded_sequence = refuse
    try:
        yield
    finally:
        torch._VF._pack_padded_sequence = pack


def explain(part: str, module: nn.Module, attempts: list[Attempt]) -> str:
    """Say in one sentence what each exporter did wrong, what causes it, and what to write instead.

    Example:
        >>> print(explain("head", nn.Identity(), [Attempt("dynamo", ["froze steps"])]))
        head: expected a graph that does what PyTorch does, but the dynamo exporter froze steps
    """
    said = " and ".join(
        f"the {_NAMES[attempt.exporter]} exporter {', '.join(attempt.problems)}" for attempt in attempts
    )
    return f"{part}: expected a graph that does what PyTorch does, but {said}{_cause(module, attempts)}"


_NAMES = {"torchscript": "TorchScript", "dynamo": "dynamo"}


def _cause(module: nn.Module, attempts: list[Attempt]) -> str:
    """The cause as the end of a sentence: first what exporters pointed at, then what the module's source has."""
    pointed = [place for attempt in attempts for place in reversed(attempt.places) if _is_users(place.file)]
    for place in pointed:
        for cause in CAUSES:
            if re.search(cause.line, place.source):
                return _described(cause, place)
    for place in _lines_of(module):
        for cause in CAUSES:
            if cause.name not in _COMMON and re.search(cause.line, place.source):
                return _described(cause, place)
    if any(problem.startswith("froze") for attempt in attempts for problem in attempt.problems):
        for place in _lines_of(module):
            if re.search(_LENGTH.line, place.source):
                return _described(_LENGTH, place)
    words = " ".join(problem for attempt in attempts for problem in attempt.problems)
    for cause in CAUSES:
        if re.search(cause.message, words):
            return _described(cause, pointed[0] if pointed else None)
    return f": see {pointed[0]} (`{pointed[0].source}`)" if pointed else ""


def _described(cause: Cause, place: Place | None) -> str:
    where = f" at {place} (`{place.source}`)" if place else ""
    return f": the cause is {cause.name}{where}; {cause.advice}"


def _is_users(file: str) -> bool:
    """Does a file belong neither to Python, PyTorch and its exporters, nor to this package?"""
    return file[:1] != "<" and not file.startswith(_NOT_USERS)


_PACKAGES = sysconfig.get_path("purelib")
_NOT_USERS = (
    os.path.dirname(torch.__file__),
    os.path.dirname(os.path.dirname(__file__)),
    os.path.dirname(os.__file__) + os.sep + "contextlib",
    *(os.path.join(_PACKAGES, name) for name in ("onnx", "onnxscript", "onnx_ir", "sympy", "numpy")),
)


def _lines_of(module: nn.Module) -> Iterator[Place]:
    """The lines of the classes that a module is made of, without PyTorch's own."""
    for kind in dict.fromkeys(type(layer) for layer in module.modules()):
        try:
            file = inspect.getsourcefile(kind) or ""
            lines, first = inspect.getsourcelines(kind)
        except (OSError, TypeError):
            continue
        if _is_users(file):
            yield from (Place(file, first + i) for i in range(len(lines)))
