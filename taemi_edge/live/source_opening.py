"""Opens the sources of a live run: checks their addresses, and connects captures, transcripts and recognisers.

Everything that can be wrong with what the user typed is found by `plan_sources`, before a model is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from taemi_edge.bundle.spec import Manifest, Modality
from taemi_edge.live.capture.addresses import Address, parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.source import LiveSource
from taemi_edge.live.words import LineListener, WordInbox
from taemi_edge.media.rehearsed_losses import parse_drop
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.runtime.window import Source

log = logging.getLogger("taemi_edge.live")

#: How long sound that arrives late is waited for.
_LATE_SOUND_S = 1.0
_BOTH: frozenset[Modality] = frozenset({"vision", "audio"})


@dataclass(frozen=True)
class SourcePlan:
    """A source of the configuration, checked: where each of its streams comes from.

    Attributes:
        config: the source as it was configured.
        addresses: what to connect to, each with the modalities that are taken from it.
        words: the transcript, where all of it is known beforehand.
        inbox: where the words of a live transcript arrive; None where there is no live transcript.
    """

    config: SourceConfig
    addresses: tuple[tuple[Address, frozenset[Modality]], ...]
    words: tuple[Word, ...]
    inbox: WordInbox | None

    @property
    def name(self) -> str:
        """The name of the source in predictions."""
        return self.config.name


def plan_sources(config: LiveConfig) -> list[SourcePlan]:
    """Check the addresses of all sources and read the transcripts that are files. Nothing is connected yet.

    Raises:
        UsageError: an address has an unknown scheme.
        MediaError: a file is not there.
        TranscriptError: a transcript cannot be read.
    """
    addresses = [_addresses(source) for source in config.source]
    return [
        SourcePlan(source, found, _known_words(source), _inbox(source))
        for source, found in zip(config.source, addresses, strict=True)
    ]


def describe_source(plan: SourcePlan, config: LiveConfig) -> Source:
    """What the runtime must know of a source: its name, its transcript, and which streams it will never have."""
    served = frozenset[Modality]().union(*(modalities for _, modalities in plan.addresses))
    absent = {m: f"no source of {m} was given" for m in ("vision", "audio") if m not in served}
    if not plan.words and plan.inbox is None:
        absent["text"] = "no transcript was given"
    for address, _ in plan.addresses:
        if not address.is_live:
            again = "again and again" if config.loop else "once: --loop plays it again and again"
            log.warning("%s: %s is a file: it is played at its own pace, %s", plan.name, address.shown, again)
    return Source(plan.name, plan.words, tuple(map(parse_drop, config.drop)), absent, _LATE_SOUND_S)


def make_live_source(
    plan: SourcePlan, config: LiveConfig, manifest: Manifest, hop_s: float, clock: SessionClock
) -> LiveSource:
    """The captures and the mailbox of a source. They connect when the loop starts them."""
    keeps_all = bool(config.annotate or config.push)  # a video needs more frames than the model does
    frames_per_second = None if keeps_all else manifest.vision.frames_per_second
    mailbox = Mailbox(manifest.audio.sample_rate_hz, frames_per_second, keep_s=2 * hop_s + 1.0)
    captures = [
        Capture(CaptureSpec(plan.name, address, modalities, config.loop), mailbox, clock, config.watch)
        for address, modalities in plan.addresses
    ]
    return LiveSource(plan.name, captures, mailbox, config.watch, plan.inbox)


def start_listeners(stack: ExitStack, plans: Sequence[SourcePlan], state: LiveState) -> None:
    """Listen at every place that live transcripts come from; sources may share one.

    Raises:
        UsageError: a socket cannot be made.
    """
    places: dict[str, dict[str, WordInbox]] = {}
    for plan in plans:
        if plan.inbox is not None and not plan.config.asr:
            places.setdefault(plan.config.transcript, {})[plan.name] = plan.inbox
    for place, inboxes in places.items():
        listener = LineListener(place, inboxes, state.loop.clock)
        stack.callback(listener.stop)
        listener.start()
        state.listeners.append(listener)


def start_recognisers(
    stack: ExitStack, plans: Sequence[SourcePlan], state: LiveState, model: str, sample_rate_hz: int
) -> None:
    """Start speech recognition for each source that asks for it.

    Args:
        stack: stops the recognisers when the run ends.
        plans: in the order of the sources of `state.loop`.
        state: gets a count of the sound that was not recognised in time.
        model: the name or the folder of the recogniser's model.
        sample_rate_hz: the rate of the sound that the sources give.

    Raises:
        MissingExtraError: the extra `asr` is not installed.
        InputError: the model cannot be opened.
    """
    for plan, source in zip(plans, state.loop.sources, strict=True):
        if plan.config.asr and plan.inbox is not None:
            from taemi_edge.live.recogniser import LiveRecogniser

            recogniser = LiveRecogniser(plan.inbox, model, sample_rate_hz)
            stack.callback(recogniser.stop)
            source.on_sound = recogniser.hear
            name = f"seconds of {source.name} that were not recognised in time"
            state.counters[name] = recogniser.seconds_given_up


def _addresses(source: SourceConfig) -> tuple[tuple[Address, frozenset[Modality]], ...]:
    if source.uri:
        return ((parse_address(source.uri), _BOTH),)
    given: list[tuple[str, Modality]] = [(source.video, "vision"), (source.audio, "audio")]
    return tuple((parse_address(text), frozenset({modality})) for text, modality in given if text)


def _has_live_text(source: SourceConfig) -> bool:
    return source.asr or source.transcript == "-" or source.transcript.startswith("unix:")


def _known_words(source: SourceConfig) -> tuple[Word, ...]:
    if not source.transcript or _has_live_text(source):
        return ()
    return tuple(read_transcript(Path(source.transcript), None))


def _inbox(source: SourceConfig) -> WordInbox | None:
    return WordInbox("nobody has sent a transcript yet") if _has_live_text(source) else None
