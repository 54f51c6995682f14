"""The parts of a model as the export needs them: something that runs as the reference, and that becomes a graph.

A part is a PyTorch module (`TorchPart`) or an ONNX file that exists already (`OnnxPart`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from taemi_edge.bundle.folder import sha256_of
from taemi_edge.bundle.values import Array, PartSpec, TensorSpec
from taemi_edge.errors import ContractError
from taemi_edge.export.contract import OnnxFile
from taemi_edge.export.example_feeds import as_tensors
from taemi_edge.export.library_models import library_hint
from taemi_edge.export.modules import module_sha256, run_module
from taemi_edge.export.onnx_graphs import NUMPY_TYPES, adapt_graph, in_short, onnx_reference
from taemi_edge.export.tracing import export_module

Tensors = tuple[TensorSpec, ...]


class Part(Protocol):
    """One encoder or the head of a model that is exported."""

    def run(self, feeds: Mapping[str, Array], outputs: Tensors) -> dict[str, Array]:
        """Run the reference: takes the inputs by name, gives the outputs by name."""
        ...

    def export(
        self,
        file: Path,
        inputs: Tensors,
        outputs: Tensors,
        lengths: Mapping[str, int],
        opset: int,
        examples: Mapping[str, Array],
    ) -> PartSpec:
        """Write the part's graph; see `taemi_edge.export.tracing.export_module`."""
        ...

    def sha256(self) -> str:
        """Recognises the weights."""
        ...


class TorchPart:
    """A PyTorch module as a part.

    Args:
        module: its `forward` takes the inputs in their order.
        take: see `taemi_edge.export.contract.Stream`.
        names: the inputs in the order in which `forward` takes them; by default that of the feeds.
    """

    def __init__(
        self, module: nn.Module, take: str | int | Callable[[Any], Any] | None = None, names: tuple[str, ...] = ()
    ) -> None:
        self.module = module.eval()
        self._whole = _Taken(module, take).eval() if take is not None else module
        self._names = names

    @torch.no_grad()
    def run(self, feeds: Mapping[str, Array], outputs: Tensors) -> dict[str, Array]:
        """Run the module on the CPU in FP32."""
        inputs = {name: torch.from_numpy(np.array(feeds[name])) for name in self._names or feeds}
        given = run_module(self.fitting(inputs), inputs, outputs)
        if wrong := [name for name, value in given.items() if value.dtype == torch.bfloat16]:
            raise ContractError(f"expected {wrong[0]} as float32, got bfloat16: end forward with .float()")
        return {name: value.detach().numpy() for name, value in given.items()}

    def export(
        self,
        file: Path,
        inputs: Tensors,
        outputs: Tensors,
        lengths: Mapping[str, int],
        opset: int,
        examples: Mapping[str, Array],
    ) -> PartSpec:
        """Export the module."""
        given = as_tensors(examples)
        return export_module(self._whole, file, inputs, outputs, lengths=lengths, opset=opset, examples=given)

    def sha256(self) -> str:
        """The sha256 of the weights: names, dtypes, shapes and bytes."""
        return module_sha256(self.module)

    def fitting(self, inputs: Mapping[str, Tensor]) -> nn.Module:
        """The module that is run: where it does not take ids and masks as int32, one that widens them first.

        Args:
            inputs: an example of them in their order.
        """
        if not isinstance(self._whole, _Wide) and any(value.dtype == torch.int32 for value in inputs.values()):
            try:
                self._whole(*(value.clone() for value in inputs.values()))
            except (RuntimeError, IndexError, TypeError):
                self._whole = _Wide(self._whole).eval()
        return self._whole


