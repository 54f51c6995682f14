"""A live run's configuration in; sources, loop and outputs put together, run, and closed in order."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Modality
from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.live.capture.addresses import Address, parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.loop import HopCounts, LiveLoop
from taemi_edge.live.outputs.base import AnnotatedFile, EventLines, InThread, PredictionLines
from taemi_edge.live.outputs.systemd import ServiceNotifier
from taemi_edge.live.source import LiveSource
from taemi_edge.live.words import LineListener, WordInbox
from taemi_edge.media.rehearsed_losses import parse_drop
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.runtime.json_lines import JsonLines
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.window import Source

log = logging.getLogger("taemi_edge.live")

#: How long sound that arrives late is waited for.
_PATIENCE_S = 1.0
_BOTH: frozenset[Modality] = frozenset({"vision", "audio"})


@dataclass
class LiveSummary:
    """What a live run did."""

    counts: HopCounts
    seconds: float
    reconnects: int
    failures: int
    #: What could not be written or was left out, by output.
    losses: dict[str, int] = field(default_factory=dict)
    #: Why the device was given up on the way; None where it was not.
    lost: str | None = None


def run_live(bundle: Bundle, config: LiveConfig, on_serving: Callable[[str], None] = lambda _: None) -> LiveSummary:
    """Run until SIGTERM, SIGINT, the end of `duration_s`, or the end of all files.

    Args:
        on_serving: told the page's address.

    Raises:
        UsageError: an unknown scheme, a port in use, an address that needs a token, a missing extra.
        MediaError, TranscriptError, BackendError, OutputError: see there.
    """
    bundle = _with_presence(bundle, config)
    manifest = bundle.manifest
    hop_s = config.hop_s or manifest.window.hop_s
    window_s = config.window_s or manifest.window.length_s
    if hop_s > window_s:
        raise UsageError(f"expected a hop no longer than the window, got {hop_s:g} s and {window_s:g} s")
    addresses = {source.name: _addresses(source) for source in config.source}
    with ExitStack() as stack:
        inboxes = {s.name: WordInbox("nobody has sent a transcript yet") for s in config.source if _is_live_text(s)}
        words = {source.name: _words(source) for source in config.source}
        described = [_describe(source, config, addresses[source.name], words[source.name]) for source in config.source]
        fleet = stack.enter_context(
            Fleet(bundle, described, device=config.device, threads=config.threads, window_s=window_s, hop_s=hop_s)
        )
        clock = SessionClock()  # opening engines takes long, and is no part of the session
        keeps_all = bool(config.annotate or config.push)
        sources = []
        for source in config.source:
            rate = None if keeps_all else manifest.vision.frames_per_second
            mailbox = Mailbox(manifest.audio.sample_rate_hz, rate, keep_s=2 * hop_s + 1.0)
            captures = [
                Capture(source.name, address, modalities, mailbox, clock, config.watch, again=config.loop)
                for address, modalities in addresses[source.name]
            ]
            sources.append(LiveSource(source.name, captures, mailbox, config.watch, inboxes.get(source.name)))
        loop = LiveLoop(fleet, sources, clock, hop_s, config.settle_s, [])
        state = LiveState(loop)
        _listen(stack, config, state, inboxes, clock)
        _recognise(stack, config, state, inboxes, manifest.audio.sample_rate_hz)
        _open_outputs(stack, config, state, manifest.audio.sample_rate_hz, on_serving)
        with _stopping_on_signals(loop.stopping):
            loop.run(config.duration_s)
            if config.serve is not None and config.duration_s is None and not loop.stopping.is_set():
                log.warning("all files are through; the page stays until the run is stopped")
                loop.stopping.wait()
        captures = [capture for source in sources for capture in source.captures]
        return LiveSummary(
            counts=loop.counts,
            seconds=clock.now_s(),
            reconnects=sum(capture.reconnects for capture in captures),
            failures=sum(capture.failures for capture in captures),
            losses={name: count() for name, count in state.counters.items()},
            lost=fleet.lost,
        )


def _with_presence(bundle: Bundle, config: LiveConfig) -> Bundle:
    """The bundle with the presence times of the configuration."""
    changes: dict[str, Any] = {
        m: msgspec.structs.replace(getattr(bundle.manifest, m), presence=spec) for m, spec in config.presence.items()
    }
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, **changes)) if changes else bundle


def _addresses(source: SourceConfig) -> list[tuple[Address, frozenset[Modality]]]:
    """Where a source's streams come from; all of them are checked before anything is opened."""
    if source.uri:
        return [(parse_address(source.uri), _BOTH)]
    given: list[tuple[str, Modality]] = [(source.video, "vision"), (source.audio, "audio")]
    return [(parse_address(text), frozenset({modality})) for text, modality in given if text]


def _is_live_text(source: SourceConfig) -> bool:
    return source.asr or source.transcript == "-" or source.transcript.startswith("unix:")


def _words(source: SourceConfig) -> list[Word]:
    """What is known beforehand of what will be said."""
    if not source.transcript or _is_live_text(source):
        return []
    return read_transcript(Path(source.transcript), None)


