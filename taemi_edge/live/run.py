"""Makes live predictions: opens the sources, the model and the outputs of a configuration, runs the loop, closes all.

`run_live` serves the command line and programs. It prints nothing by itself, apart from what an output of the
configuration writes to standard output; what goes wrong on the way goes to the logger `taemi_edge.live`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from taemi_edge.bundle.atomic import claimed
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import VideoSpec
from taemi_edge.errors import UsageError
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.config import LiveConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.load import LoadControl, ladder
from taemi_edge.live.loop import HopCounts, LiveLoop
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.opening import open_outputs
from taemi_edge.live.outputs.output import Output
from taemi_edge.live.service_report import follow
from taemi_edge.live.source_opening import (
    make_live_source,
    start_listeners,
    start_recognisers,
)
from taemi_edge.live.source_plans import describe_source, plan_sources, require_tokenizers
from taemi_edge.live.stopping import stopping_on_signals
from taemi_edge.live.takeover import FollowedLink, ModelFollower, Surroundings, model_id
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.window import Source

log = logging.getLogger("taemi_edge.live")


@dataclass
class LiveSummary:
    """What a live run did.

    Attributes:
        counts: how the hops went.
        seconds: how long the session was.
        reconnects: connections after the first one of each address.
        failures: connections that were lost or refused.
        degraded_s: for how long the machine could not carry all, in seconds.
        degraded: why, the last time; None where it always could.
        losses: what outputs could not write, left out or counted otherwise, by name.
        lost: why the device was given up on the way; None where it was not.
        silent: the sources that never gave anything, each with the last reason.
        sources: how many sources there were.
        told_to_stop: whether a signal or the caller ended it.
    """

    counts: HopCounts
    seconds: float
    reconnects: int
    failures: int
    degraded_s: float = 0.0
    degraded: str | None = None
    losses: dict[str, int] = field(default_factory=dict)
    lost: str | None = None
    silent: dict[str, str] = field(default_factory=dict)
    sources: int = 0
    told_to_stop: bool = False


def ignore_address(_url: str) -> None:
    """Do nothing with the address of the page: the default of `run_live`."""


def run_live(
    bundle: Bundle,
    config: LiveConfig,
    *,
    on_serving: Callable[[str], None] = ignore_address,
    stop: threading.Event | None = None,
    outputs: Sequence[Output] = (),
    followed: FollowedLink | None = None,
) -> LiveSummary:
    """Run until the end of `config.duration_s`, the end of all files, or until the run is stopped.

    Without `stop`, SIGTERM and SIGINT end the run (where this is the main thread). With `stop`, no signal handler is
    installed, and setting the event ends the run with its last predictions written.

    Args:
        bundle: the model.
        config: sources, outputs and times. `config.output` "" writes no predictions, "-" to standard output.
        on_serving: called with the address of the page, and with the one that Foxglove opens, once it is served.
        stop: set by the caller, from any thread, to end the run.
        outputs: further outputs, which are closed at the end. They get every result in the thread of this call, and an
            exception of theirs there ends the run and is passed on. They get events also from the thread that watches
            for losses, where an exception is logged.
        followed: the link that `bundle` was found by: where it points elsewhere later, that model is taken up.

    Returns:
        What the run did.

    Raises:
        UsageError: an unknown scheme, a port in use, an address that needs a token, or a hop longer than the window.
        MissingExtraError: an output or the recogniser needs a library that is not installed.
        MediaError: a file is not there.
        TranscriptError: a transcript cannot be read.
        BackendError: the device cannot run the bundle, or failed and nothing could take over.
        OutputError: a file cannot be written.
    """
    bundle = _with_presence(bundle, config)
    with ExitStack() as stack:
        stack.enter_context(claimed(*_places(config)))
        state = _open_loop(stack, bundle, config, stop, followed)
        context = OutputContext(stack, config, state, on_serving)
        open_outputs(context)
        for output in outputs:
            context.add(output)
        if state.follower is not None:
            follow(stack, state, state.follower)
        with stopping_on_signals(state.loop.stopping) if stop is None else nullcontext():
            _run_loop(state.loop, config)
        return _summary(state)


def _places(config: LiveConfig) -> list[Path]:
    """The files and folders that a run writes to."""
    named = [config.output, config.events, config.annotate, config.record.folder if config.record else None]
    named += [config.mcap.file if config.mcap else None, config.foxglove.layout if config.foxglove else None]
    return [Path(place) for place in named if place and place != "-"]


def _with_presence(bundle: Bundle, config: LiveConfig) -> Bundle:
    """The bundle with the presence times of the configuration."""
    streams = dict(bundle.manifest.streams)
    if unknown := [name for name in config.presence if name not in streams]:
        raise UsageError(f"presence.{unknown[0]}: expected one of {', '.join(streams)}, got {unknown[0]!r}")
    for name, spec in config.presence.items():
        streams[name] = msgspec.structs.replace(streams[name], presence=spec)
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, streams=streams))


def _open_loop(
    stack: ExitStack, bundle: Bundle, config: LiveConfig, stop: threading.Event | None, followed: FollowedLink | None
) -> LiveState:
    """Open the model and the sources; the loop that comes back has no outputs yet."""
    manifest = bundle.manifest
    window_s, hop_s = _window_and_hop_s(manifest, config)
    plans = plan_sources(config, manifest.streams)
    require_tokenizers(plans, bundle)
    open_fleet = partial(_open_fleet, config, [describe_source(plan, config) for plan in plans], followed is not None)
    fleet = stack.enter_context(open_fleet(bundle))
    clock = SessionClock()  # opening engines takes long, and is no part of the session
    sources = [make_live_source(plan, config, manifest.streams, hop_s, clock) for plan in plans]
    state = LiveState(LiveLoop(fleet, sources, clock, hop_s, config.settle_s, stop), manifest, model_id(bundle))
    if config.load.shed:
        videos = [spec for spec in manifest.streams.values() if isinstance(spec, VideoSpec)]
        state.loop.load = LoadControl(hop_s, ladder(hop_s, window_s, videos))
    if followed is not None:
        restart = state.loop.stopping.set if os.environ.get("NOTIFY_SOCKET") else None
        run = Surroundings(
            open_fleet=lambda new: open_fleet(_with_presence(new, config)),
            announce=state.loop.announce,
            missed=lambda: state.loop.counts.missed,
            hop_s=hop_s,
            restart=restart,
        )
        state.loop.successor = state.follower = follower = ModelFollower(followed, fleet, run)
        stack.callback(lambda: follower.fleet.close())  # by then it may be another one
    start_listeners(stack, plans, state)
    start_recognisers(stack, plans, state, config.asr_model)
    return state


def _open_fleet(config: LiveConfig, sources: Sequence[Source], follows: bool, bundle: Bundle) -> Fleet:
    """Open a bundle for the sources of a run; where it may give way to another one, any thread may use it."""
    window_s, hop_s = _window_and_hop_s(bundle.manifest, config)
    times = {"window_s": window_s, "hop_s": hop_s}
    fleet = Fleet(bundle, sources, device=config.device, threads=config.threads, own_thread=follows, **times)
    fleet.model_id = model_id(bundle) if follows else ""
    return fleet


def _window_and_hop_s(manifest: Manifest, config: LiveConfig) -> tuple[float, float]:
    window_s = config.window_s or manifest.window.length_s
    hop_s = config.hop_s or manifest.window.hop_s
    if hop_s > window_s:
        raise UsageError(f"expected a hop no longer than the window, got {hop_s:g} s and {window_s:g} s")
    return window_s, hop_s


def _run_loop(loop: LiveLoop, config: LiveConfig) -> None:
    loop.run(config.duration_s)
    if config.serve is not None and config.duration_s is None and not loop.stopping.is_set():
        log.warning("all files are through; the page stays until the run is stopped")
        loop.stopping.wait()


def _summary(state: LiveState) -> LiveSummary:
    loop = state.loop
    captures = [capture for source in loop.sources for capture in source.captures]
    return LiveSummary(
        counts=loop.counts,
        seconds=loop.clock.now_s(),
        reconnects=sum(capture.reconnects for capture in captures),
        failures=sum(capture.failures for capture in captures),
        degraded_s=round(loop.load.degraded_s, 1),
        degraded=loop.load.last_reason,
        losses={name: count() for name, count in state.counters.items()},
        lost=loop.fleet.lost,
        silent={source.name: _reason(state, source.name) for source in loop.sources if not source.gave},
        sources=len(loop.sources),
        told_to_stop=loop.stopping.is_set(),
    )


def _reason(state: LiveState, source: str) -> str:
    """Why the streams of a source are missing, as it was last known."""
    reasons = dict.fromkeys(reason for _, reason in state.loop.states.of(source).values() if reason)
    return ", ".join(reasons) or "nothing came"
