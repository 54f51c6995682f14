"""Where the contender PyTorch has its modules from: a declared model, or a checkpoint or recipe of TAEMI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, eq=False)
class TorchParts:
    """The parts of a model as PyTorch modules, whose `forward` takes a part's inputs in their order.

    Attributes:
        modules: by part.
        precision: "fp32" or "fp16".
        feature_dtype: of the features that the head takes.
        autocast: whether they run under `torch.autocast`, with weights in FP32.
    """

    modules: Mapping[str, nn.Module]
    precision: str
    feature_dtype: torch.dtype
    autocast: bool = False


def declared_parts(argument: str, bundle: Bundle, precision: str) -> TorchParts:
    """Load a declared model; in FP16 its parts run under `torch.autocast`.

    Args:
        argument: `file.py:function` or `package.module:function`; the code is run.
        bundle: the bundle that the model is compared with.

    Raises:
        ContractError: the declaration is wrong.
        UsageError: it is another model than the bundle's, or a part is an ONNX file.
    """
    import torch

    from taemi_edge.bench.feeds import Feeds
    from taemi_edge.export.inspection import parts_of
    from taemi_edge.export.parts import TorchPart
    from taemi_edge.export.user_code import load_model

    model, manifest = load_model(argument), bundle.manifest
    sizes = {name: spec.size for name, spec in model.output_specs().items()}
    for what, declared, own in (
        ("streams", list(model.streams), list(manifest.streams)),
        ("outputs", sizes, {name: spec.size for name, spec in manifest.outputs.items()}),
    ):
        if declared != own:
            raise UsageError(f"--model {argument}: expected the bundle's {what}, {own}, got {declared}")
    feeds = Feeds(bundle)
    modules: dict[str, nn.Module] = {}
    for name, part in parts_of(model).items():
        if not isinstance(part, TorchPart):
            raise UsageError(f"--model {argument}: expected PyTorch modules, but {name} is an ONNX file")
        example = feeds.part(name, 1)[0]
        inputs = {spec.name: torch.from_numpy(example[spec.name]) for spec in manifest.parts[name].inputs}
        with torch.inference_mode():
            modules[name] = part.fitting(inputs)
    return TorchParts(modules, precision, torch.float32, autocast=precision == "fp16")


def checkpoint_parts(source: str, random_weights: bool, manifest: Manifest, precision: str) -> TorchParts:
    """Open a checkpoint or a recipe of TAEMI; in FP16 all but the frontend of its sound is FP16.

    Raises:
        CheckpointError, RecipeError: it cannot be opened.
        UsageError: it is another model than the bundle's.
    """
    import torch

    from taemi_edge.taemi.checkpoint import open_checkpoint
    from taemi_edge.taemi.half_precision import in_half_precision
    from taemi_edge.taemi.reference import part_of

    model = open_checkpoint(source, random_weights).model.eval()
    if lacking := [name for name in manifest.part_names if not hasattr(model, name)]:
        raise UsageError(f"{source}: expected a checkpoint of the bundle's model, found TAEMI, without {lacking[0]!r}")
    if precision == "fp16":
        model = in_half_precision(model)
    dtype = torch.float16 if precision == "fp16" else torch.float32
    return TorchParts({name: part_of(model, name) for name in manifest.part_names}, precision, dtype)
