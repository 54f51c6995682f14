"""Running a PyTorch module as what is exported of it: its outputs by name, in evaluation mode."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import ExportError


class _Positional(nn.Module):
    """Hides the keyword-only arguments of a `forward`: the TorchScript exporter passes their defaults by position."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*inputs)


class _InOrder(nn.Module):
    """Gives the outputs of a module that returns them by name as a tuple, which every exporter takes."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *inputs: Tensor) -> Any:
        given = self.module(*inputs)
        return tuple(given[name] for name in self.names)


class _ByName(nn.Module):
    """Passes its inputs, which come in order, to a module under their names."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(**dict(zip(self.names, inputs, strict=True)))


def called_in_order(module: nn.Module, names: Sequence[str]) -> nn.Module:
    """The module itself where its first arguments are `names`, or one around it that takes these alone in this order.

    Args:
        module: its `forward` may have keyword-only arguments, and arguments with defaults between the named ones.
        names: of the arguments that are passed.

    Example:
        >>> called_in_order(nn.Linear(3, 2), ["input"])
        Linear(in_features=3, out_features=2, bias=True)
    """
    first = list(inspect.signature(module.forward).parameters.values())[: len(names)]
    by_place = [parameter.name for parameter in first if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    return module if by_place == list(names) else _ByName(module, tuple(names)).eval()


def with_outputs_in_order(module: nn.Module, feeds: Mapping[str, Tensor], outputs: tuple[TensorSpec, ...]) -> nn.Module:
    """The module itself, or one around it that an exporter takes.

    It returns in the declared order what the module returns by name, and has no keyword-only arguments.
    """
    with torch.no_grad():
        by_name = isinstance(module(*feeds.values()), Mapping)
    if by_name:
        return _InOrder(module, tuple(spec.name for spec in outputs)).eval()
    return _Positional(module).eval() if _has_keyword_only(module) else module


def _has_keyword_only(module: nn.Module) -> bool:
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # a scripted module
        return False
    return any(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters)


@torch.no_grad()
def run_module(module: nn.Module, feeds: Mapping[str, Tensor], outputs: tuple[TensorSpec, ...]) -> dict[str, Tensor]:
    """Run a module and name its outputs.

    Args:
        module: returns one tensor, a tuple or list of them in the declared order, or a dict of them by name.
        feeds: its inputs in their order.
        outputs: the declared outputs.

    Raises:
        ExportError: it gives other outputs than the declared ones.

    Example:
        >>> y = TensorSpec(name="y", dtype="float32", shape=("batch", 2))
        >>> run_module(nn.Linear(3, 2), {"x": torch.ones(4, 3)}, (y,))["y"].shape
        torch.Size([4, 2])
    """
    # a copy, for a module that writes into its inputs
    given = module(*(value.clone() for value in feeds.values()))
    names = [spec.name for spec in outputs]
    if isinstance(given, Mapping):
        found = {name: given[name] for name in names if name in given}
        what = f"a dict of {', '.join(map(str, given))}"
    else:
        tensors = list(given) if isinstance(given, tuple | list) else [given]
        found = dict(zip(names, tensors, strict=False)) if len(tensors) == len(names) else {}
        what = f"{len(tensors)} outputs"
    wrong = [type(value).__name__ for value in found.values() if not isinstance(value, Tensor)]
    if len(found) != len(names) or wrong:
        raise ExportError(
            f"expected a module that returns {', '.join(names)} as tensors, got {', '.join(wrong) or what}: return a "
            f"tensor, a tuple in this order, or a dict with these names"
        )
    return found


def largest_ids(module: nn.Module) -> list[int]:
    """The numbers of ids that a module may know, the largest first: the sizes of its embeddings, and at last 2."""
    sizes = {layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)}
    return [*sorted(sizes - {1, 2}, reverse=True), 2]


def module_sha256(module: nn.Module) -> str:
    """The sha256 of a module's weights: names, dtypes, shapes and bytes; a state that is no tensor does not count.

    >>> module_sha256(nn.Identity())[:12]
    'e3b0c44298fc'
    """
    digest = sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, without the fused attention that has no ONNX; both hold afterwards as well.

    `torch.onnx.export` puts back the mode of the module that it was given, and with it dropout into every later call.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        module.eval()
