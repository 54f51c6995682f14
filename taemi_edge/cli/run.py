"""`taemi-edge run`: files as fast as they can be read, anything live as it comes."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from taemi_edge.cli.options import (
    DeviceChoice,
    DeviceOption,
    ThreadsOption,
    device_name,
    key_and_value,
    note,
    note_training,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.tables import print_fleet_summary, print_live_summary, print_summary
from taemi_edge.errors import UsageError

_FILES, _LIVE = "Files and live sources", "Live sources alone"


def run(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="A bundle folder; with --config it may stand there.", show_default=False),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Files, or rtsp:// http:// udp:// tcp:// rtmp://, v4l2:/dev/video0, alsa:default, pulse:default, "
            "'gst:... ! appsink'; NAME=SOURCE names one.",
            show_default=False,
        ),
    ] = None,
    transcript: Annotated[
        str | None,
        typer.Option(
            "--transcript",
            metavar="F",
            help="What is said: .vtt, .srt, .txt or .jsonl; live also - (JSON lines on standard input), unix:PATH.",
        ),
    ] = None,
    asr: Annotated[bool, typer.Option("--asr", help="Recognise the speech with faster-whisper (extra `asr`).")] = False,
    asr_model: Annotated[
        str, typer.Option("--asr-model", help="A CTranslate2 folder, or a size that faster-whisper fetches.")
    ] = "packaged:whisper-base",
    window: Annotated[
        float | None, typer.Option("--window", metavar="S", help="Seconds a prediction looks back.")
    ] = None,
    hop: Annotated[float | None, typer.Option("--hop", metavar="S", help="Seconds between predictions.")] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="MODALITY@START-END", help="Rehearse a loss, such as vision@2-4; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="F.jsonl", help="Where predictions go  [default: standard output]"),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", metavar="F.mp4", help="Also write the video with bars, lamps and words."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Files: also draw the intensities over time.")
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Run engines that parity has not passed all the same.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build engines anew first if they belong to another library or GPU.")
    ] = False,
    deadline: Annotated[
        float, typer.Option("--deadline", metavar="MS", help="Files: how long one of several waits for the others.")
    ] = 50.0,
    live: Annotated[
        bool, typer.Option("--live", help="Play files at their own pace, like cameras.", rich_help_panel=_LIVE)
    ] = False,
    video: Annotated[
        str | None, typer.Option("--video", metavar="URI", help="The picture alone from here.", rich_help_panel=_LIVE)
    ] = None,
    audio: Annotated[
        str | None, typer.Option("--audio", metavar="URI", help="The sound alone from here.", rich_help_panel=_LIVE)
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            "--serve",
            metavar="HOST:PORT",
            help="A page to watch, /healthz and /metrics (extra `serve`); others than loopback need a token.",
            rich_help_panel=_LIVE,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="F", help="What clients must show; or TAEMI_EDGE_TOKEN.", rich_help_panel=_LIVE
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option("--tls-certificate", metavar="F.pem", help="Serve HTTPS.", rich_help_panel=_LIVE),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="F.pem", help="Its key.", rich_help_panel=_LIVE)
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option("--events", metavar="F.jsonl", help="A line for each change of presence.", rich_help_panel=_LIVE),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            "--push", metavar="URL", help="Send the annotated picture to rtmp:// or rtsp://.", rich_help_panel=_LIVE
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option("--mqtt", metavar="HOST:PORT", help="Publish to a broker (extra `mqtt`).", rich_help_panel=_LIVE),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DIR", help="Keep clips around losses, up to 512 MiB.", rich_help_panel=_LIVE),
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="S", help="Stop after so long.", rich_help_panel=_LIVE)
    ] = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="Play files again when they end.", rich_help_panel=_LIVE)
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="F.toml", help="All of this from a file; what is typed wins.", rich_help_panel=_LIVE
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any key of --config, such as watch.lost_after_s=3; repeatable.",
            rich_help_panel=_LIVE,
        ),
    ] = None,
) -> None:
    """Predict six intensities, a JSON line a hop; a stream that is missing is replaced by its token.

    Files run as fast as they can be read, several side by side. Live sources, and files with --live or --serve, run
    on the clock until they are stopped: Ctrl-C ends them with their last predictions written.
    """
    sources = list(source or ())
    live_alone = (serve, push, mqtt, record, events, duration, video, audio, config, override)
    if live or loop or any(value is not None for value in live_alone) or _names_live(sources, transcript):
        if plot is not None:
            raise UsageError("--plot draws files that have an end: leave it away, and watch a live run with --serve")
        given: dict[str, Any] = {
            "bundle": bundle,
            "source": _described(sources, video, audio, transcript, asr),
            "output": output,
            "events": events,
            "annotate": annotate,
            "push": push,
            "window_s": window,
            "hop_s": hop,
            "duration_s": duration,
            "device": device_name(device),
            "threads": threads or None,
            "unverified": unverified or None,
            "loop": loop or None,
            "drop": drop,
            "asr_model": None if asr_model == "packaged:whisper-base" else asr_model,
            "serve": _present(address=serve, token_file=token_file, tls_certificate=tls_certificate, tls_key=tls_key),
            "mqtt": _present(broker=mqtt),
            "record": _present(folder=record),
        }
        changes = dict(key_and_value(text, "--set", "KEY=VALUE") for text in override or ())
        _run_live(config, _present(**given) or {}, changes, rebuild)
        return
    if bundle is None or not sources:
        raise UsageError("expected a bundle and at least one source: taemi-edge run BUNDLE SOURCE...")
    _run_files(
        bundle,
        [Path(text) for text in sources],
        transcript=None if transcript is None else Path(transcript),
        asr=asr,
        asr_model=asr_model,
        window=window,
        hop=hop,
        drop=drop,
        output=output,
        annotate=annotate,
        plot=plot,
        device=device,
        threads=threads,
        unverified=unverified,
        rebuild=rebuild,
        deadline=deadline,
    )


def _run_files(
    bundle: Path,
    sources: list[Path],
    *,
    transcript: Path | None,
    asr: bool,
    asr_model: str,
    window: float | None,
    hop: float | None,
    drop: list[str] | None,
    output: Path | None,
    annotate: Path | None,
    plot: Path | None,
    device: DeviceChoice | None,
    threads: int,
    unverified: bool,
    rebuild: bool,
    deadline: float,
) -> None:
    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.media.rehearsed_losses import parse_drop
    from taemi_edge.runtime.files import RunOptions, run_file, run_together
    from taemi_edge.runtime.json_lines import JsonLines
    from taemi_edge.runtime.sessions import require_verified

    if rebuild:
        from taemi_edge.engines.build import rebuild_if_foreign
    if len(sources) > 1 and (transcript or annotate or plot):
        raise UsageError("--transcript, --annotate and --plot belong to one source: run the files one by one")
    if plot is not None:
        from taemi_edge.pictures import check_plot_file
        from taemi_edge.runtime.timeline import plot_timeline

        check_plot_file(plot)
    options = RunOptions(
        transcript=transcript,
        asr=asr,
        asr_model=asr_model,
        window_s=window,
        hop_s=hop,
        drops=tuple(parse_drop(text) for text in drop or ()),
        annotate=annotate,
        device=device_name(device),
        threads=threads,
        deadline_s=deadline / 1e3,
    )
    opened = open_bundle(bundle)
    if rebuild:
        with shown_progress() as progress:
            opened = rebuild_if_foreign(opened, progress)
    require_verified(opened, unverified)
    note_training(opened)
    with JsonLines(output) as lines, shown_progress() as progress:
        if len(sources) > 1:
            print_fleet_summary(run_together(opened, sources, options, lines, progress))
            return
        summary = run_file(opened, sources[0], options, lines, progress)
    print_summary(sources[0], summary)
    if plot is not None:
        plot_timeline(summary.predictions, plot, f"{opened.manifest.name} on {sources[0].name}")


def _run_live(file: Path | None, given: dict[str, Any], changes: dict[str, str], rebuild: bool) -> None:
    from msgspec.structs import replace

    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.live.config import load_live_config
    from taemi_edge.live.run import run_live
    from taemi_edge.runtime.sessions import require_verified

    settings = load_live_config(file, given, changes)
    if not settings.bundle:
        raise UsageError("expected a bundle: name its folder first, or as `bundle` in the file of --config")
    _log_to_stderr()
    opened = open_bundle(Path(settings.bundle))
    if rebuild:
        from taemi_edge.engines.build import rebuild_if_foreign

        with shown_progress() as progress:
            opened = rebuild_if_foreign(opened, progress)
    require_verified(opened, settings.unverified)
    note_training(opened)
    settings = replace(settings, output=settings.output or "-")
    print_live_summary(run_live(opened, settings, on_serving=lambda url: note(f"watch it at {url}")))
    _leave_what_hangs()


def _leave_what_hangs() -> None:
    """End at once where a driver or the recogniser is still at work in a thread that was left behind.

    All is written by now, and native code that goes on while Python is taken down beneath it crashes.
    """
    hanging = [t.name for t in threading.enumerate() if t.daemon and t.name.startswith(("capture-", "recognise"))]
    if hanging:
        logging.getLogger("taemi_edge.live").info("left behind at work: %s", ", ".join(hanging))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _names_live(sources: list[str], transcript: str | None) -> bool:
    """Whether any source is more than a file."""
    from taemi_edge.live.capture.addresses import looks_live

    return any(map(looks_live, sources)) or transcript == "-" or (transcript or "").startswith("unix:")


def _described(
    sources: list[str], video: str | None, audio: str | None, transcript: str | None, asr: bool
) -> list[dict[str, Any]] | None:
    """Sources as the configuration has them; None where none was typed."""
    from taemi_edge.live.capture.addresses import default_name, split_name

    text = _present(transcript=transcript, asr=asr or None) or {}
    if video or audio:
        if sources:
            raise UsageError("expected either SOURCE, or --video and --audio: got both")
        names = [split_name(given)[0] for given in (video, audio) if given]
        parts = {"video": video and split_name(video)[1], "audio": audio and split_name(audio)[1]}
        return [{"name": next(filter(None, names), "live"), **(_present(**parts) or {}), **text}]
    if not sources:
        return None
    if len(sources) > 1 and transcript not in (None, "-") and not (transcript or "").startswith("unix:"):
        raise UsageError("--transcript with a file belongs to one source: name each one's own in --config")
    named = [split_name(given) for given in sources]
    return [{"name": name or default_name(uri), "uri": uri, **text} for name, uri in named]


def _present(**values: Any) -> dict[str, Any] | None:
    """What was given, paths as text; None where nothing was."""
    kept = {key: str(value) if isinstance(value, Path) else value for key, value in values.items() if value is not None}
    return kept or None


def _log_to_stderr() -> None:
    """Changes of presence and what goes wrong, a line each, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("taemi_edge.live")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
