"""A contender in a process of its own: requests as JSON lines on standard input, times as JSON lines on the output.

So that libraries that do not go together (two builds of ONNX Runtime, a Python for TensorRT and another for PyTorch)
are timed in one run, in turn, on the same feeds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from taemi_edge.bench.feeds import Feeds, Kind
from taemi_edge.bench.ways import Prepared, Way, time_runs
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.spec import MODALITIES, Array, Flavour, Frozen, Modality, Part, pattern_name
from taemi_edge.errors import TaemiError, UsageError
from taemi_edge.parity.comparison import cosine_of

WayName = Literal["runtime", "onnxruntime-cpu", "onnxruntime-cuda", "torch-eager", "torch-compile"]


class Opening(Frozen, frozen=True):
    """Which contender to be, and on what.

    Attributes:
        bundle: what "runtime" runs; `graphs` is the bundle of ONNX graphs that the others run.
        checkpoint: what PyTorch runs: a checkpoint folder or a recipe.
        precision: of ONNX Runtime's graphs and of PyTorch's weights.
    """

    way: WayName
    bundle: str
    graphs: str = ""
    checkpoint: str = ""
    random_weights: bool = False
    precision: str = "fp32"
    device: str | None = None
    threads: int = 1


class Request(Frozen, frozen=True):
    """What to prepare or to run. "prepare" answers with the error of one run, "run" with times of what is prepared."""

    do: Literal["prepare", "run", "ceilings", "close"]
    part: Part | None = None
    batch: int = 1
    kind: Kind = "hop"
    pattern: tuple[Modality, ...] = MODALITIES
    sources: int = 1
    runs: int = 1
    warm_up: int = 0
    graphs: bool = True


class Answer(Frozen, frozen=True):
    """What came of a request. `failure` says in one sentence why nothing did."""

    failure: str = ""
    described: dict[str, str] = msgspec.field(default_factory=dict)
    wall_ms: tuple[float, ...] = ()
    device_ms: tuple[float, ...] = ()
    #: Medians of what each part took, where the contender tells.
    parts_ms: dict[str, float] = msgspec.field(default_factory=dict)
    max_abs: float | None = None
    cosine: float | None = None
    ceilings: dict[str, float] = msgspec.field(default_factory=dict)


def main() -> None:
    """Serve until standard input ends; the first line is an `Opening`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print; the answers have a line of their own

    def tell(answer: Answer) -> None:
        answers.write(encode(answer))
        answers.flush()

    opened: list[_Server] = []
    tell(_guarded(partial(_open, opened), sys.stdin.readline()))
    for server in opened:
        for line in sys.stdin:
            tell(_guarded(server.answer, line))
        server.close()


def _guarded(act: Callable[[str], Answer], line: str) -> Answer:
    """Failures are answers too."""
    try:
        return act(line)
    except TaemiError as error:
        return Answer(failure=str(error))
    except Exception as error:  # noqa: BLE001  a rival may raise anything, and the others are still to be timed
        first = str(error).strip().splitlines()
        return Answer(failure=f"{type(error).__name__}: {first[0] if first else 'no message'}")


def _open(opened: list[_Server], line: str) -> Answer:
    opening = msgspec.json.decode(line, type=Opening)
    way = open_way(opening)
    opened.append(_Server(way, Feeds(open_bundle(Path(opening.bundle)))))
    return Answer(described=way.describe())


class _Server:
    """A contender that is open."""

    def __init__(self, way: Way, feeds: Feeds) -> None:
        self._way, self._feeds = way, feeds
        self._prepared: Prepared | None = None

    def answer(self, line: str) -> Answer:
        """What came of a `Request`."""
        request = msgspec.json.decode(line, type=Request)
        if request.do == "ceilings":
            return Answer(ceilings=self._way.ceilings())
        if request.do == "prepare":
            return self._prepare(request)
        if request.do == "close":
            self._drop()
            return Answer()
        if self._prepared is None:
            raise UsageError("nothing is prepared")
        self._prepared.replay(request.graphs)
        times = time_runs(self._prepared, request.runs, request.warm_up)
        return Answer(wall_ms=tuple(times.wall), device_ms=tuple(times.device), parts_ms=times.parts)

    def close(self) -> None:
        self._drop()
        self._way.close()

    def _prepare(self, request: Request) -> Answer:
        """Run once and hold the output against PyTorch's."""
        self._drop()
        if request.part is not None:
            feeds, expected = self._feeds.part(request.part, request.batch)
            prepared = self._way.part(request.part, feeds)
        else:
            window, pattern = self._feeds.window(), frozenset(request.pattern)
            prepared = self._way.window(request.kind, window, pattern, request.sources)
            expected = np.tile(window.expected[pattern_name(pattern)], (request.sources, 1))
        self._prepared = prepared
        prepared.run()
        return _compared(prepared.output(), expected)

    def _drop(self) -> None:
        if self._prepared is not None:
            self._prepared.close()
        self._prepared = None


def open_way(opening: Opening) -> Way:
    """The contender that an opening names; heavy imports stay in its module.

    Raises:
        UsageError: it cannot run here.
    """
    if opening.way == "runtime":
        from taemi_edge.bench.runtime_way import RuntimeWay

        chosen: Any = opening.device
        return RuntimeWay(open_bundle(Path(opening.bundle)), chosen, opening.threads)
    if opening.way.startswith("onnxruntime"):
        from taemi_edge.bench.ort_way import OrtWay

        flavour: Flavour = msgspec.convert(opening.precision, Flavour)
        device = opening.way.partition("-")[2]
        return OrtWay(open_bundle(Path(opening.graphs)), device, flavour, opening.threads)
    from taemi_edge.bench.torch_way import TorchWay
    from taemi_edge.taemi.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(opening.checkpoint, opening.random_weights)
    device = opening.device or "cpu"
    return TorchWay(checkpoint, device, opening.precision, opening.way == "torch-compile", opening.threads)


def _compared(output: Array, expected: Array) -> Answer:
    if output.shape != expected.shape:
        return Answer(failure=f"gave {output.shape}, expected {expected.shape}")
    error = np.abs(output.astype(np.float64) - expected)
    return Answer(max_abs=float(error.max()), cosine=cosine_of(output, expected))


def encode(message: Frozen) -> str:
    """One line of JSON, with its end."""
    return msgspec.json.encode(message).decode() + "\n"


if __name__ == "__main__":
    main()
