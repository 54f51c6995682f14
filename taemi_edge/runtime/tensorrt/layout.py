"""The sizes of everything that the TensorRT executor keeps on the GPU: rings, feature buffers and call limits.

Nothing is allocated here; `buffers` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import StreamSpec, TextSpec
from taemi_edge.runtime.kinds import count_steps, fixed_steps, ring_capacity
from taemi_edge.runtime.rings import StepCounts
from taemi_edge.runtime.tensorrt.calls import BUCKETS, TOKENS_STEP, HeadCase, batch_sizes, padded, padded_tokens
from taemi_edge.runtime.tensorrt.engine import Engine
from taemi_edge.runtime.work import Item, Layout, Work


@dataclass(frozen=True, eq=False)
class DeviceLayout:
    """The sizes that are fixed while an executor is open.

    Attributes:
        manifest: of the bundle.
        sources: how many sources share the executor.
        steps: how many feature vectors the encoders give for an input; texts are not among them.
        capacity: how many rows of each stream's ring one source writes.
        most: how many inputs of each stream fit into one call.
        sizes: what batches of each stream are padded to (`calls.batch_sizes`).
    """

    manifest: Manifest
    sources: int
    steps: Mapping[str, StepCounts]
    capacity: Mapping[str, int]
    most: Mapping[str, int]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """The names of the streams, in the model's order."""
        return tuple(self.manifest.streams)

    @cached_property
    def reads_rings(self) -> bool:
        """Whether the head reads whole rings under masks; else each window is laid in order before it runs.

        A ring has the features of a window in any order among others. So the head must take padding, be blind to
        the order, and take as many steps as a ring has.
        """
        head = self.manifest.head
        if not head.takes_padding or head.order_matters:
            return False
        rows = {name: self.capacity[name] + self._shared_rows(name) for name in self.streams}
        return all(spec.min_steps <= rows[name] <= spec.max_steps for name, spec in self.manifest.streams.items())

    def stand_in_rows(self, stream: str) -> int:
        """How many rows at the end of each source's ring hold what stands for the stream when it is missing.

        There are none where one source is alone and its head reads rings: what stands for the stream is bound then.
        """
        return self._shared_rows(stream) if self.reads_rings else self.spec(stream).missing.steps

    def ring_rows(self, stream: str) -> int:
        """How many rows of a ring one source has, with those of the stand-in."""
        return self._ring_rows[stream]

    def spec(self, stream: str) -> StreamSpec:
        """What the manifest says of a stream."""
        return self.manifest.streams[stream]

    def dim(self, stream: str) -> int:
        """The length of one feature vector."""
        return self.spec(stream).feature_dim

    def lengths(self, stream: str) -> list[int]:
        """The lengths that inputs of a stream have, ascending; [0] where all have one shape; of texts, the longest."""
        spec = self.spec(stream)
        if isinstance(spec, TextSpec):
            return [spec.max_tokens]
        return list(self.steps[stream].lengths) if self._length_axis(stream) else [0]

    @cached_property
    def varying(self) -> dict[str, Callable[[Item], int]]:
        """Gives the length of an input, for streams whose inputs have several; texts are padded to one."""
        chunked = [
            name
            for name in self.streams
            if self._length_axis(name) is not None and not isinstance(self.spec(name), TextSpec)
        ]
        return {name: partial(_length_of, self.manifest.parts[name].inputs[0].name) for name in chunked}

    def batch(self, stream: str, count: int) -> int:
        """The size of a batch of so many inputs as it is run."""
        return padded(count, self.most[stream], self.sizes.get(stream, BUCKETS))

    def tokens(self, stream: str, longest: int) -> int:
        """How many tokens a batch of texts is padded to."""
        return padded_tokens(longest, self.lengths(stream)[-1], self.sources)

    def usual_length(self, stream: str) -> int:
        """The length of an input of an ordinary hop."""
        longest = self.lengths(stream)[-1]
        return min(2 * TOKENS_STEP, longest) if isinstance(self.spec(stream), TextSpec) else longest

    def input_shapes(self, stream: str, batch: int, length: int) -> dict[str, tuple[int, ...]]:
        """The shapes of an encoder's inputs, for a batch of inputs of one length."""
        return {
            tensor.name: (batch, *(length if isinstance(size, str) else size for size in tensor.shape[1:]))
            for tensor in self.manifest.parts[stream].inputs
        }

    def encoded_steps(self, stream: str, length: int) -> int:
        """How many feature vectors the encoder gives for an input of this length."""
        if stream not in self.steps:
            return fixed_steps(self.manifest, stream) or length
        counts = self.steps[stream]
        return counts.encoded(length or counts.lengths[-1])

    def most_rows(self, stream: str) -> int:
        """How many feature vectors one call of an encoder gives at most."""
        return self.most[stream] * max(self.encoded_steps(stream, length) for length in self.lengths(stream))

    def most_steps(self, stream: str) -> int:
        """How many feature vectors of a stream the head reads of one source at most."""
        return max(self.ring_rows(stream), self.spec(stream).min_steps)

    def window_steps(self, stream: str, work: Work) -> int:
        """How many feature vectors of a stream a work's window has, or what stands for it."""
        rows = work.window.get(stream)
        return self.spec(stream).missing.steps if rows is None else rows.count

    def ring_case(self, live: frozenset[str]) -> HeadCase:
        """The head on whole rings of live streams, and on what stands for the others."""
        steps = (self.ring_rows(name) if name in live else self.spec(name).missing.steps for name in self.streams)
        return HeadCase(self.sources, tuple(steps), live)

    def window_case(self, windows: int, steps: Mapping[str, int]) -> HeadCase:
        """The head on windows that are laid in order.

        Args:
            windows: how many there are.
            steps: how many feature vectors of each stream the longest of them has.
        """
        least = {name: self.spec(name).min_steps if self.manifest.head.takes_padding else 1 for name in self.streams}
        longest = tuple(max(steps[name], least[name]) for name in self.streams)
        return HeadCase(padded(windows, self.sources), longest, frozenset(self.streams))

    def head_shapes(self, case: HeadCase) -> dict[str, tuple[int, ...]]:
        """The shapes of the head's inputs: features (batch, steps, D), and masks (batch, steps) where it takes them."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, steps in zip(self.streams, case.steps, strict=True):
            shapes[name] = (case.batch, steps, self.dim(name))
            if self.manifest.head.masks:
                shapes[f"{name}_mask"] = (case.batch, steps)
        return shapes

    def groups(self, works: Sequence[Work]) -> list[Sequence[Work]]:
        """Divide works into those that may share a call of the head: all, or those of equal lengths without padding."""
        if self.manifest.head.takes_padding:
            return [works] if works else []
        by_steps: dict[tuple[int, ...], list[Work]] = {}
        for work in works:
            by_steps.setdefault(tuple(self.window_steps(name, work) for name in self.streams), []).append(work)
        return list(by_steps.values())

    @cached_property
    def _ring_rows(self) -> dict[str, int]:
        return {name: self.capacity[name] + self.stand_in_rows(name) for name in self.streams}

    def _shared_rows(self, stream: str) -> int:
        return self.spec(stream).missing.steps if self.sources > 1 else 0

    def _length_axis(self, stream: str) -> int | None:
        """The axis of an encoder's first input that changes its length; None where all inputs have one shape."""
        shape = self.manifest.parts[stream].inputs[0].shape
        return next((axis for axis, size in enumerate(shape) if axis and isinstance(size, str)), None)


