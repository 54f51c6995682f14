"""Makes a module with the names of `pycuda.driver` from PyCUDA's source, which is built only where CUDA is."""

from __future__ import annotations

import ast
import inspect
import re
import tarfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

#: What comes back, where more is called on it: C++ types are not in the docstrings.
_RETURNS = {
    "Device.retain_primary_context": "Context",
    "Module.get_function": "Function",
    "module_from_buffer": "Module",
    "mem_alloc": "DeviceAllocation",
    "pagelocked_empty": "",
}
_CLASS = re.compile(r'py::class_<[^;"]*?\(\s*"(\w+)"(.*?);', re.DOTALL)
_ENUM = re.compile(r'py::enum_<\w+>\("(\w+)"\)(.*?);', re.DOTALL)
_CONSTANTS = re.compile(r'py::class_<(\w+)> cls\("\1", py::no_init\);(.*?)\}', re.DOTALL)
_METHOD = re.compile(r'\.DEF_SIMPLE_METHOD\((\w+)\)|\.def\("(\w+)"(.*?)(?=\n\s*\.|\n#|\Z)', re.DOTALL)
_PROPERTY = re.compile(r'\.add_property\("(\w+)"')
_FUNCTION = re.compile(r'py::def\("(\w+)"(.*?)\);|DEF_SIMPLE_FUNCTION(?:_WITH_ARGS)?\((\w+)', re.DOTALL)
_ARGUMENTS = re.compile(r'py::args\(([^)]*)\)|py::arg\("(\w+)"\)(\s*=)?')


class Described:
    """A function of which only the signature is there."""

    def __init__(self, name: str, parameters: list[inspect.Parameter] | None) -> None:
        self.__name__ = name
        if parameters is not None:
            self.__signature__ = inspect.Signature(
                parameters, return_annotation=_RETURNS.get(name, inspect.Signature.empty)
            )

    def __call__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError


def module_from_source(archive: Path) -> ModuleType:
    """The module of one version.

    Args:
        archive: PyCUDA's source archive.
    """
    wrapper, python = _read(archive, "src/wrapper/wrap_cudadrv.cpp"), _read(archive, "pycuda/driver.py")
    module = ModuleType("driver")
    for name, body in _CLASS.findall(wrapper):
        setattr(module, name, _class(name, body))
    for name, body in _ENUM.findall(wrapper):
        setattr(module, name, Enum(name, {value: value for value in re.findall(r'\.value\("(\w+)"', body)}))
    for name, body in _CONSTANTS.findall(wrapper):
        setattr(module, name, type(name, (), {value: value for value in re.findall(r'cls\.attr\("(\w+)"\)', body)}))
    for name in re.findall(r"DECLARE_EXC\((\w+), [^)]", wrapper):
        setattr(module, name, type(name, (Exception,), {}))
    for name, text, simple in _FUNCTION.findall(wrapper):
        setattr(module, name or simple, Described(name or simple, _parameters(text)))
    for owner, name, parameters in _python_methods(python):
        setattr(getattr(module, owner), name, Described(f"{owner}.{name}", parameters))
    return module


def _read(archive: Path, name: str) -> str:
    with tarfile.open(archive) as files:
        found = next(member for member in files.getmembers() if member.name.partition("/")[2] == name)
        content = files.extractfile(found)
        assert content is not None
        return content.read().decode("utf-8")


def _class(name: str, body: str) -> type:
    members: dict[str, Any] = {}
    head = body.partition("\n")[0]
    if "py::init" in head:
        members["__init__"] = Described("__init__", _parameters(head, bound=True))
    for simple, named, text in _METHOD.findall(body):
        method = simple or named
        members.setdefault(method, Described(f"{name}.{method}", _parameters(text, bound=True)))
    for method in _PROPERTY.findall(body):
        members[method] = property(Described(method, None))
    return type(name, (), members)


def _parameters(text: str, bound: bool = False) -> list[inspect.Parameter] | None:
    """The parameters that Boost.Python is told of; None where it is told of none."""
    found: list[inspect.Parameter] = []
    for several, single, default in _ARGUMENTS.findall(text):
        names = re.findall(r'"(\w+)"', several) or ([single] if single else [])
        found += [_parameter(name, bool(default) or "py::optional" in text) for name in names]
    if not found:
        return None
    return [_parameter("self", False), *found] if bound and found[0].name != "self" else found


def _parameter(name: str, has_default: bool) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=None if has_default else inspect.Parameter.empty)


def _python_methods(source: str) -> Iterator[tuple[str, str, list[inspect.Parameter] | None]]:
    """What `pycuda/driver.py` adds to the extension's classes, such as `Function.prepare = function_prepare`."""
    tree = ast.parse(source)
    functions = {node.name: node.args for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Name):
            continue
        [target] = node.targets[:1]
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and node.value.id in functions:
            arguments = functions[node.value.id]
            free = arguments.vararg or arguments.kwarg
            required = len(arguments.args) - len(arguments.defaults)
            names = [_parameter(a.arg, i >= required) for i, a in enumerate(arguments.args)]
            yield target.value.id, target.attr, None if free else names
