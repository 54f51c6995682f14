"""Keeps one execution context for each shape that is run, with its addresses set: a captured graph goes on using it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from taemi_edge.bundle.values import HEAD
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Results, Windows
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase
from taemi_edge.runtime.tensorrt.engine import Binding, Engine
from taemi_edge.runtime.tensorrt.layout import DeviceLayout

#: How many contexts are kept: windows of many lengths would make one after another otherwise.
MAX_CONTEXTS = 128


class Bindings:
    """The executor's engines on its buffers; contexts are made when a shape first comes up.

    Args:
        engines: by part.
        layout: the sizes of the buffers.
        buffers: what encoders read, features, what the head reads of them, and results.
        before_drop: called with a shape before its context is dropped, which graphs must not use from then on.
        most: how many contexts are kept; beyond them the one that was used least recently is dropped.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        layout: DeviceLayout,
        buffers: tuple[Inputs, Features, Windows, Results],
        before_drop: Callable[[EncoderCase | HeadCase], None] = lambda _: None,
        most: int = MAX_CONTEXTS,
    ) -> None:
        self._engines, self._layout = engines, layout
        self._inputs, self._features, self._windows, self._results = buffers
        self._before_drop, self._most = before_drop, most
        self._kept: OrderedDict[EncoderCase | HeadCase, Binding] = OrderedDict()
        #: The case whose contexts were used last, all of which are there.
        self._prepared: GraphCase | None = None

    def prepare(self, case: GraphCase) -> None:
        """Make the contexts of a case that are not there, before anything is put on a stream or captured."""
        if case is self._prepared:
            return
        for encoder in case.encoders:
            self.encoder(encoder)
        if case.head is not None:
            self.head(case.head)
        self._prepared = case

    def encoder(self, case: EncoderCase) -> Binding:
        """The encoder of a stream on its inputs."""
        if case in self._kept:
            return self._used(case)
        [output] = self._layout.manifest.parts[case.stream].outputs
        places = {**self._inputs.batches[case.stream], output.name: self._features.encoded[case.stream]}
        shapes = self._layout.input_shapes(case.stream, case.batch, case.length)
        return self._bound(case.stream, case, shapes, places)

    def head(self, case: HeadCase) -> Binding:
        """The head on the features of live streams, and on what stands for the others."""
        if case in self._kept:
            return self._used(case)
        places: dict[str, Any] = dict(self._results.address)
        for name in self._layout.streams:
            live = name in case.live
            places[name] = self._windows.laid[name] if live else self._features.stand_ins[name]
            if self._layout.manifest.head.masks:
                places[f"{name}_mask"] = self._windows.masks[name] if live else self._features.stand_in_masks[name]
        return self._bound(HEAD, case, self._layout.head_shapes(case), places)

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        """Drop the contexts; graphs that use them must be closed before."""
        self._kept.clear()

    def _used(self, key: EncoderCase | HeadCase) -> Binding:
        self._kept.move_to_end(key)
        return self._kept[key]

    def _bound(
        self,
        part: str,
        key: EncoderCase | HeadCase,
        shapes: Mapping[str, tuple[int, ...]],
        places: Mapping[str, Any],
    ) -> Binding:
        self._prepared = None
        while len(self._kept) >= self._most:
            oldest = next(iter(self._kept))
            self._before_drop(oldest)
            del self._kept[oldest]
        self._kept[key] = self._engines[part].bind(shapes).at(**places)
        return self._kept[key]