def _length_of(name: str, item: Item) -> int:
    return len(item.feeds[name])


def layout_on_device(manifest: Manifest, layout: Layout, engines: Mapping[str, Engine]) -> DeviceLayout:
    """The sizes for these sources and windows on these engines.

    Args:
        engines: by part.
    """

    def count(stream: str, length: int) -> int:
        part = manifest.parts[stream]
        shapes = {t.name: (1, *(length if isinstance(n, str) else n for n in t.shape[1:])) for t in part.inputs}
        shape: tuple[int, ...] = engines[stream].bind(shapes).shapes[part.outputs[0].name]
        return shape[1]

    steps = count_steps(manifest, count)
    most = {name: engines[name].largest_batch for name in manifest.streams}
    return layout_of_sizes(manifest, layout, steps, most)


def layout_of_sizes(
    manifest: Manifest, layout: Layout, steps: Mapping[str, StepCounts], most: Mapping[str, int]
) -> DeviceLayout:
    """The sizes for these sources and windows on engines that need not be there yet.

    Args:
        steps: how many feature vectors the encoders give for an input; texts are not among them.
        most: the largest batch of each encoder's engine.
    """
    capacity = ring_capacity(manifest, layout.window_s, steps)
    sizes = {name: batch_sizes(spec, layout, most[name]) for name, spec in manifest.streams.items()}
    return DeviceLayout(manifest, layout.sources, steps, capacity, most, sizes)