def _describe(
    source: SourceConfig,
    config: LiveConfig,
    addresses: Sequence[tuple[Address, frozenset[Modality]]],
    words: list[Word],
) -> Source:
    served = frozenset[Modality]().union(*(modalities for _, modalities in addresses))
    absent = {m: f"no source of {m} was given" for m in ("vision", "audio") if m not in served}
    if not words and not _is_live_text(source):
        absent["text"] = "no transcript was given"
    for address, _ in addresses:
        if not address.is_live:
            again = "again and again" if config.loop else "once: --loop plays it again and again"
            log.warning("%s: %s is a file: it is played at its own pace, %s", source.name, address.shown, again)
    return Source(source.name, tuple(words), tuple(map(parse_drop, config.drop)), absent, _PATIENCE_S)


def _listen(
    stack: ExitStack, config: LiveConfig, state: LiveState, inboxes: dict[str, WordInbox], clock: SessionClock
) -> None:
    """Open every place that transcripts come from; sources may share one."""
    places: dict[str, dict[str, WordInbox]] = {}
    for source in config.source:
        if _is_live_text(source) and not source.asr:
            places.setdefault(source.transcript, {})[source.name] = inboxes[source.name]
    for place, shared in places.items():
        listener = LineListener(place, shared, clock)
        stack.callback(listener.stop)
        listener.start()
        state.listeners.append(listener)


def _recognise(
    stack: ExitStack,
    config: LiveConfig,
    state: LiveState,
    inboxes: dict[str, WordInbox],
    sample_rate_hz: int,
) -> None:
    """Start a recogniser for each source that asks for one."""
    for described, source in zip(config.source, state.loop.sources, strict=True):
        if described.asr:
            from taemi_edge.live.recognition import LiveRecogniser

            recogniser = LiveRecogniser(inboxes[source.name], config.asr_model, sample_rate_hz)
            stack.callback(recogniser.stop)
            source.on_sound = recogniser.hear
            name = f"seconds of {source.name} that were not recognised in time"
            state.counters[name] = recogniser.seconds_given_up


def _open_outputs(
    stack: ExitStack, config: LiveConfig, state: LiveState, sample_rate_hz: int, on_serving: Callable[[str], None]
) -> None:
    """Everything that predictions and events go to; the page last, when all it shows is there."""
    loop, counters = state.loop, state.counters
    predictions = PredictionLines(stack.enter_context(JsonLines(_path(config.output), append=True)), "predictions")
    loop.outputs.append(predictions)
    counters["prediction lines lost"] = lambda: predictions.lost
    if config.events:
        events = EventLines(stack.enter_context(JsonLines(_path(config.events), append=True)), "events")
        loop.outputs.append(events)
        counters["event lines lost"] = lambda: events.lost
    if config.annotate:
        _add_slow(stack, state, AnnotatedFile(Path(config.annotate), sample_rate_hz), "annotated video")
    if config.push:
        from taemi_edge.live.outputs.push import Push

        push = Push(config.push, sample_rate_hz)
        _add_slow(stack, state, push, "push")
        counters["push connections"] = lambda: push.connections
    if config.record is not None:
        from taemi_edge.live.outputs.record import Recorder

        recorder = Recorder(config.record, sample_rate_hz)
        _add_slow(stack, state, recorder, "recording")
        counters["clips recorded"] = lambda: recorder.written
    if config.mqtt is not None:
        from taemi_edge.live.outputs.mqtt import MqttOutput

        mqtt = MqttOutput(config.mqtt)
        stack.callback(mqtt.close)
        loop.outputs.append(mqtt)
    notifier = ServiceNotifier(loop.counts)
    stack.callback(notifier.close)
    loop.outputs.append(notifier)
    if config.serve is not None:
        try:
            from taemi_edge.live.outputs.prometheus import Metrics
            from taemi_edge.live.page.server import PageServer, find_token
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "serve", "--serve") from error
        metrics = Metrics(state)
        page = PageServer(config.serve, find_token(config.serve), state, metrics)
        stack.callback(page.close)
        loop.outputs += [metrics, page]
        on_serving(page.url)


def _add_slow(stack: ExitStack, state: LiveState, output: Any, name: str) -> None:
    threaded = InThread(output, name)
    stack.callback(threaded.close)
    state.loop.outputs.append(threaded)
    state.counters[f"{name} moments left out"] = lambda: threaded.left_out


def _path(text: str) -> Path | None:
    return Path(text) if text and text != "-" else None


@contextmanager
def _stopping_on_signals(stopping: threading.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT ends the run with its last predictions written; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def tell(name: str) -> None:
        log.warning("stopping on %s", name)
        stopping.set()

    def stop(number: int, _frame: object) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        # The main thread may hold the event's lock, or the log's, at this very moment: another one can wait for them.
        threading.Thread(target=tell, args=(signal.Signals(number).name,), name="stopping", daemon=True).start()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
