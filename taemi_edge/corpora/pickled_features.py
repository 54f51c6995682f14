"""Reading arrays of numbers from pickles that came with a data set. Nothing of a pickle is run.

Python's own unpickler builds NumPy's objects from whatever a pickle says of them, which lets a few bytes read and write
memory (https://docs.python.org/3/library/pickle.html#module-pickle). Here `pickletools` only splits a pickle into its
opcodes. The few that spell an array are followed with plain tuples and bytes, and the array is made at the end, once
its claims fit the bytes that are there.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import CorpusError

#: Twice the longest clip of Hume-Vidmimic2 (1,250 s) at 50 vectors of 768 float32 a second.
_MOST_BYTES = 512 * 2**20
#: An array is spelled with some thirty opcodes.
_MOST_OPCODES = 1_000
#: As many as NumPy 1 has.
_MOST_AXES = 32
_NUMBERS = re.compile(r"[<>=|]?[fiu][1248]")
_NAMED_TYPES = re.compile(r"[<>=|]?[a-zA-Z]\d{0,4}")

_RECONSTRUCT, _FROM_BUFFER, _ARRAY, _DTYPE, _ENCODE = "reconstruct", "frombuffer", "ndarray", "dtype", "encode"
#: What NumPy's arrays name, under the modules of NumPy 1 and 2; protocols 0 to 2 spell bytes with `_codecs.encode`.
_GLOBALS = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _DTYPE,
    ("_codecs", "encode"): _ENCODE,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _RECONSTRUCT for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FROM_BUFFER for core in ("core", "_core")},
}
#: Opcodes whose value is their argument.
_VALUES = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"}
_VALUES |= {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_VALUES |= {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OTHERS = {"EMPTY_LIST": "a list", "LIST": "a list", "EMPTY_DICT": "a dict", "DICT": "a dict", "BINFLOAT": "a float"}
_MARK = object()


@dataclass(frozen=True)
class _Global:
    """A function or class of NumPy's that a pickle names; it is never looked up."""

    name: str


@dataclass
class _Type:
    """A dtype: a code such as "<f4"."""

    code: str


@dataclass
class _Pending:
    """An array; without a state it has no numbers yet."""

    array: Array | None = None


def load_array(file: Path) -> Array:
    """Read a pickled array of numbers. No code of the pickle is run, and no object of its choice is made.

    Args:
        file: of up to 512 MiB, of any protocol.

    Returns:
        The array, of floats or whole numbers in the byte order of the file, read-only.

    Raises:
        CorpusError: the file is no pickle, holds no array of numbers, claims another size than it has, or asks for
            anything but NumPy's arrays; the message names what it asks for.

    Example:
        >>> import pickle, tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pkl") as file:
        ...     _ = file.write(pickle.dumps(np.zeros((3, 2))))
        ...     file.flush()
        ...     load_array(Path(file.name)).shape
        (3, 2)
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise CorpusError(f"expected a pickle of up to {_MOST_BYTES} bytes, got {file.stat().st_size}")
        with warnings.catch_warnings():  # Python warns of escapes in damaged strings
            warnings.simplefilter("ignore")
            return _Reader().read(file.read_bytes())
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from error
    except OSError as error:
        raise CorpusError(f"{file}: expected a pickled numpy array, cannot read it: {error.strerror}") from error
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise CorpusError(f"{file}: expected a pickled numpy array, got a damaged file ({error})") from error


class _Reader:
    """Follows the opcodes of one pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, content: bytes) -> Array:
        """The array that a pickle spells."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > _MOST_OPCODES:
                raise CorpusError(f"expected a pickled numpy array, got more than {_MOST_OPCODES} opcodes")
            if opcode.name == "STOP":
                return _array_of(self._stack.pop())
            self._follow(opcode.name, argument)
        raise ValueError("it has no end")

    def _follow(self, opcode: str, argument: Any) -> None:
        if opcode in _VALUES:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif opcode in _TUPLES:
            self._stack.append(self._taken(_TUPLES[opcode]))
        elif opcode == "MARK":
            self._stack.append(_MARK)
        elif opcode == "TUPLE":
            self._stack.append(self._since_mark())
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = self._stack[-1]
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[int(argument)])
        elif opcode == "GLOBAL":
            self._stack.append(_global(*argument.split(" ", 1)))
        elif opcode == "STACK_GLOBAL":
            self._stack.append(_global(*self._taken(2)))
        elif opcode == "REDUCE":
            function, arguments = self._taken(2)
            self._stack.append(_called(function, arguments))
        elif opcode == "BUILD":
            state = self._stack.pop()
            _build(self._stack[-1], state)
        elif opcode not in ("PROTO", "FRAME"):
            found = _OTHERS.get(opcode, f"the opcode {opcode}")
            raise CorpusError(f"expected a pickled numpy array of numbers, got {found}")

    def _taken(self, count: int) -> tuple[Any, ...]:
        if len(self._stack) < count:
            raise ValueError("a value is lacking")
        taken = tuple(self._stack[-count:])
        del self._stack[-count:]
        return taken

    def _since_mark(self) -> tuple[Any, ...]:
        at = next((i for i in range(len(self._stack) - 1, -1, -1) if self._stack[i] is _MARK), None)
        if at is None:
            raise ValueError("a mark is lacking")
        taken = tuple(self._stack[at + 1 :])
        del self._stack[at:]
        return taken


def _global(module: str, name: str) -> _Global:
    if (module, name) not in _GLOBALS:
        raise CorpusError(
            f"expected a pickled numpy array, but the pickle asks for {module!s:.80}.{name!s:.80}: not loaded"
        )
    return _Global(_GLOBALS[module, name])


def _called(function: Any, arguments: Any) -> Any:
    """What NumPy's functions would make of their arguments, as plain values."""
    if not isinstance(function, _Global) or not isinstance(arguments, tuple):
        raise ValueError("something is called that is no function of NumPy's")
    if function.name == _ENCODE:
        text, encoding = arguments
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"bytes are spelled in {encoding!r:.20}")
        return text.encode("latin-1")
    if function.name == _DTYPE:
        return _Type(_known_code(arguments[0]))
    if function.name == _RECONSTRUCT:
        return _Pending()
    if function.name == _FROM_BUFFER:
        buffer, kind, shape, order = arguments
        return _Pending(_numbers(buffer, kind, shape, order))
    raise ValueError(f"{function.name} is called")


