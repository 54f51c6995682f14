"""What to write where an encoder holds a model of transformers that does not take what the stream gives it.

The library is not imported: its models are known by their configuration, which says what kind they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from taemi_edge.bundle.values import Array

_PICTURES = 4


def library_hint(module: nn.Module, feeds: Mapping[str, Array]) -> str:
    """The end of a sentence that says what to write; empty where nothing is known of the module.

    Args:
        module: the encoder, which failed.
        feeds: what it was run on.

    Example:
        >>> library_hint(nn.Linear(2, 2), {})
        ''
    """
    for name, inner, kind in _library_models(module):
        if halves := _halves_of(inner):
            given = " or ".join(f"{'.'.join(filter(None, (name, half)))}" for half in halves)
            return (
                f": {kind} reads several things at once: give the part that reads this stream ({given}) in a module "
                f"whose forward returns its last_hidden_state or pooler_output"
            )
        if not name:
            return (
                f": a {kind} of transformers takes scaled input in its own layout and gives an object: write a module "
                f"around it that scales (pixels come as uint8 (batch, H, W, 3)) and returns its last_hidden_state"
            )
        if (own := image_size(inner.config)) and (given_hw := _size_of(feeds)) and own != given_hw:
            return f": its {kind} was made for pictures of {own[0]} x {own[1]}: declare size_hw=({own[0]}, {own[1]})"
    return ""


def _library_models(module: nn.Module) -> Iterator[tuple[str, Any, str]]:
    """The outermost models of the library inside a module, each with its name there and its kind."""
    for name, inner in module.named_modules():
        if kind := _kind_of(inner):
            yield name, inner, kind
            return


def _halves_of(model: Any) -> list[str]:
    """The parts of a model that are models of their own; nothing where it is one model throughout."""
    inner = {name: child.config for name, child in model.named_children() if _kind_of(child)}
    found = [name for name, config in inner.items() if config is not model.config]
    if len(found) > 1 and not {"encoder", "decoder"} <= set(found):
        return found
    return ["encoder"] if {"encoder", "decoder"} <= set(inner) else []


def _kind_of(module: Any) -> str:
    kind = getattr(getattr(module, "config", None), "model_type", None)
    return kind if isinstance(kind, str) else ""


def image_size(config: Any) -> tuple[int, int] | None:
    """The height and width that a model of transformers was made for; None where its configuration does not say."""
    size = getattr(config, "image_size", None)
    sizes = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else ()
    return sizes if len(sizes) == 2 and all(isinstance(value, int) for value in sizes) else None


def _size_of(feeds: Mapping[str, Array]) -> tuple[int, int] | None:
    """The height and width of the pictures among the feeds."""
    for array in feeds.values():
        if array.dtype.name == "uint8" and array.ndim >= _PICTURES:
            return int(array.shape[-3]), int(array.shape[-2])
    return None
