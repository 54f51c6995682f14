"""The process of one contender: `python -m taemi_edge.bench.worker`.

It reads requests as JSON lines from standard input and writes answers as JSON lines to standard output. Libraries that
cannot be in one process, such as two builds of ONNX Runtime, or TensorRT and PyTorch for different Pythons, are timed
in turn this way, in one run and on the same feeds.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from taemi_edge.bench.feeds import Feeds, WindowKind
from taemi_edge.bench.timed_model import TimedModel, TimedRun, time_runs
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.precisions import Flavour
from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.bundle.workers import end_with_parent
from taemi_edge.errors import TaemiError, UsageError
from taemi_edge.parity.comparison import cosine_of
from taemi_edge.parity.metrics import pearson_of

ContenderName = Literal[
    "runtime", "onnxruntime-cpu", "onnxruntime-cuda", "openvino", "openvino-int8", "torch-eager", "torch-compile"
]


class Opening(Frozen, frozen=True):
    """The first line that a worker reads: which contender it opens.

    Attributes:
        bundle: the bundle that "runtime" runs.
        graphs: the bundle of ONNX graphs that ONNX Runtime and OpenVINO run.
        checkpoint: what PyTorch runs, a checkpoint folder or a recipe of TAEMI.
        model: what PyTorch runs, `file.py:function` of a declared model; its code is run.
        precision: the precision of ONNX Runtime's graphs or of PyTorch's weights; of OpenVINO, see
            `taemi_edge.bench.openvino_model.OpenVinoPrecision`.
        calibration: the folder of inputs that OpenVINO's own INT8 is calibrated on.
    """

    contender: ContenderName
    bundle: str
    graphs: str = ""
    checkpoint: str = ""
    model: str = ""
    random_weights: bool = False
    precision: str = "fp32"
    calibration: str = ""
    device: str | None = None
    threads: int = 1


class Request(Frozen, frozen=True):
    """What the worker is to do.

    "prepare" opens a part or a window and answers with the error of one run. "run" answers with the times of what is
    prepared. "ceilings" measures the machine. "close" releases what is prepared.

    Attributes:
        pattern: the streams that a window has.
        length_s, hop_s: of a window and of its last hop; 0 for those of the model.
    """

    do: Literal["prepare", "run", "ceilings", "close"]
    part: str | None = None
    batch: int = 1
    kind: WindowKind = "hop"
    pattern: tuple[str, ...] = ()
    sources: int = 1
    length_s: float = 0.0
    hop_s: float = 0.0
    runs: int = 1
    warm_up: int = 0
    graphs: bool = True


class Answer(Frozen, frozen=True):
    """The answer to a request; `failure` says in one sentence why there is none.

    Attributes:
        parts_ms: the median of each part; empty where they are not measured.
        max_abs, cosine, pearson: of the output with PyTorch's in FP32; Pearson over all its numbers, None where those
            are equal.
    """

    failure: str = ""
    described: dict[str, str] = msgspec.field(default_factory=dict)
    wall_ms: tuple[float, ...] = ()
    device_ms: tuple[float, ...] = ()
    parts_ms: dict[str, float] = msgspec.field(default_factory=dict)
    max_abs: float | None = None
    cosine: float | None = None
    pearson: float | None = None
    ceilings: dict[str, float] = msgspec.field(default_factory=dict)


def main() -> None:
    """Answer requests until standard input ends; the first line is an `Opening`."""
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to standard output: send that to standard error

    def send(answer: Answer) -> None:
        answers.write(json_line(answer))
        answers.flush()

    opened: list[_Server] = []
    send(_guarded(partial(_open, opened), sys.stdin.readline()))
    for server in opened:
        for line in sys.stdin:
            send(_guarded(server.answer, line))
        server.close()


def _guarded(act: Callable[[str], Answer], line: str) -> Answer:
    """Answer a line; an exception becomes an answer with its message."""
    try:
        return act(line)
    except TaemiError as error:
        return Answer(failure=str(error))
    except Exception as error:  # noqa: BLE001  a rival may raise anything, and the others are still to be timed
        first = str(error).strip().splitlines()
        return Answer(failure=f"{type(error).__name__}: {first[0] if first else 'no message'}")


def _open(opened: list[_Server], line: str) -> Answer:
    opening = msgspec.json.decode(line, type=Opening)
    model = open_model(opening)
    opened.append(_Server(model, open_bundle(Path(opening.bundle))))
    return Answer(described=model.describe())


class _Server:
    """Answers the requests to one contender."""

    def __init__(self, model: TimedModel, bundle: Bundle) -> None:
        self._model, self._manifest, self._feeds = model, bundle.manifest, Feeds(bundle)
        self._prepared: TimedRun | None = None

    def answer(self, line: str) -> Answer:
        """Answer a line that holds a `Request`.

        Raises:
            UsageError: "run" came before "prepare".
        """
        request = msgspec.json.decode(line, type=Request)
        if request.do == "ceilings":
            return Answer(ceilings=self._model.ceilings())
        if request.do == "prepare":
            return self._prepare(request)
        if request.do == "close":
            self._release()
            return Answer()
        if self._prepared is None:
            raise UsageError("nothing is prepared")
        self._prepared.replay(request.graphs)
        times = time_runs(self._prepared, request.runs, request.warm_up)
        return Answer(wall_ms=tuple(times.wall), device_ms=tuple(times.device), parts_ms=times.parts)

    def close(self) -> None:
        """Release everything."""
        self._release()
        self._model.close()

    def _prepare(self, request: Request) -> Answer:
        """Run once and compare the output with PyTorch's."""
        self._release()
        expected: Array | None
        if request.part is not None:
            feeds, expected = self._feeds.part(request.part, request.batch)
            prepared = self._model.part(request.part, feeds)
        else:
            window, pattern = self._feeds.window(request.length_s, request.hop_s), frozenset(request.pattern)
            prepared = self._model.window(request.kind, window, pattern, request.sources)
            own = window.expected.get(self._manifest.pattern_name(pattern))
            expected = None if own is None else np.tile(own, (request.sources, 1))
        self._prepared = prepared
        prepared.run()
        return Answer() if expected is None else _compared(prepared.output(), expected)

    def _release(self) -> None:
        if self._prepared is not None:
            self._prepared.close()
        self._prepared = None