def _build(made: Any, state: Any) -> None:
    """Take the state of a dtype, which is its byte order, or of an array, which are its numbers."""
    if isinstance(made, _Type):
        order = state[1]
        if any(state[at] is not None for at in (2, 3, 4)):
            raise CorpusError("expected a pickled numpy array of numbers, got an array of records")
        if order not in ("<", ">", "=", "|"):
            raise ValueError(f"the byte order is {order!r:.20}")
        made.code = order + made.code.lstrip("<>=|")
    elif isinstance(made, _Pending):
        _, shape, kind, is_fortran, numbers = state
        made.array = _numbers(numbers, kind, shape, "F" if is_fortran else "C")
    else:
        raise ValueError("a state is given to something that has none")


def _known_code(code: Any) -> str:
    """The code of a dtype of numbers."""
    if isinstance(code, str) and _NUMBERS.fullmatch(code):
        return code
    shown = np.dtype(code) if isinstance(code, str) and _NAMED_TYPES.fullmatch(code) else f"{code!r:.40}"
    raise CorpusError(f"expected a pickled numpy array of numbers, got an array of {shown}")


def _numbers(numbers: Any, kind: Any, shape: Any, order: Any) -> Array:
    """An array over the bytes of a pickle; nothing is allocated for it."""
    if isinstance(numbers, str):  # how Python 2 wrote bytes
        numbers = numbers.encode("latin-1")
    if not isinstance(numbers, bytes | bytearray) or not isinstance(kind, _Type) or order not in ("C", "F"):
        raise ValueError("the numbers of an array are lacking")
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise ValueError(f"its shape is {shape!r:.40}")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"its shape is {shape!r:.40}")
    dtype = np.dtype(kind.code)
    if (claimed := math.prod(shape) * dtype.itemsize) != len(numbers):
        raise CorpusError(f"expected {claimed:.12g} bytes for {dtype} {shape!r:.60}, got {len(numbers)}")
    return np.frombuffer(bytes(numbers), dtype).reshape(shape, order=order)


def _array_of(value: Any) -> Array:
    """What lies on top at the end, where it is an array."""
    if isinstance(value, _Pending) and value.array is not None:
        return value.array
    names = {_Pending: "an array without numbers", _Type: "a dtype", _Global: "a function"}
    found = names.get(type(value), f"a {type(value).__name__}")
    raise CorpusError(f"expected a pickled numpy array of numbers, got {found}")