class OnnxPart:
    """An ONNX file as a part: its own graph, in FP32 and without optimisations, is the reference."""

    def __init__(self, given: OnnxFile) -> None:
        self._given = given
        self._file = Path(given.file)

    def run(self, feeds: Mapping[str, Array], outputs: Tensors) -> dict[str, Array]:
        """Run the file's graph; inputs are cast to the types that it takes, and outputs to float32."""
        own = {self._given.inputs.get(i.name, i.name): i for i in self._session.get_inputs()}
        if set(own) != set(feeds):
            raise ContractError(
                f"{self._file}: expected the inputs {', '.join(feeds)}, the graph has "
                f"{', '.join(i.name for i in own.values())}: name which is which with `inputs`"
            )
        for name, value in feeds.items():
            self._require_room(own[name], name, value)
        names = self._output_names(outputs)
        cast = {own[name].name: value.astype(NUMPY_TYPES[own[name].type]) for name, value in feeds.items()}
        try:
            values = dict(zip(names, self._session.run(list(names), cast), strict=True))
        except Exception as error:  # ONNX Runtime's errors share no public base
            shown = ", ".join(f"{name} {value.shape}" for name, value in feeds.items())
            raise ContractError(
                f"{self._file}: expected a graph that runs on {shown}, got {in_short(error)}: export it again with its "
                f"batch and lengths as dynamic axes, and without sizes that were traced"
            ) from error
        if wrong := [name for name, value in values.items() if not isinstance(value, np.ndarray)]:
            raise ContractError(f"{self._file}: expected {wrong[0]} to be a tensor, it is a {type(values[wrong[0]])}")
        return {names[name]: value.astype(np.float32) for name, value in values.items()}

    def export(
        self,
        file: Path,
        inputs: Tensors,
        outputs: Tensors,
        lengths: Mapping[str, int],
        opset: int,
        examples: Mapping[str, Array],
    ) -> PartSpec:
        """Write the graph with the names and types of the contract."""
        renames = {**self._given.inputs, **self._output_names(outputs)}
        return adapt_graph(self._file, file, inputs, outputs, lengths=lengths, renames=renames, examples=examples)

    def sha256(self) -> str:
        """The sha256 of the file."""
        return sha256_of(self._file)

    def _require_room(self, own: Any, name: str, value: Array) -> None:
        """Refuse an input of the graph that has a fixed size, rank or type which the runtime does not feed."""
        where = f"{self._file}: expected {name} {value.shape}, the graph has ({', '.join(map(str, own.shape))})"
        if own.type not in NUMPY_TYPES:
            raise ContractError(f"{self._file}: expected numbers as {name}, the graph takes {own.type}")
        if own.shape and len(own.shape) != value.ndim:
            raise ContractError(where)
        for axis, (size, given) in enumerate(zip(own.shape, value.shape, strict=False)):
            if isinstance(size, int) and size != given:
                what = "the batch" if axis == 0 else f"axis {axis}"
                raise ContractError(f"{where}: export it again with {what} as a dynamic axis, or declare its size")

    @cached_property
    def _session(self) -> Any:
        return onnx_reference(self._file)

    def _output_names(self, outputs: Tensors) -> dict[str, str]:
        """The contract's name of each output that is read, by the file's own name."""
        own = [output.name for output in self._session.get_outputs()]
        wanted = [spec.name for spec in outputs]
        names = {self._given.output: wanted[0]} if self._given.output else dict(self._given.outputs)
        if not names and len(wanted) == 1 and wanted[0] not in own:
            names = {own[0]: wanted[0]}
        if unknown := [name for name in names.values() if name not in wanted]:
            raise ContractError(f"{self._file}: expected outputs among {', '.join(wanted)}, got {unknown[0]!r}")
        for name in wanted:
            if name not in names.values():  # those whose names agree need not be named
                names.setdefault(name, name)
        lacking = [name for name in names if name not in own]
        lacking += [name for name in wanted if list(names.values()).count(name) != 1]
        if lacking:
            raise ContractError(
                f"{self._file}: expected an output {lacking[0]!r}, and one alone, the graph has {', '.join(own)}: name "
                f"which is which with `outputs`"
            )
        return {name: names[name] for name in sorted(names, key=lambda n: wanted.index(names[n]))}


class _Taken(nn.Module):
    """A module that gives one part of what another one gives."""

    def __init__(self, module: nn.Module, take: str | int | Callable[[Any], Any]) -> None:
        super().__init__()
        self.module = module
        self.take = take

    def forward(self, *inputs: Tensor) -> Any:
        given = self.module(*inputs)
        if callable(self.take):
            return self.take(given)
        if isinstance(self.take, int) or isinstance(given, Mapping):
            try:
                return given[self.take]
            except (KeyError, IndexError, TypeError) as error:
                raise ContractError(
                    f"expected an output {self.take!r} to take, got a {type(given).__name__}"
                ) from error
        if not hasattr(given, self.take):
            raise ContractError(f"expected an output {self.take!r} to take, got a {type(given).__name__} without it")
        return getattr(given, self.take)


class _Wide(nn.Module):
    """A module that takes ids and masks as int64, behind a seam of int32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*(value.long() if value.dtype == torch.int32 else value for value in inputs))


def hint_of(part: Part, feeds: Mapping[str, Array]) -> str:
    """What to do where a module fails, as the end of a sentence: of weights that are not float32 on the CPU first."""
    known = _weights_hint(part)
    return known or (library_hint(part.module, feeds) if isinstance(part, TorchPart) else "")


def _weights_hint(part: Part) -> str:
    weights = list(part.module.parameters()) if isinstance(part, TorchPart) else []
    found = {(str(w.dtype).removeprefix("torch."), w.device.type) for w in weights if w.is_floating_point()}
    for dtype, device in sorted(found):
        if device == "meta":
            return ": its weights have no values, they are on the meta device: load them"
        if (dtype, device) != ("float32", "cpu"):
            return f": its weights are {dtype} on {device}: call .float().cpu() first, `calibrate` makes FP16 and INT8"
    return ""
