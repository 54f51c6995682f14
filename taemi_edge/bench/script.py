"""What contenders share that run a model as a script does: a call for each part, features joined with numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from taemi_edge.bench.feeds import BenchWindow, Calls, WindowKind, batched
from taemi_edge.bench.timed_model import HostRun, TimedRun
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import UsageError
from taemi_edge.parity.windows import encode_calls


class ScriptModel(ABC):
    """A `taemi_edge.bench.timed_model.TimedModel` of a library that runs one part at a time on arrays.

    Args:
        bundle: says what the parts take and give, and what stands for missing streams.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    @abstractmethod
    def run_part(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a part once, from arrays by the names of its inputs to arrays by the names of its outputs."""

    def part(self, part: str, feeds: Mapping[str, Array]) -> TimedRun:
        return HostRun(lambda: self.run_part(part, feeds))

    def window(self, kind: WindowKind, window: BenchWindow, pattern: Pattern, sources: int) -> TimedRun:
        if sources > 1:
            raise UsageError("a script runs its sources one by one")
        streams = self._bundle.manifest.streams
        live = [name for name in streams if name in pattern]
        due = {name: batched(window.due(kind, name)) for name in live}
        before = {name: batched(rows) for name in live if (rows := window.before(kind, name))}
        old = {name: self._encode(name, calls) for name, calls in before.items()}

        def run() -> Mapping[str, Array]:
            features: dict[str, Array] = {}
            for name, calls in due.items():
                new = self._encode(name, calls)
                steps = np.concatenate([old[name], new]) if name in old else new
                features[name] = steps[-streams[name].max_steps :]
            return self.run_part(HEAD, self._head_feeds(features))

        return HostRun(run)

    def ceilings(self) -> dict[str, float]:
        return {}

    def _encode(self, stream: str, calls: Calls) -> Array:
        """The features of some rows, (T, D); the steps of a chunk's context are cut away."""
        return encode_calls(self.run_part, stream, self._bundle.manifest.streams[stream], calls)

    def _head_feeds(self, features: Mapping[str, Array]) -> dict[str, Array]:
        """The features (T, D) of the live streams, and what stands for the others."""
        manifest = self._bundle.manifest
        feeds: dict[str, Array] = {}
        for name, spec in manifest.streams.items():
            live = name in features
            values = features[name] if live else self._bundle.tokens[name].astype(np.float32)
            feeds[name] = values[None]
            if manifest.head.masks:
                feeds[f"{name}_mask"] = np.full((1, len(values)), 1 if live else spec.missing.mask, np.int32)
        return feeds
