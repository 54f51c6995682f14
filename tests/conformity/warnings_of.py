"""Finds out which methods of a pybind11 class warn that they are deprecated, without an object to call them on.

pybind11 gives memory to an instance that was never constructed. A deprecated method warns before it looks at it. What
comes then crashes the process, so that each call is made in a child.
"""

from __future__ import annotations

import inspect
import os
import resource
import warnings
from types import ModuleType
from typing import Any

from tests.conformity.values import signatures_of


def warning_of(library: ModuleType, kind: type, name: str) -> str:
    """What a method or a property says when it is used; "" where it says nothing."""
    member = inspect.getattr_static(kind, name)
    function = member.fget if isinstance(member, property) else getattr(kind, name)
    if function is None or isinstance(member, kind):
        return ""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _call_and_exit(library, kind, function, name, write)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def _call_and_exit(library: ModuleType, kind: type, function: Any, name: str, write: int) -> None:
    def tell(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        os.write(write, f"{category.__name__}: {message}".encode())
        os._exit(0)

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("always")
    warnings.showwarning = tell
    try:
        [signature, *_] = [*signatures_of(function, name, bound=True), None]
        arguments = [] if signature is None else [_argument(library, kind) for kind in signature.kinds]
        function(kind.__new__(kind), *arguments)
    finally:
        os._exit(0)


def _argument(library: ModuleType, written: str) -> Any:
    """Something that a parameter takes, from what its signature says of it."""
    name = written.rpartition(".")[2].strip("]")
    kind = getattr(library, name, None)
    if inspect.isclass(kind):
        members = getattr(kind, "__members__", {})
        return next(iter(members.values())) if members else kind.__new__(kind)
    plain = {"str": "", "bool": False, "bytes": b"", "buffer": b"", "Buffer": b"", "float": 0.0, "SupportsFloat": 0.0}
    return plain.get(name, 0)
