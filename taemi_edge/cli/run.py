"""The command `run`: it reads files as fast as it can, and live sources as their data arrives."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from taemi_edge.cli import run_options as options
from taemi_edge.cli.ending import say_error
from taemi_edge.cli.named_bundles import chosen_bundle
from taemi_edge.cli.options import (
    ASR_MODEL,
    AsrModelOption,
    DeviceOption,
    PlannedThreadsOption,
    RequireSignatureOption,
    note,
    note_training,
)
from taemi_edge.cli.progress import THREADS, WARM_UP, shown_progress
from taemi_edge.cli.run_options import Given
from taemi_edge.cli.run_summaries import print_fleet_summary, print_live_summary, print_summary, require_data
from taemi_edge.errors import TaemiError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from taemi_edge.bundle.folder import Bundle
    from taemi_edge.live.outputs.channels.output import FileRecording
    from taemi_edge.live.takeover import FollowedLink


def run(
    bundle: options.BundleOption = None,
    source: options.Sources = None,
    transcript: options.Transcript = None,
    stream: options.StreamOption = None,
    topics: options.MapOption = None,
    clock: options.ClockOption = "auto",
    asr: options.Asr = False,
    asr_model: AsrModelOption = ASR_MODEL,
    window: options.WindowOption = None,
    hop: options.HopOption = None,
    drop: options.DropOption = None,
    output: options.OutputOption = None,
    annotate: options.Annotate = None,
    plot: options.Plot = None,
    device: DeviceOption = None,
    threads: PlannedThreadsOption = None,
    unverified: options.Unverified = False,
    rebuild: options.Rebuild = False,
    require_signature: RequireSignatureOption = None,
    deadline: options.Deadline = 50.0,
    live: options.Live = False,
    video: options.Video = None,
    audio: options.Audio = None,
    serve: options.Serve = None,
    token_file: options.TokenFile = None,
    tls_certificate: options.TlsCertificate = None,
    tls_key: options.TlsKey = None,
    events: options.Events = None,
    push: options.Push = None,
    mqtt: options.Mqtt = None,
    ros_publish: options.RosPublish = None,
    record: options.Record = None,
    lossless: options.Lossless = False,
    foxglove: options.Foxglove = None,
    foxglove_layout: options.FoxgloveLayout = None,
    duration: options.Duration = None,
    loop: options.Loop = False,
    config: options.Config = None,
    override: options.Override = None,
) -> None:
    """Run a bundle on files or live sources: a prediction a hop, as a JSON line. A token stands in for a lost stream.

    Files run as fast as they can be read, several side by side. Live sources, and files with --live or --serve, run
    on the clock until they are stopped: Ctrl-C ends them with their last predictions written.
    """
    given = Given(**locals())  # each parameter is a field of the same name
    (_run_live if given.is_live else _run_files)(given)


def _run_files(given: Given) -> None:
    from taemi_edge.runtime.files import run_file, run_together
    from taemi_edge.runtime.json_lines import JsonLines

    if given.bundle is None or not (given.source or given.stream or given.transcript):
        raise UsageError("expected a bundle and at least one source: taemi-edge run BUNDLE SOURCE...")
    sources = [Path(text) for text in given.source or ()]
    if len(sources) > 1 and (given.transcript or given.annotate or given.plot):
        raise UsageError("--transcript, --annotate and --plot belong to one source: run the files one by one")
    if given.plot is not None:
        from taemi_edge.pictures import check_plot_file
        from taemi_edge.runtime.timeline import plot_timeline

        check_plot_file(given.plot)
    run_options = given.run_options()
    bundle = _open_bundle(given.bundle, given.rebuild, given.unverified, given.require_signature)
    with ExitStack() as stack:
        lines, progress = stack.enter_context(JsonLines(given.output)), stack.enter_context(shown_progress())
        if (viewer := _recording(given, bundle)) is not None:
            run_options = replace(run_options, viewer=stack.enter_context(viewer))
        if len(sources) > 1:
            print_fleet_summary(run_together(bundle, sources, run_options, lines, progress))
            return
        source = sources[0] if sources else None
        summary = run_file(bundle, source, run_options, lines, progress)
    name = ", ".join(map(str, (*sources, *run_options.streams.values()))) or str(given.transcript)
    print_summary(name, summary)
    if given.plot is not None:
        shown = f"{bundle.manifest.name} on {source.name if source else name}"
        plot_timeline(summary.predictions, given.plot, shown, bundle.manifest.outputs)


def _recording(given: Given, bundle: Bundle) -> FileRecording | None:
    """What `--record` and `--foxglove-layout` ask of a run over files: it is recorded from its first hop on."""
    table = given.recording()
    if table is None and given.foxglove_layout is None:
        return None
    from taemi_edge.live.outputs.channels.output import FileRecording
    from taemi_edge.live.viewer_config import McapConfig

    return FileRecording(bundle, McapConfig(**(table or {})), given.foxglove_layout)


def _run_live(given: Given) -> None:
    from msgspec.structs import replace as changed

    from taemi_edge.live.run import run_live

    if given.plot is not None:
        raise UsageError("--plot draws files that have an end: leave it out, and watch a live run with --serve")
    settings = given.live_settings()
    if not settings.bundle:
        raise UsageError("expected a bundle: name its folder first, or as `bundle` in the file of --config")
    _log_to_stderr()
    open_later = partial(
        _open_bundle, rebuild=False, unverified=settings.unverified, require_signature=settings.require_signature
    )
    named = chosen_bundle(Path(settings.bundle))
    followed = _followed_link(named, open_later)
    folder = named if followed is None else followed.link.parent / followed.target
    bundle = _open_bundle(folder, given.rebuild, settings.unverified, settings.require_signature)
    settings = changed(settings, output=settings.output or "-")
    _say_webcams([*(given.source or ()), given.video or ""])
    summary = run_live(bundle, settings, on_serving=_say_address, followed=followed)
    print_live_summary(summary)
    with _ending_despite_busy_threads():
        # A service manager that stops a service in good order would take another exit code for a failure of it.
        if not (summary.told_to_stop and os.environ.get("NOTIFY_SOCKET")):
            require_data(summary)


def _say_webcams(sources: Sequence[str]) -> None:
    """Say which device a number stands for, since it might have been meant as a file."""
    from taemi_edge.live.capture.addresses import split_name, webcam_of

    for text in sources:
        if device := webcam_of(split_name(text)[1]):
            note(f"{text} is the webcam {device}")


def _say_address(url: str) -> None:
    """Say where to watch: with a browser, or with Foxglove."""
    note(f"connect Foxglove to {url}" if url.startswith("ws") else f"watch it at {url}")


def _followed_link(place: Path, open_it: Callable[[Path], Bundle]) -> FollowedLink | None:
    """The link that the user named as the bundle; None where it is a folder."""
    from taemi_edge.live.takeover import FollowedLink

    try:
        return FollowedLink(place, os.readlink(place), open_it)
    except OSError:
        return None


def _open_bundle(folder: Path, rebuild: bool, unverified: bool, require_signature: Path | str | None) -> Bundle:
    """Open a bundle, with engines built anew where `--rebuild` asks for it and they belong to another machine."""
    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.bundle.trusted_keys import required_key
    from taemi_edge.runtime.sessions import require_verified

    key = required_key(require_signature)
    bundle = open_bundle(folder, require_signature=key)
    if rebuild:
        from taemi_edge.engines.build import rebuild_if_foreign

        with shown_progress() as progress:
            bundle = rebuild_if_foreign(bundle, progress, require_signature=key)
    require_verified(bundle, unverified)
    note_training(bundle)
    return bundle


@contextmanager
def _ending_despite_busy_threads() -> Iterator[None]:
    """Say how a run ended, and end the process at once where a thread of a driver or the recogniser still works.

    So does a thread that opens a model. Everything is written by now, and native code that runs on while Python shuts
    down crashes.
    """
    failure: TaemiError | None = None
    try:
        yield
    except TaemiError as error:
        failure = error
    hanging = [
        t.name for t in threading.enumerate() if t.daemon and t.name.startswith(("capture-", "recognise", "follow"))
    ]
    if hanging:
        logging.getLogger("taemi_edge.live").info("left behind at work: %s", ", ".join(hanging))
        code = 0 if failure is None else say_error(failure, failure)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if failure is not None:
        raise failure


def _log_to_stderr() -> None:
    """Write changes of presence, problems and how far engines are warmed up on standard error, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("taemi_edge.live", WARM_UP, THREADS):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
    logging.getLogger("taemi_edge.live").propagate = False
