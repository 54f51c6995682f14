"""The command `replay`, which runs another bundle on what a run has recorded and compares the two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taemi_edge.cli.options import (
    DeviceOption,
    JsonOption,
    PlannedThreadsOption,
    RequireSignatureOption,
    device_name,
    key_and_value,
    note,
    note_training,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.run_options import Unverified
from taemi_edge.errors import CheckFailedError

if TYPE_CHECKING:
    from taemi_edge.bundle.folder import Bundle
    from taemi_edge.parity.prediction_differences import Differences
    from taemi_edge.parity.replay import ReplayedHop

_RecordingArgument = Annotated[
    Path, typer.Argument(metavar="RUN.mcap", help="What `taemi-edge run --record RUN.mcap` wrote.")
]
_BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that is tried on it.")]
_SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Which source, where the run had several.")
]
_MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=RECORDED",
        help="The recorded stream that feeds a stream of the bundle; repeatable  [default: that of the same name]",
    ),
]
_LinesOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="F.jsonl",
        help="Write a line a hop: the recorded outputs, the new ones, and their difference.",
    ),
]
_PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="F.png", help="Draw both curves, their difference, and presence.")
]
_ToleranceOption = Annotated[
    float | None,
    typer.Option("--tolerance", metavar="D", min=0, help="Exit 1 if any output differs by more than this."),
]


def replay(
    recording: _RecordingArgument,
    bundle: _BundleArgument,
    source: _SourceOption = None,
    streams: _MapOption = None,
    output: _LinesOption = None,
    plot: _PlotOption = None,
    json_file: JsonOption = None,
    tolerance: _ToleranceOption = None,
    device: DeviceOption = None,
    threads: PlannedThreadsOption = None,
    unverified: Unverified = False,
    require_signature: RequireSignatureOption = None,
) -> None:
    """Run a bundle on what a run has recorded, and show how far its predictions are from the recorded ones."""
    from taemi_edge.cli.replay_tables import print_differences
    from taemi_edge.parity.prediction_differences import ReplayJson, differences_json
    from taemi_edge.parity.replay import ReplayOptions

    if plot is not None:
        from taemi_edge.pictures import check_plot_file

        check_plot_file(plot)
    pairs = dict(key_and_value(text, "--map", "NAME=RECORDED") for text in streams or ())
    opened = _open_bundle(bundle, unverified, require_signature)
    notes: list[str] = []
    options = ReplayOptions(source, pairs, device_name(device), threads)
    found, hops = _replayed(recording, opened, options, output, notes, keeps=plot is not None)
    print_differences(found, f"{recording.name}, replayed with {opened.manifest.name}")
    for remark in notes:
        note(remark)
    report: ReplayJson = {"recording": str(recording), "bundle": opened.manifest.name, **differences_json(found)}
    save_json(json_file, report)
    if plot is not None:
        from taemi_edge.parity.replay_plot import plot_replay

        plot_replay(hops, plot, f"{recording.name}, replayed with {opened.manifest.name}", opened.manifest.outputs)
    if tolerance is not None:
        _require_near(found, tolerance)


def _open_bundle(folder: Path, unverified: bool, require_signature: Path | None) -> Bundle:
    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.bundle.trusted_keys import required_key
    from taemi_edge.runtime.sessions import require_verified

    bundle = open_bundle(folder, require_signature=required_key(require_signature))
    require_verified(bundle, unverified)
    note_training(bundle)
    return bundle


def _replayed(
    recording: Path, bundle: Bundle, options: Any, output: Path | None, notes: list[str], keeps: bool
) -> tuple[Differences, Sequence[ReplayedHop]]:
    """Compare hop by hop, write the lines, and keep the hops where a plot needs them."""
    from contextlib import nullcontext

    from taemi_edge.parity.prediction_differences import DifferenceCounter
    from taemi_edge.parity.replay import line_of, replay_run
    from taemi_edge.runtime.json_lines import JsonLines

    counter, kept = DifferenceCounter(), list[Any]()
    with shown_progress() as progress, JsonLines(output) if output else nullcontext() as lines:
        for hop in replay_run(recording, bundle, options, notes, progress):
            counter.add(hop.recorded, hop.new)
            if lines is not None:
                lines.write(line_of(hop))
            if keeps:
                kept.append(hop)
    return counter.differences(), kept


def _require_near(found: Differences, tolerance: float) -> None:
    """Fail where an output is further from the recorded one than `--tolerance`, or is there in one of the two alone."""
    _, only_recorded, only_new = found.predicted
    if only_recorded or only_new:
        raise CheckFailedError(
            f"expected predictions in the same hops, got {only_recorded + only_new} of {found.hops} hops in which one "
            f"of the two predicted nothing"
        )
    apart = found.largest
    if apart is None or apart > tolerance:
        got = "nothing to compare" if apart is None else f"{apart:.6g}"
        raise CheckFailedError(f"expected outputs within {tolerance:g} of the recorded ones, got {got}")
