"""Keeps one execution context for each shape that is run, with its addresses set: a captured graph goes on using it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taemi_edge.bundle.spec import MODALITIES, Modality
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Outputs
from taemi_edge.runtime.tensorrt.engine import Binding, Engine
from taemi_edge.runtime.tensorrt.layout import DeviceLayout


class Bindings:
    """The executor's engines on its buffers; contexts are made when a shape first comes up.

    Args:
        engines: by part.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        layout: DeviceLayout,
        inputs: Inputs,
        features: Features,
        outputs: Outputs,
    ) -> None:
        self._engines, self._layout = engines, layout
        self._inputs, self._features, self._outputs = inputs, features, outputs
        self._kept: dict[tuple[object, ...], Binding] = {}

    def vision(self, frames: int) -> Binding:
        """The vision encoder on so many frames."""
        places = {"pixels": self._inputs.pixels.address, "features": self._features.encoded["vision"]}
        return self._bound("vision", frames, {"pixels": (frames, *self._layout.manifest.vision.size_hw, 3)}, places)

    def audio(self, shape: tuple[int, int]) -> Binding:
        """The audio encoder on (chunks, samples)."""
        places = {"samples": self._inputs.samples[shape[1]].address, "features": self._features.encoded["audio"]}
        return self._bound("audio", shape, {"samples": shape}, places)

    def text(self, shape: tuple[int, int]) -> Binding:
        """The text encoder on (texts, tokens)."""
        control = self._inputs.control.address
        places = {"ids": control["ids"], "mask": control["text input mask"], "features": self._features.encoded["text"]}
        return self._bound("text", shape, {"ids": shape, "mask": shape}, places)

    def fusion(self, live: frozenset[Modality]) -> Binding:
        """The fusion head on the rings of live streams, and on the missing-stream tokens of the others."""
        places: dict[str, Any] = {"intensities": self._outputs.intensities.address}
        for m in MODALITIES:
            places[m] = self._features.rings[m] if m in live else self._features.tokens[m]
            places[f"{m}_mask"] = self._inputs.control.address[f"{m} mask"] if m in live else self._features.ones
        return self._bound("fusion", live, self._layout.fusion_shapes(live), places)

    def close(self) -> None:
        """Drop the contexts; graphs that use them must be closed before."""
        self._kept.clear()

    def _bound(
        self, part: str, key: object, shapes: Mapping[str, tuple[int, ...]], places: Mapping[str, Any]
    ) -> Binding:
        if (part, key) not in self._kept:
            self._kept[part, key] = self._engines[part].bind(shapes).at(**places)
        return self._kept[part, key]
