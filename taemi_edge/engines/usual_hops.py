"""Makes the work of usual hops from golden feeds, for timing whole hops on a processor.

How much a hop brings follows from the declared rates, chunks and hop; what it brings repeats the golden feeds.
"""

from __future__ import annotations

from collections.abc import Sequence

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import HEAD
from taemi_edge.engines.timers import stretched
from taemi_edge.parity.golden import Case, usual_case
from taemi_edge.runtime.kinds import fixed_steps, kind_of
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.calls import usual_counts
from taemi_edge.runtime.work import Executor, Item, Layout, Work


def usual_hops(manifest: Manifest, layout: Layout, executor: Executor, cases: Sequence[Case]) -> list[list[Work]]:
    """What ordinary hops of all sources bring: the fewest inputs without a new text, and the most with one.

    Every stream is there, and windows are full. A hop that brings as much as the other is left out.

    Args:
        executor: says how many steps encoders give, and how many rows rings have.
        cases: golden feeds.
    """
    windows = usual_case(cases, HEAD).feeds
    window = {name: Span(0, min(executor.capacity[name], windows[name].shape[1])) for name in manifest.streams}
    brought = [
        {name: usual_counts(spec, layout)[which] // layout.sources for name, spec in manifest.streams.items()}
        for which in (0, 2)
    ]
    hops = []
    for counts in brought[1:] if brought[0] == brought[1] else brought:
        items = {n: usual_items(manifest, executor, n, count, cases) for n, count in counts.items() if count}
        hops.append([Work(source, items, window) for source in range(layout.sources)])
    return hops


def usual_items(manifest: Manifest, executor: Executor, stream: str, count: int, cases: Sequence[Case]) -> list[Item]:
    """So many inputs of a stream, each of the usual length, with rows of its own at the beginning of the ring."""
    spec, golden = manifest.streams[stream], usual_case(cases, stream).feeds
    is_text = isinstance(spec, TextSpec)
    length = golden["ids"].shape[1] if is_text else executor.steps[stream].lengths[-1]
    shapes = {name: (count, *value.shape) for name, value in kind_of(spec).example(spec, length).items()}
    feeds = stretched(shapes, golden)
    rows = [{name: values[at] for name, values in feeds.items()} for at in range(count)]
    if is_text:  # a text is encoded as a whole; whoever runs the encoder makes its mask
        return [Item(row, Span(0, fixed_steps(manifest, stream) or length)) for row in rows]
    steps, capacity = executor.steps[stream], executor.capacity[stream]
    kept = min(steps.kept(length), capacity)
    return [Item(row, Span(at * kept % capacity, kept), steps.encoded(length) - kept) for at, row in enumerate(rows)]
