"""Puts the calls of a case on CUDA streams: encoders side by side, then the head, and what comes back.

Each encoder has a stream of its own, and starts as soon as its own inputs are gathered; events join them to the head's.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from taemi_edge.bundle.values import HEAD
from taemi_edge.runtime.tensorrt.bindings import Bindings
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Results, Windows
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase
from taemi_edge.runtime.tensorrt.descriptor import Descriptor
from taemi_edge.runtime.tensorrt.device_kernels import Kernels
from taemi_edge.runtime.tensorrt.gpu import Gpu
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.tensorrt.timing import part_marks


class Launcher:
    """Launches cases, and times the parts of those that are timed.

    Args:
        driver: cuda-bindings' driver module, or None.
        descriptor: what the kernels read.
        buffers: what encoders read, features, what the head reads of them, and results.
        bindings: the engines on these buffers.
    """

    def __init__(
        self,
        gpu: Gpu,
        driver: Any,
        layout: DeviceLayout,
        descriptor: Descriptor,
        buffers: tuple[Inputs, Features, Windows, Results],
        bindings: Bindings,
    ) -> None:
        self._gpu, self._layout, self._descriptor, self._bindings = gpu, layout, descriptor, bindings
        self._inputs, self._features, self._windows, self._results = buffers
        with ExitStack() as opened:
            self._kernels = Kernels(gpu)
            opened.callback(self._kernels.close)
            self._marks = part_marks(gpu, driver, layout.manifest.part_names)
            opened.callback(self._marks.close)
            self._streams = {name: gpu.new_stream() for name in layout.streams}
            opened.callback(self._streams.clear)
            flags = gpu.cuda.event_flags.DISABLE_TIMING
            self._joins = {name: gpu.cuda.Event(flags) for name in ("start", *layout.streams)}
            opened.callback(self._joins.clear)
            self._opened = opened.pop_all()

    def enqueue(self, case: GraphCase, capturing: bool) -> None:
        """Put a call on the streams; nothing waits for it.

        Args:
            capturing: whether the GPU's stream is being captured.
        """
        main = self._gpu.stream
        self._mark(case, "begin", main, capturing)
        self._descriptor.numbers.upload(main)
        self._joins["start"].record(main)
        for encoder in case.encoders:
            part = encoder.stream
            stream = self._streams[part]
            stream.wait_for_event(self._joins["start"])
            self._mark(case, f"{part} begin", stream, capturing)
            self._encode(encoder, stream)
            self._mark(case, f"{part} end", stream, capturing)
            self._joins[part].record(stream)
        if case.head is not None and self._windows.masks and self._layout.reads_rings:
            self._windows.write_masks(self._kernels, self._descriptor.numbers.address["windows"], main)
        for encoder in case.encoders:
            main.wait_for_event(self._joins[encoder.stream])
        if case.head is not None:
            self._mark(case, f"{HEAD} begin", main, capturing)
            self._run_head(case.head, main)
            self._mark(case, f"{HEAD} end", main, capturing)
        self._results.download(main)
        self._mark(case, "end", main, capturing)

    def parts_ms(self, case: GraphCase) -> dict[str, float]:
        """Milliseconds of each part of a timed case that just ran."""
        ran = [encoder.stream for encoder in case.encoders] + ([] if case.head is None else [HEAD])
        return {part: self._marks.ms(f"{part} begin", f"{part} end") for part in ran}

    def device_ms(self) -> float:
        """How long the GPU took for the last timed case."""
        return self._marks.ms("begin", "end")

    def close(self) -> None:
        """Drop kernels, events and streams; the GPU's context must still be current."""
        self._opened.close()

    def _encode(self, case: EncoderCase, stream: Any) -> None:
        """Gather the inputs of an encoder, run it, and lay its output rows into the rings."""
        name, layout = case.stream, self._layout
        items = self._descriptor.items(name)
        self._inputs.gather(self._kernels, case, items, stream)
        self._bindings.encoder(case).enqueue(stream)
        faults = self._results.faults_address + 4 * layout.streams.index(name) * layout.sources
        steps = layout.encoded_steps(name, case.length)
        addresses = (int(self._features.encoded[name]), items, faults)
        self._kernels.scatter(stream, case.batch * steps, addresses, steps, self._features.ring(name))

    def _run_head(self, case: HeadCase, stream: Any) -> None:
        if not self._layout.reads_rings:
            addresses = self._descriptor.numbers.address
            self._windows.lay(self._kernels, case, (addresses["windows"], addresses["sources"]), stream)
        self._bindings.head(case).enqueue(stream)

    def _mark(self, case: GraphCase, name: str, stream: Any, capturing: bool) -> None:
        if case.timed:
            self._marks.record(name, stream, capturing)
