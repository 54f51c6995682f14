"""Runs another bundle on what a run has recorded, and pairs its predictions with the recorded ones, hop by hop.

The new bundle gets the hops of the recorded run: the same pictures, sound, words and rows, cut where they were cut, and
the losses that the run knew at once, such as a camera that was unplugged. How far back it looks, and when a stream of
it is stale or missing, is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import StreamSpec, kind_name
from taemi_edge.errors import InputError, UsageError
from taemi_edge.media.rehearsed_losses import Drop, parse_drop
from taemi_edge.parity.prediction_differences import number_changes
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.prediction import Prediction, Status
from taemi_edge.runtime.presence import State
from taemi_edge.runtime.recorded_run import RecordedRun, RecordedSource
from taemi_edge.runtime.sessions import Device
from taemi_edge.runtime.window import Source

#: How often a prediction is made where a recording does not say so.
_USUAL_HOP_S = 0.5


@dataclass(frozen=True)
class ReplayOptions:
    """How a recorded run is replayed.

    Attributes:
        source: the name of a source, where the run had several.
        streams: by stream of the bundle, the recorded stream that feeds it; by default that of the same name.
        device: where to run; by default what the bundle was built for.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
    """

    source: str | None = None
    streams: Mapping[str, str] = field(default_factory=dict)
    device: Device | None = None
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class ReplayedHop:
    """The two predictions of one hop."""

    recorded: Prediction
    new: Prediction


def replay_run(
    file: Path,
    bundle: Bundle,
    options: ReplayOptions = ReplayOptions(),
    notes: list[str] | None = None,
    progress: Progress = SILENT,
) -> Iterator[ReplayedHop]:
    """Run a bundle on what a run has recorded.

    Args:
        file: what `taemi-edge run --record F.mcap` wrote.
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        options: which source, which streams, and where to run.
        notes: gets what the reader of a comparison should know, a sentence each.
        progress: counts the seconds that were replayed.

    Raises:
        InputError: no run has written the recording, or it has nothing that the bundle takes or gives.
        UsageError: a source or a stream is not there.
        BackendError: the device failed.
    """
    notes = [] if notes is None else notes
    with RecordedRun(file) as run:
        source = run.source(options.source)
        fed = _fed_streams(source, bundle.manifest.streams, options.streams)
        hop_s = run.hop_s or _USUAL_HOP_S
        notes += _what_differs(run, bundle, source, fed)
        absent = _absent(source, bundle, fed)
        described = Source(source.name, (), _drops(source, fed), absent, source.patience_s)
        with Pipeline(bundle, described, device=options.device, threads=options.threads, hop_s=hop_s) as pipeline:
            compared, begins_s = 0, None
            for moment in run.moments(source, {name: (fed[name], bundle.manifest.streams[name]) for name in fed}):
                new = pipeline.predict(moment.hop)
                if begins_s is None:
                    begins_s = moment.hop.end_s - hop_s
                    notes += _what_is_before(begins_s, hop_s, bundle.manifest.window.length_s)
                progress.count(moment.hop.end_s, run.length_s, "replaying")
                if moment.prediction is not None:
                    if not compared:
                        _require_common_outputs(file, moment.prediction, new)
                    compared += 1
                    yield ReplayedHop(moment.prediction, new)
        notes += run.notes
    if not compared:
        raise InputError(f"{file}: expected predictions to compare with, found hops alone: the recording was cut off")


def _fed_streams(source: RecordedSource, streams: Mapping[str, StreamSpec], given: Mapping[str, str]) -> dict[str, str]:
    """The recorded stream of each stream of the bundle that has one."""
    for name, recorded in given.items():
        if name not in streams:
            raise UsageError(f"--map {name}={recorded}: expected a stream of the bundle, {_listed(streams)}")
        if recorded not in source.streams:
            raise UsageError(f"--map {name}={recorded}: expected a recorded stream, {', '.join(source.streams)}")
    wanted = {name: given.get(name, name) for name in streams}
    fed = {name: recorded for name, recorded in wanted.items() if recorded in source.streams}
    if not fed:
        raise UsageError(
            f"expected a bundle that takes what was recorded ({', '.join(source.streams)}), got one that takes "
            f"{_listed(streams)}: --map NAME=RECORDED says which is which"
        )
    return fed


def _listed(streams: Mapping[str, StreamSpec]) -> str:
    return ", ".join(f"{name} ({kind_name(spec)})" for name, spec in streams.items())


def _what_differs(run: RecordedRun, bundle: Bundle, source: RecordedSource, fed: Mapping[str, str]) -> list[str]:
    """What else than the weights may make the two predictions differ."""
    notes, window = [], bundle.manifest.window
    if run.window_s is not None and run.window_s != window.length_s:
        notes.append(f"the recorded run looked back {run.window_s:g} s, {bundle.manifest.name} {window.length_s:g} s")
    if not run.is_lossless:
        notes.append("pictures and sound were compressed when they were recorded: --lossless keeps them as they are")
    if absent := [name for name in bundle.manifest.streams if name not in fed]:
        notes.append(f"{', '.join(absent)} of {bundle.manifest.name} was not recorded, and is missing")
    if unused := [name for name in source.streams if name not in fed.values()]:
        notes.append(f"{', '.join(unused)} was recorded, and {bundle.manifest.name} takes no such stream")
    return notes


def _what_is_before(begins_s: float, hop_s: float, window_s: float) -> list[str]:
    """A remark where a recording is a later part of its run: what was before is in the recorded predictions alone."""
    if begins_s < hop_s / 2:
        return []
    knows = f"up to {begins_s + window_s:g} s the recorded predictions knew what is not in it"
    return [f"the recording begins {begins_s:g} s after its run: {knows}"]


def _absent(source: RecordedSource, bundle: Bundle, fed: Mapping[str, str]) -> dict[str, str]:
    """Why streams of the bundle will not come: the words of the recorded run, where it had the stream."""
    return {name: source.absent.get(name, "it was not recorded") for name in bundle.manifest.streams if name not in fed}


def _drops(source: RecordedSource, fed: Mapping[str, str]) -> list[Drop]:
    """The losses that were rehearsed, of the streams that the bundle has."""
    rehearsed = [parse_drop(text) for text in source.drops]
    return [
        Drop(name, drop.start_s, drop.end_s)
        for name, recorded in fed.items()
        for drop in rehearsed
        if drop.stream == recorded
    ]


def _require_common_outputs(file: Path, recorded: Prediction, new: Prediction) -> None:
    if not recorded.outputs.keys() & new.outputs.keys():
        raise InputError(
            f"{file}: expected a bundle with one of the recorded outputs {', '.join(recorded.outputs)}, got one with "
            f"{', '.join(new.outputs)}: there is nothing to compare"
        )


class ShownPrediction(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared of a prediction."""

    outputs: dict[str, dict[str, Any] | None]
    presence: dict[str, State]
    reason: dict[str, str]
    status: Status


class ReplayLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `replay --output`: both predictions of a hop.

    Attributes:
        source: the name of the source.
        time_s: the end of the window, in seconds on the source's clock.
        recorded: what the run predicted.
        new: what the other bundle predicts.
        difference: by output, how much larger each number of the new prediction is.
    """

    source: str
    time_s: float
    recorded: ShownPrediction
    new: ShownPrediction
    difference: dict[str, dict[str, float]]


def line_of(hop: ReplayedHop) -> str:
    """Both predictions of a hop as one line of JSON, with how much larger each number of the new one is."""
    line = ReplayLine(
        source=hop.new.source,
        time_s=hop.new.time_s,
        recorded=_shown(hop.recorded),
        new=_shown(hop.new),
        difference=number_changes(hop.recorded, hop.new),
    )
    return msgspec.json.encode(line).decode()


def _shown(prediction: Prediction) -> ShownPrediction:
    return ShownPrediction(
        outputs=prediction.outputs,
        presence=prediction.presence,
        reason=prediction.reason,
        status=prediction.status,
    )
