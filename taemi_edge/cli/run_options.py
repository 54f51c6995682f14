"""The options of `taemi-edge run`, and what they ask for: a run over files, or a live run.

`Given` holds what the user typed. `Given.is_live` decides which kind of run it is; `Given.run_options` and
`Given.live_settings` build what the library takes for each kind. Nothing heavy is imported at the top.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from taemi_edge.cli.options import (
    ASR_MODEL,
    AsrModelOption,
    DeviceOption,
    PlannedThreadsOption,
    RequireSignatureOption,
    device_name,
    recipe_changes,
)
from taemi_edge.cli.source_names import is_plain_name, named_sources
from taemi_edge.errors import UsageError

if TYPE_CHECKING:
    from taemi_edge.live.config import LiveConfig
    from taemi_edge.runtime.files import RunOptions

#: The panel of `--help` for options that only live runs have. Typing one of them makes a run live.
LIVE_PANEL = "Live sources alone"
#: They say how `--serve` serves: alone they make no run live.
_DETAILS_OF_SERVE = {"token_file", "tls_certificate", "tls_key"}


def _live(flag: str, text: str, metavar: str | None = None) -> Any:
    """An option that only live runs have."""
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=LIVE_PANEL)


BundleOption = Annotated[
    Path | None,
    typer.Argument(
        metavar="BUNDLE",
        help="A bundle's folder or name, such as taemi-nano, which ships; with --config it may stand there.",
        show_default=False,
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE...",
        help="Files (video, sound, series), recordings (.mcap, ROS bags), or rtsp:// http:// udp:// tcp:// rtmp://, "
        "v4l2:/dev/video0, alsa:default, pulse:default, 'gst:... ! appsink', a sensor (see --stream); NAME=SOURCE "
        "names one.",
        show_default=False,
    ),
]
Transcript = Annotated[
    str | None,
    typer.Option(
        "--transcript",
        metavar="F",
        help="What is said: .vtt, .srt, .txt or .jsonl; live also - (JSON lines on standard input), unix:PATH.",
    ),
]
StreamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stream",
        metavar="NAME=PLACE",
        help="Bind one stream to a place of its own: a file, or live an address; live also - (JSON lines on "
        "standard input), unix:PATH, ros:/TOPIC, and for numbers and words mqtt://HOST/TOPIC, udp://HOST:PORT, "
        "serial:/dev/ttyUSB0; repeatable.",
    ),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=TOPIC",
        help="Recordings: the topic that a stream reads, such as eye=/camera/image_raw or "
        "wrist=/imu/data.linear_acceleration, or a .toml with a table [streams]; repeatable. Others are guessed.",
    ),
]
ClockOption = Annotated[
    Literal["auto", "header", "log"],
    typer.Option(
        "--clock",
        help="Recordings: take the stamps of messages (header), the times of logging (log), or let it choose (auto).",
    ),
]
Asr = Annotated[bool, typer.Option("--asr", help="Recognise the speech with faster-whisper (extra `asr`).")]
WindowOption = Annotated[float | None, typer.Option("--window", metavar="S", help="Seconds a prediction looks back.")]
HopOption = Annotated[float | None, typer.Option("--hop", metavar="S", help="Seconds between predictions.")]
DropOption = Annotated[
    list[str] | None,
    typer.Option(
        "--drop",
        metavar="STREAM@START-END",
        help="Rehearse a loss: vision@2-4 takes the stream vision away from 2 to 4 s; repeatable.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="F.jsonl", help="Where predictions go  [default: standard output]"),
]
Annotate = Annotated[
    Path | None,
    typer.Option(
        "--annotate", metavar="F.mp4", help="Also write the video, with outputs, presence and words drawn on it."
    ),
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="F.png", help="Files: also draw the outputs over time.")]
Unverified = Annotated[bool, typer.Option("--unverified", help="Also run engines that parity has not passed.")]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Build engines anew first if they belong to another library or GPU.")
]
Deadline = Annotated[
    float,
    typer.Option(
        "--deadline", metavar="MS", help="Several files: how long the first hop of a group waits for the others."
    ),
]
Live = Annotated[bool, _live("--live", "Play files at their own pace, like cameras.")]
Video = Annotated[str | None, _live("--video", "Take the picture from this address, and nothing else.", "URI")]
Audio = Annotated[str | None, _live("--audio", "Take the sound from this address, and nothing else.", "URI")]
Serve = Annotated[
    str | None,
    _live(
        "--serve",
        "Serve a page to watch, /healthz and /metrics (extra `serve`); others than loopback need an access token.",
        "HOST:PORT",
    ),
]
TokenFile = Annotated[
    Path | None,
    _live(
        "--token-file", "The file with the access token that clients of the page must show; or TAEMI_EDGE_TOKEN.", "F"
    ),
]
TlsCertificate = Annotated[
    Path | None, _live("--tls-certificate", "Serve the page over HTTPS with this certificate.", "F.pem")
]
TlsKey = Annotated[Path | None, _live("--tls-key", "The key of that certificate.", "F.pem")]
Events = Annotated[Path | None, _live("--events", "Write a line for each change of presence.", "F.jsonl")]
Push = Annotated[str | None, _live("--push", "Send the annotated picture to rtmp:// or rtsp://.", "URL")]
Mqtt = Annotated[str | None, _live("--mqtt", "Publish to a broker (extra `mqtt`).", "HOST:PORT")]
Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="F.mcap|DIR",
        help="Record inputs, predictions and presence, up to 4 GiB (extra `foxglove`). Live, into a folder: clips "
        "around losses, up to 512 MiB.",
    ),
]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless", help="With --record F.mcap: pictures as PNG, sound as floats: a replay predicts the same."
    ),
]
Foxglove = Annotated[
    str | None, _live("--foxglove", "Let Foxglove watch, on loopback (extra `foxglove`).", "HOST:PORT")
]
FoxgloveLayout = Annotated[
    Path | None,
    typer.Option("--foxglove-layout", metavar="F.json", help="Also write a layout for Foxglove to import."),
]
RosPublish = Annotated[
    str | None, _live("--ros-publish", "Publish topics of ROS 2 by Zenoh (extra `zenoh`).", "/NAME[?router=...]")
]
Duration = Annotated[float | None, _live("--duration", "Stop after so many seconds.", "S")]
Loop = Annotated[bool, _live("--loop", "Play files again when they end.")]
Config = Annotated[Path | None, _live("--config", "Read all of this from a file; what is typed wins.", "F.toml")]
Override = Annotated[
    list[str] | None,
    _live("--set", "Any key of --config, such as watch.lost_after_s=3; repeatable.", "KEY=VALUE"),
]


@dataclass(frozen=True)
class Given:
    """What the user typed: one field for each parameter of the command, with the same name and default."""

    bundle: BundleOption = None
    source: Sources = None
    transcript: Transcript = None
    stream: StreamOption = None
    topics: MapOption = None
    clock: ClockOption = "auto"
    asr: Asr = False
    asr_model: AsrModelOption = ASR_MODEL
    window: WindowOption = None
    hop: HopOption = None
    drop: DropOption = None
    output: OutputOption = None
    annotate: Annotate = None
    plot: Plot = None
    device: DeviceOption = None
    threads: PlannedThreadsOption = None
    unverified: Unverified = False
    rebuild: Rebuild = False
    require_signature: RequireSignatureOption = None
    deadline: Deadline = 50.0
    live: Live = False
    video: Video = None
    audio: Audio = None
    serve: Serve = None
    token_file: TokenFile = None
    tls_certificate: TlsCertificate = None
    tls_key: TlsKey = None
    events: Events = None
    push: Push = None
    mqtt: Mqtt = None
    ros_publish: RosPublish = None
    record: Record = None
    lossless: Lossless = False
    foxglove: Foxglove = None
    foxglove_layout: FoxgloveLayout = None
    duration: Duration = None
    loop: Loop = False
    config: Config = None
    override: Override = None

    @property
    def is_live(self) -> bool:
        """Whether this is a live run: a live option was typed, or a source is more than a file."""
        from taemi_edge.live.capture.addresses import looks_live
        from taemi_edge.live.lines import is_line_place

        defaults = {field.name: field.default for field in fields(self)}
        if any(getattr(self, name) != defaults[name] for name in live_option_names()) or self._records_clips:
            return True
        places = [place for place in (self.transcript, *self.streams().values()) if place is not None]
        return any(is_line_place(place) for place in places) or any(
            map(looks_live, (*(self.source or ()), *self.streams().values()))
        )

    @property
    def _records_clips(self) -> bool:
        """Whether `--record` names a folder, for clips around losses."""
        from taemi_edge.live.viewer_config import is_recording

        return self.record is not None and not is_recording(self.record)

    def recording(self) -> dict[str, Any] | None:
        """The table `[mcap]`, as far as it was typed.

        Raises:
            UsageError: `--lossless` stands without a recording, and no file of a configuration may name one.
        """
        if self.lossless and self.config is None and (self.record is None or self._records_clips):
            raise UsageError("--lossless: expected --record FILE.mcap beside it")
        return _present(file=None if self._records_clips else self.record, lossless=self.lossless or None)

    def streams(self) -> dict[str, str]:
        """The places of `--stream`, by the stream's name.

        Raises:
            UsageError: one is not NAME=PLACE, or two have the same name.

        Example:
            >>> Given(stream=["imu=unix:/tmp/imu.sock", "heart=-"]).streams()
            {'imu': 'unix:/tmp/imu.sock', 'heart': '-'}
        """
        from taemi_edge.media.places import shown_place

        places: dict[str, str] = {}
        for text in self.stream or ():
            name, equals, place = text.partition("=")
            if not (name.isidentifier() and equals and place):
                raise UsageError(f"--stream {shown_place(text)}: expected NAME=PLACE, such as imu=unix:/tmp/imu.sock")
            if name in places:
                raise UsageError(f"--stream {name}={shown_place(place)}: expected each stream once, got {name} twice")
            places[name] = place
        return places

    def run_options(self) -> RunOptions:
        """The options of a run over files.

        Raises:
            UsageError: a value is out of range, or options contradict each other.
        """
        from taemi_edge.media.recordings.recorded_clock import clock_named
        from taemi_edge.media.recordings.topic_map import read_map
        from taemi_edge.media.rehearsed_losses import parse_drop
        from taemi_edge.runtime.files import RunOptions

        return RunOptions(
            transcript=None if self.transcript is None else Path(self.transcript),
            asr=self.asr,
            asr_model=self.asr_model,
            window_s=self.window,
            hop_s=self.hop,
            drops=tuple(parse_drop(text) for text in self.drop or ()),
            annotate=self.annotate,
            device=device_name(self.device),
            threads=self.threads,
            deadline_s=self.deadline / 1e3,
            streams={name: Path(place) for name, place in self.streams().items()},
            topics=read_map(self.topics or ()),
            clock=clock_named(self.clock),
        )

    def live_settings(self) -> LiveConfig:
        """The settings of a live run: the file of `--config`, changed by what was typed.

        Raises:
            UsageError: the file or a value cannot be used.
        """
        from taemi_edge.live.config import load_live_config

        serve = {name: getattr(self, name) for name in ("token_file", "tls_certificate", "tls_key")}
        typed: dict[str, Any] = {
            "bundle": self.bundle,
            "source": self._live_sources(),
            "output": self.output,
            "events": self.events,
            "annotate": self.annotate,
            "push": self.push,
            "window_s": self.window,
            "hop_s": self.hop,
            "duration_s": self.duration,
            "device": device_name(self.device),
            "threads": self.threads,
            "unverified": self.unverified or None,
            "require_signature": self.require_signature,
            "loop": self.loop or None,
            "drop": self.drop,
            "asr_model": None if self.asr_model == ASR_MODEL else self.asr_model,
            "serve": _present(address=self.serve, **serve),
            "mqtt": _present(broker=self.mqtt),
            "record": _present(folder=self.record if self._records_clips else None),
            "mcap": self.recording(),
            "foxglove": _present(address=self.foxglove, layout=self.foxglove_layout),
            "ros": _present(publish=self.ros_publish),
        }
        return load_live_config(self.config, _present(**typed) or {}, recipe_changes(self.override))

    def _live_sources(self) -> list[dict[str, Any]] | None:
        """The sources as tables of the configuration file; None where none was typed."""
        from taemi_edge.live.capture.addresses import split_name
        from taemi_edge.live.lines import is_line_place
        from taemi_edge.media.recordings.recorded_clock import clock_named
        from taemi_edge.media.recordings.topic_map import read_map

        places = self.streams()
        topics = read_map(self.topics or ())
        clock = None if self.clock == "auto" else clock_named(self.clock)
        shared = _present(transcript=self.transcript, asr=self.asr or None, streams=places or None) or {}
        shared |= _present(topics=topics or None, clock=clock) or {}
        sources, bound = self.source or (), bool(places or self.transcript)  # a model may read words alone
        if self.video or self.audio:
            if sources:
                raise UsageError("expected either SOURCE, or --video and --audio: got both")
            named = {key: split_name(uri) for key, uri in (("video", self.video), ("audio", self.audio)) if uri}
            name = next((name for name, _ in named.values() if name), "live")
            return [{"name": name, **{key: uri for key, (_, uri) in named.items()}, **shared}]
        if not sources:
            return [{"name": "live", **shared}] if bound else None
        if len(sources) > 1 and self.transcript is not None and not is_line_place(self.transcript):
            raise UsageError("--transcript with a file belongs to one source: name each one's own in --config")
        if len(sources) > 1 and (own := [name for name, place in places.items() if not is_line_place(place)]):
            raise UsageError(
                f"--stream {own[0]}={places[own[0]]} belongs to one source: name each one's own in --config"
            )
        if len(sources) == 1 and bound and is_plain_name(sources[0]):
            return [{"name": sources[0], **shared}]
        return [{"name": name, "uri": uri, **shared} for name, uri in named_sources(sources)]


def live_option_names() -> list[str]:
    """The fields of `Given` that make a run live, read from the help panel of their options.

    Example:
        >>> live_option_names()[:5]
        ['live', 'video', 'audio', 'serve', 'events']
    """
    options = {name: hint.__metadata__[0] for name, hint in get_type_hints(Given, include_extras=True).items()}
    in_panel = [name for name, option in options.items() if option.rich_help_panel == LIVE_PANEL]
    return [name for name in in_panel if name not in _DETAILS_OF_SERVE]


def _present(**values: Any) -> dict[str, Any] | None:
    """The values that were typed, paths as text; None where none was."""
    kept = {key: str(value) if isinstance(value, Path) else value for key, value in values.items() if value is not None}
    return kept or None