def open_model(opening: Opening) -> TimedModel:
    """Open the contender that an opening names. Heavy imports stay in its module.

    Raises:
        UsageError: the contender cannot run here.
    """
    if opening.contender == "runtime":
        from taemi_edge.bench.runtime_model import RuntimeModel

        chosen: Any = opening.device
        return RuntimeModel(open_bundle(Path(opening.bundle)), chosen, opening.threads)
    if opening.contender.startswith("onnxruntime"):
        from taemi_edge.bench.onnxruntime_model import OnnxRuntimeModel

        flavour: Flavour = msgspec.convert(opening.precision, Flavour)
        device = opening.contender.partition("-")[2]
        return OnnxRuntimeModel(open_bundle(Path(opening.graphs)), device, flavour, opening.threads)
    if opening.contender.startswith("openvino"):
        from taemi_edge.bench.openvino_model import OpenVinoModel, OpenVinoPrecision

        precision: OpenVinoPrecision = msgspec.convert(opening.precision, OpenVinoPrecision)
        calibration = Path(opening.calibration) if opening.calibration else None
        return OpenVinoModel(open_bundle(Path(opening.graphs)), precision, opening.threads, calibration)
    return _open_torch(opening)


def _open_torch(opening: Opening) -> TimedModel:
    from taemi_edge.bench.torch_model import TorchModel, require_compiler
    from taemi_edge.bench.torch_parts import checkpoint_parts, declared_parts

    bundle, device = open_bundle(Path(opening.bundle)), opening.device or "cpu"
    if opening.contender == "torch-compile" and device == "cpu":
        require_compiler()
    if opening.model:
        parts = declared_parts(opening.model, bundle, opening.precision)
    else:
        parts = checkpoint_parts(opening.checkpoint, opening.random_weights, bundle.manifest, opening.precision)
    return TorchModel(parts, bundle, device, opening.contender == "torch-compile", opening.threads)


def _compared(output: Array, expected: Array) -> Answer:
    if output.shape != expected.shape:
        return Answer(failure=f"gave {output.shape}, expected {expected.shape}")
    error = np.abs(output.astype(np.float64) - expected)
    return Answer(
        max_abs=float(error.max()),
        cosine=cosine_of(output, expected),
        pearson=pearson_of(output.ravel(), expected.ravel()),
    )


def json_line(message: Frozen) -> str:
    """One line of JSON, with its end."""
    return msgspec.json.encode(message).decode() + "\n"


if __name__ == "__main__":
    main()
