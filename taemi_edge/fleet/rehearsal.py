"""Rehearses a bundle on a recorded clip, in a process of its own, before a device depends on it.

It is `taemi-edge run` on the clip: so what crashes, hangs or eats the memory there does not end the update, nor the
service that runs meanwhile.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import SeriesSpec, TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import CheckFailedError, MediaError
from taemi_edge.live.outputs.numbers import numbers_of
from taemi_edge.parity.golden import demo_clip, golden_cases, usual_case

#: A rehearsal that takes longer hangs.
_TIMEOUT_S = 900.0
#: How long made-up series last.
_SERIES_S = 10.0
#: `taemi-edge` of the words behind the parent's process id. The kernel ends it with its parent (PR_SET_PDEATHSIG is 1),
#: so that an update that is killed leaves no run behind, which would compete with the service.
_WITH_ITS_PARENT = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "os.getppid() == int(sys.argv.pop(1)) or os._exit(1)\n"
    "from taemi_edge.__main__ import main\n"
    "main()"
)


def rehearse(bundle: Bundle, clip: Path | None = None, threads: int = 0) -> float:
    """Run a bundle on a clip, and check that predictions come, are numbers, and come in time.

    Args:
        bundle: a whole one.
        clip: a file that `taemi-edge run` takes; a transcript of the same name with the ending .vtt goes with it. None
            takes the clip that ships with the package for pictures, sound and words, and the golden feeds, again and
            again, for series.
        threads: of each part on a CPU; 0 lets the engines' plan choose, as a service does.

    Returns:
        How long a hop took, in milliseconds: the median.

    Raises:
        CheckFailedError: the run failed, gave nothing or no numbers, or took longer than a hop lasts.
        MediaError: `clip` cannot be read, or holds nothing that the model reads: that is not the bundle's fault.
    """
    with scratch_folder() as scratch:
        output = scratch / "predictions.jsonl"
        words = [*_inputs(bundle, clip, scratch), "--output", str(output)]
        words += ["--threads", str(threads)] if threads else []
        as_child = [sys.executable, "-c", _WITH_ITS_PARENT, str(os.getpid())]
        command = [*as_child, "run", str(bundle.folder.absolute()), *words]
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise CheckFailedError(f"the rehearsal had not ended after {_TIMEOUT_S:g} s") from None
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            if clip is not None and done.returncode == 2:
                raise MediaError(f"--clip: the model cannot be rehearsed on it: {said[:400]}")
            raise CheckFailedError(f"the rehearsal ended with {done.returncode}: {said[:400]}")
        lines = output.read_bytes().splitlines() if output.exists() else []
    return _judged([msgspec.json.decode(line) for line in lines], bundle)


def _inputs(bundle: Bundle, clip: Path | None, scratch: Path) -> list[str]:
    """What the words of `taemi-edge run` say of the clip."""
    streams = bundle.manifest.streams
    if clip is not None:
        beside = clip.with_suffix(".vtt")
        return [str(clip.absolute()), *(["--transcript", str(beside.absolute())] if beside.is_file() else [])]
    video, transcript = demo_clip()
    series = {name: spec for name, spec in streams.items() if isinstance(spec, SeriesSpec)}
    has_words = any(isinstance(spec, TextSpec) for spec in streams.values())
    words = [] if len(series) + sum(isinstance(s, TextSpec) for s in streams.values()) == len(streams) else [str(video)]
    words += ["--transcript", str(transcript)] if has_words else []
    for name, spec in series.items():
        file = scratch / f"{name}.npz"
        rate_hz = spec.rate_hz or 4 / bundle.manifest.window.hop_s
        rows = _recorded_rows(bundle, name, spec.channels, rate_hz)
        np.savez(file, **{name: rows, f"{name}_rate_hz": np.float64(rate_hz)})
        words += ["--stream", f"{name}={file}"]
    return words


def _recorded_rows(bundle: Bundle, stream: str, channels: int, rate_hz: float) -> Array:
    """The golden feed of a series, repeated for as long as a rehearsal lasts, float32 (rows, channels)."""
    feeds = usual_case(golden_cases(bundle), stream).feeds
    rows = next(iter(feeds.values())).reshape(-1, channels).astype(np.float32)
    wanted = math.ceil(max(_SERIES_S, bundle.manifest.window.length_s + 4 * bundle.manifest.window.hop_s) * rate_hz)
    return np.tile(rows, (math.ceil(wanted / len(rows)), 1))[:wanted]


def _judged(predictions: list[dict[str, Any]], bundle: Bundle) -> float:
    with_signal = [prediction for prediction in predictions if prediction["status"] == "ok"]
    if not with_signal:
        raise CheckFailedError(f"{len(predictions)} predictions came in the rehearsal, and none rests on a signal")
    for prediction in with_signal:
        for group, spec in bundle.manifest.outputs.items():
            if not all(n is not None and math.isfinite(n) for n in numbers_of(spec, prediction[group])):
                raise CheckFailedError(f"{group} is no number at {prediction['time_s']:g} s of the rehearsal")
        if why := [stream for stream, reason in prediction["reason"].items() if reason.startswith("NaN")]:
            raise CheckFailedError(f"{why[0]}: its encoder gives NaN at {prediction['time_s']:g} s of the rehearsal")
    usual_ms: float = statistics.median(prediction["latency_ms"]["total"] for prediction in with_signal)
    hop_ms = bundle.manifest.window.hop_s * 1e3
    if usual_ms > hop_ms:
        raise CheckFailedError(f"a hop took {usual_ms:.0f} ms in the rehearsal, and lasts {hop_ms:.0f} ms")
    return usual_ms
