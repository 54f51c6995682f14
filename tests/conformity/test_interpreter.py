"""What the walk over the source finds, on a small library and small modules."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from tests.conformity.interpreter import interpret
from tests.conformity.program import read_program

HEAD = """
from typing import Any
from taemi_edge.runtime.tensorrt.library import load_library

class Gpu:
    def __init__(self, library: Any) -> None:
        self.trt = library
        self.runtime = library.Runtime()

def opened() -> "Gpu":
    return Gpu(load_library("tensorrt"))
"""
LOADER = """
import importlib

def load_library(kind):
    return importlib.import_module(kind)
"""


class Flag(Enum):
    FP16 = 0


class Context:
    """Any context."""

    def set_tensor_address(self, name: str, address: int) -> bool:
        """set_tensor_address(self: tensorrt.Context, name: str, address: int) -> bool"""
        raise NotImplementedError

    @property
    def active_profile(self) -> int:
        raise NotImplementedError


class Engine:
    """Any engine."""

    def create_context(self, strategy: int = 0) -> Context:
        raise NotImplementedError


class Runtime:
    """Any runtime."""

    def read_engine(self, content: bytes) -> Engine:
        raise NotImplementedError


def library() -> ModuleType:
    module = ModuleType("tensorrt")
    for kind in (Flag, Context, Engine, Runtime):
        setattr(module, kind.__name__, kind)
    return module


def problems_of(tmp_path: Path, code: str, version: ModuleType | None = None) -> list[str]:
    """What is found in a module that has this code; without its place."""
    folder = tmp_path / "taemi_edge" / "runtime" / "tensorrt"
    folder.mkdir(parents=True)
    (folder / "library.py").write_text(LOADER)
    (folder / "gpu.py").write_text(HEAD + dedent(code))
    tables = interpret(read_program(tmp_path / "taemi_edge"), {"tensorrt": version or library()})
    return [problem.split(": ", 1)[1] for problem in tables.problems]


RIGHT = """
    def run(gpu: Gpu) -> bool:
        context = gpu.runtime.read_engine(b"").create_context(strategy=1)
        flag = gpu.trt.Flag.FP16
        return context.set_tensor_address("a", address=int(flag)) and context.active_profile
"""
CASES = {
    "everything is there": (RIGHT, []),
    "a method that is not there": ("def run(gpu: Gpu): gpu.runtime.write_engine()", ["Runtime has no write_engine"]),
    "a member of an enum": ("def run(gpu: Gpu): return gpu.trt.Flag.FP8", ["Flag has no FP8"]),
    "a class": ("def run(gpu: Gpu): return gpu.trt.Refitter()", ["tensorrt has no Refitter"]),
    "too many arguments": (
        'def run(gpu: Gpu): gpu.runtime.read_engine(b"", 1)',
        ["read_engine takes 1 arguments, got 2"],
    ),
    "too few arguments": ("def run(gpu: Gpu): gpu.runtime.read_engine()", ["read_engine wants 'content'"]),
    "an argument of another name": (
        'def run(gpu: Gpu): gpu.runtime.read_engine(data=b"")',
        ["read_engine has no argument 'data': content"],
    ),
    "through a function without annotations": (
        """
        def _bind(context, name): return context.bind(name)
        def run(gpu: Gpu): return _bind(gpu.runtime.read_engine(b"").create_context(), "a")
        """,
        ["Context has no bind"],
    ),
    "through a list, a loop and a tuple": (
        """
        def _made(gpu: Gpu): return [(name, gpu.runtime.read_engine(b"")) for name in "ab"]
        def run(gpu: Gpu):
            for name, engine in _made(gpu):
                engine.destroy(name)
        """,
        ["Engine has no destroy"],
    ),
    "through an attribute": (
        """
        class Part:
            def __init__(self, gpu: Gpu) -> None: self._engine = gpu.runtime.read_engine(b"")
            def close(self) -> None: self._engine.destroy()
        """,
        ["Engine has no destroy"],
    ),
    "on something that cannot be followed": (
        "def run(context): context.set_tensor_address('a', 1)",
        [".set_tensor_address is called on something that this test cannot follow"],
    ),
    "into something that cannot be followed": (
        "def run(gpu: Gpu, keep): keep(gpu.runtime)",
        ["keep is handed an object of the library, and this test cannot follow it there"],
    ),
    "behind a guard": ("def run(gpu: Gpu): return hasattr(gpu.trt.Flag, 'FP8') and gpu.trt.Flag.FP8", []),
    "after a guard that returns": (
        """
        def _has_fp8(library) -> bool: return hasattr(library.Flag, "FP8")
        def run(gpu: Gpu):
            if not _has_fp8(gpu.trt): return None
            return gpu.trt.Flag.FP8
        """,
        [],
    ),
    "behind the wrong guard": (
        "def run(gpu: Gpu): return gpu.trt.Flag.FP8 if hasattr(gpu.trt.Flag, 'FP16') else None",
        ["Flag has no FP8"],
    ),
    "by a default": (
        """
        def run(gpu: Gpu):
            flag = getattr(gpu.trt.Flag, "FP8", None)
            return None if flag is None else flag.value
        """,
        [],
    ),
    "a property that cannot be set": (
        'def run(gpu: Gpu): gpu.runtime.read_engine(b"").create_context().active_profile = 1',
        ["Context.active_profile cannot be set"],
    ),
    "through enumerate, zip, a dictionary and its items": (
        """
        def run(gpu: Gpu):
            engines = [gpu.runtime.read_engine(b"")]
            for number, engine in enumerate(engines):
                engine.destroy(number)
            for name, engine in zip("a", engines):
                engine.remove(name)
            for name, engine in dict(zip("a", engines)).items():
                engine.forget(name)
        """,
        ["Engine has no destroy", "Engine has no remove", "Engine has no forget"],
    ),
    "through map": (
        """
        def run(gpu: Gpu): return [engine.destroy() for engine in map(gpu.runtime.read_engine, (b"",))]
        """,
        ["Engine has no destroy"],
    ),
    "in a statement that cannot be followed": (
        """
        def run(gpu: Gpu):
            match gpu.trt:
                case library: library.Refitter()
        """,
        ["this test cannot follow a statement of the kind Match"],
    ),
    "overridden with other arguments": (
        """
        def run():
            library = load_library("tensorrt")
            class Mine(library.Runtime):
                def read_engine(self, content, path): return None
        """,
        ["Runtime.read_engine is called with content, and takes content, path"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_found(tmp_path: Path, case: str):
    code, expected = CASES[case]
    assert problems_of(tmp_path, code) == expected


@pytest.mark.once
def test_the_tools_are_walked_and_a_name_that_an_imitation_has_too_is_not_our_own():
    program = read_program()
    assert "tools.gpu_evidence.layers" in program.modules
    assert not {"execute_async_v3", "set_tensor_address"} & program.own_names


def test_a_name_that_another_version_lacks_is_found_with_that_version(tmp_path: Path):
    older = library()
    del older.Flag
    assert problems_of(tmp_path, RIGHT, older) == ["tensorrt has no Flag"]
