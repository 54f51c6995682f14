"""Opens the sources of a live run: captures, replayed files, what listens for lines, and speech recognisers.

`source_plans` has decided before what each stream comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from taemi_edge.bundle.streams import SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import UsageError
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.delivery import CaptureBox
from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox, StreamBox
from taemi_edge.live.config import LiveConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.lines import LineListener, LineParser
from taemi_edge.live.replay import SeriesReplay, round_length_s
from taemi_edge.live.series_lines import SeriesLines
from taemi_edge.live.source import LiveSource, kept_for_s
from taemi_edge.live.source_plans import SourcePlan
from taemi_edge.live.words import TranscriptLines, WordInbox
from taemi_edge.media.recognition import SAMPLE_RATE_HZ


def make_live_source(
    plan: SourcePlan, config: LiveConfig, streams: Mapping[str, StreamSpec], hop_s: float, clock: SessionClock
) -> LiveSource:
    """The captures and the boxes of a source. The captures connect when the loop starts them."""
    boxes = {name: box for name, spec in streams.items() if (box := _box(name, spec, plan, config, hop_s)) is not None}
    captures = []
    for address, tracks in plan.media:
        fed = {stream: box for stream in tracks if isinstance(box := boxes[stream], CaptureBox)}
        one = streams[next(iter(tracks))] if address.feeds_one_stream else None
        captures.append(Capture(CaptureSpec(plan.name, address, tracks, config.loop, one), fed, clock, config.watch))
    until_s = max((words[-1].end_s for words in plan.words.values() if words), default=0.0)
    return LiveSource(plan.name, captures, boxes, config.watch, until_s)


def _box(name: str, spec: StreamSpec, plan: SourcePlan, config: LiveConfig, hop_s: float) -> StreamBox | None:
    """Where the data of a stream waits; None where none will come on the way."""
    keep_s = kept_for_s(hop_s)
    is_captured = any(name in tracks for _, tracks in plan.media)
    if isinstance(spec, TextSpec):
        if is_captured:
            return WordInbox(None)
        return WordInbox("nobody has sent a transcript yet") if name in plan.lines or name in plan.heard else None
    if isinstance(spec, SeriesSpec):
        if is_captured:
            return RowBox(spec.channels, keep_s, None)
        if name in plan.series:
            longest_s = max(round_length_s(times_s) for times_s, _ in plan.series.values())  # they stay in step
            return SeriesReplay(*plan.series[name], repeat_s=longest_s if config.loop else None)
        return RowBox(spec.channels, keep_s, f"nobody has sent {name} yet") if name in plan.lines else None
    if not is_captured:
        return None
    if isinstance(spec, VideoSpec):
        keeps_all = bool(config.annotate or config.push)  # a video needs more frames than the model does
        return FrameBox(None if keeps_all else spec.frames_per_second, keep_s)
    return SoundBox(spec.sample_rate_hz, keep_s)


def start_listeners(stack: ExitStack, plans: Sequence[SourcePlan], state: LiveState) -> None:
    """Listen at every place that lines come from; streams and sources may share one.

    Raises:
        UsageError: a socket cannot be made, or words and rows were to come from one place.
    """
    places = dict.fromkeys(place for plan in plans for place in plan.lines.values())
    for place in places:
        parser = _parser(place, plans, state)
        listener = LineListener(place, parser)
        stack.callback(listener.stop)
        listener.start()
        state.listeners.append(listener)


def _parser(place: str, plans: Sequence[SourcePlan], state: LiveState) -> LineParser:
    """What takes the lines of a place, for all streams of all sources that it feeds."""
    words: dict[str, list[WordInbox]] = {}
    rows: dict[str, dict[str, RowBox]] = {}
    for plan, source in zip(plans, state.loop.sources, strict=True):
        for stream in (stream for stream, at in plan.lines.items() if at == place):
            box = source.boxes[stream]
            if isinstance(box, WordInbox):
                words.setdefault(plan.name, []).append(box)
            elif isinstance(box, RowBox):
                rows.setdefault(plan.name, {})[stream] = box
    if words and rows:
        raise UsageError(f"{place}: expected words or rows of series to come from one place, not both: use two sockets")
    clock = state.loop.clock
    return TranscriptLines(words, clock) if words else SeriesLines(rows, clock)


def start_recognisers(stack: ExitStack, plans: Sequence[SourcePlan], state: LiveState, model: str) -> None:
    """Start speech recognition for each source that asks for it.

    Args:
        stack: stops the recognisers when the run ends.
        plans: in the order of the sources of `state.loop`.
        state: gets a count of the sound that was not recognised in time.
        model: the name or the folder of the recogniser's model.

    Raises:
        MissingExtraError: the extra `asr` is not installed.
        InputError: the model cannot be opened.
    """
    for plan, source in zip(plans, state.loop.sources, strict=True):
        if plan.listens_to is None:
            continue
        from taemi_edge.live.recogniser import LiveRecogniser

        inboxes = [box for stream in plan.heard if isinstance(box := source.boxes[stream], WordInbox)]
        recogniser = LiveRecogniser(inboxes, model, SAMPLE_RATE_HZ)
        stack.callback(recogniser.stop)
        source.taps[plan.listens_to] = recogniser.hear
        name = f"seconds of {source.name} that were not recognised in time"
        state.counters[name] = recogniser.seconds_given_up
