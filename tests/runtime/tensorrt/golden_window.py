"""A window of the golden feeds as works of an executor, with what PyTorch gave for it in every presence pattern."""

from __future__ import annotations

from typing import Any

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import HEAD, Array, end_to_end_tolerance
from taemi_edge.parity.golden import WINDOW, load_cases, window_calls
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.work import Executor, Item, Work, WorkResult


class GoldenWindow:
    """The window of a bundle's golden feeds.

    Attributes:
        expected: what PyTorch gave, by presence pattern and output.
        tolerance: the largest error of an output that parity allows.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        cases = load_cases(bundle.golden_file)
        self._calls = window_calls(cases, WINDOW, bundle.manifest.streams)
        self.expected = {
            case.pattern: {name: values[0] for name, values in (case.expected or {}).items()}
            for case in cases
            if (case.part, case.name) == (HEAD, WINDOW)
        }
        self.tolerance = end_to_end_tolerance(bundle.manifest.tolerances).max_abs

    def items(self, executor: Executor, stream: str) -> list[Item]:
        """What the encoder of a stream is fed, with rows of the ring from the first on."""
        items: list[Item] = []
        first = 0
        for feeds in self._calls[stream]:
            for row in zip(*feeds.values(), strict=True):
                own = dict(zip(feeds, row, strict=True))
                if stream not in executor.steps:
                    ids = own["ids"][own["mask"] > 0]
                    own = {"ids": ids}
                    count = kept = 1 if self._manifest.gives_vector(stream) else len(ids)
                else:
                    counts = executor.steps[stream]
                    length = next(iter(own.values())).shape[0]
                    length = length if length in counts.lengths else counts.lengths[-1]
                    count, kept = counts.encoded(length), counts.kept(length)
                items.append(Item(own, Span(first, kept), count - kept))
                first += kept
        return items


class Repeated:
    """The same hop of the golden window, again and again.

    Args:
        kind: "hop" encodes the newest input of each stream, "window" all of them.
        pattern: the streams that are there; all by default.
        sources: how many sources have this window.
    """

    def __init__(
        self, bundle: Bundle, executor: Any, pattern: frozenset[str] | None = None, kind: str = "hop", sources: int = 1
    ) -> None:
        window = GoldenWindow(bundle)
        live = [name for name in bundle.manifest.streams if pattern is None or name in pattern]
        items = {name: window.items(executor, name) for name in live}
        rows = {name: Span(0, sum(item.rows.count for item in found)) for name, found in items.items()}
        self.executor = executor
        before = {name: found[:-1] for name, found in items.items()} if kind == "hop" else {}
        new = {name: found[-1:] if kind == "hop" else found for name, found in items.items()}
        for source in range(sources):
            executor.execute([Work(source, before, fuse=False)])
        self.works = [Work(source, new, rows) for source in range(sources)]
        self.done: list[WorkResult] = executor.execute(self.works)

    def run(self) -> None:
        self.done = self.executor.execute(self.works)

    def output(self) -> dict[str, Array]:
        """What the head gave for the first source, by output."""
        return dict(self.done[0].outputs or {})

    def parts_ms(self) -> dict[str, float]:
        return dict(self.done[0].part_ms or {})
