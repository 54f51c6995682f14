"""The configuration of a live run: everything that `taemi-edge run` takes, and what only services need, in TOML.

bundle = "export/taemi-mobile"
output = "/var/lib/taemi-edge/predictions.jsonl"

[[source]]
name = "door"
uri = "env:DOOR_ADDRESS"     # rtsp://user:password@door.local/1 in an environment variable, or written here
transcript = "unix:/run/taemi-edge/door.sock"

[serve]
address = "127.0.0.1:8080"
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from taemi_edge.bundle.limits import MOST_THREADS
from taemi_edge.bundle.recipe import change_key, read_toml, recipe_from_mapping
from taemi_edge.bundle.streams import PresenceSpec
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import RecipeError, UsageError
from taemi_edge.live.capture.addresses import is_safe_name
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.host_port import host_and_port
from taemi_edge.live.ros.names import is_topic
from taemi_edge.live.ros.place import parse_publishing
from taemi_edge.live.viewer_config import FoxgloveConfig, McapConfig
from taemi_edge.media.places import shown_place
from taemi_edge.media.recognition import PACKAGED_MODEL

_NAME = re.compile(r"[A-Za-z0-9 ._:/*@\[\]-]{1,100}")


class SourceConfig(Frozen, frozen=True):
    """A `[[source]]` table: where the streams of one source come from.

    Attributes:
        name: the name of the source in predictions.
        uri: one address for picture and sound together: they feed every video and audio stream of the model.
        video, audio: two addresses in place of `uri`, or one of them.
        transcript: what feeds the text streams: a file, `-` for lines on standard input, or `unix:PATH` for a socket.
        streams: places of their own for streams of the model, by name: an address, a file, `-` or `unix:PATH`.
        asr: whether speech is recognised on this machine.
        topics: of recordings of robots, TOPIC or TOPIC.field by stream; what is not named is chosen by the types.
        clock: of recordings: "header" for the stamps of messages, "log" for the times of logging, "auto" to choose.
    """

    name: str
    uri: str = ""
    video: str = ""
    audio: str = ""
    transcript: str = ""
    asr: bool = False
    streams: dict[str, str] = msgspec.field(default_factory=dict)
    topics: dict[str, str] = msgspec.field(default_factory=dict)
    clock: Literal["auto", "header", "log"] = "auto"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not is_safe_name(self.name):
            raise ValueError(
                f"expected a source's name of up to 100 plain characters, got {shown_place(self.name)!r}: write "
                f"NAME=ADDRESS"
            )
        given = bool(self.uri), bool(self.video or self.audio)
        if all(given) or not (any(given) or self.streams or self.transcript):
            said = "all of them" if all(given) else "neither"
            raise ValueError(f"source {self.name}: expected either uri, or video or audio or both, not {said}")
        if any(not sign.isprintable() for place in self.places for sign in place if not 0xDC80 <= ord(sign) <= 0xDCFF):
            raise ValueError(f"source {self.name}: expected addresses and files without control characters")
        if empty := [stream for stream, place in self.streams.items() if not place]:
            raise ValueError(f"source {self.name}: expected streams.{empty[0]} to name a place, got nothing")
        if self.transcript and self.asr:
            raise ValueError(f"source {self.name}: expected either a transcript or asr, got both")

    @property
    def places(self) -> tuple[str, ...]:
        """All addresses, files and sockets that it reads."""
        named = (self.uri, self.video, self.audio, self.transcript, *self.streams.values())
        return tuple(place for place in named if place)

    def __repr__(self) -> str:
        shown = ", ".join(map(shown_place, self.places))
        return f"SourceConfig(name={self.name!r}, places={shown!r})"


class ServeConfig(Frozen, frozen=True):
    """The `[serve]` table: the page, /healthz and /metrics.

    Attributes:
        address: HOST:PORT; any host but loopback needs a token.
        token_file: a file with the token that clients must show.
        tls_certificate, tls_key: PEM files; both or none.
        most_watchers: how many pages may be open at once.
        most_per_address: how many connections one address may have; this machine may have all.
    """

    address: str = "127.0.0.1:8080"
    token_file: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    most_watchers: int = 32
    most_per_address: int = 32

    def __post_init__(self) -> None:
        host_and_port(self.address)
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("expected tls_certificate and tls_key together, got one of them")
        if not 1 <= self.most_watchers <= 1000:
            raise ValueError(f"expected most_watchers from 1 to 1000, got {self.most_watchers}")
        if not 1 <= self.most_per_address <= 1000:
            raise ValueError(f"expected most_per_address from 1 to 1000, got {self.most_per_address}")

    @property
    def host(self) -> str:
        """The host of the address."""
        return host_and_port(self.address)[0]

    @property
    def port(self) -> int:
        """The port of the address; 0 lets the system choose one."""
        return host_and_port(self.address)[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


class LoadConfig(Frozen, frozen=True):
    """The `[load]` table: what a run does that its machine cannot carry.

    Attributes:
        shed: whether frames are left out, and then hops made longer, until all sources are carried.
    """

    shed: bool = True


class MqttConfig(Frozen, frozen=True):
    """The `[mqtt]` table: the broker to publish to.

    Attributes:
        broker: HOST:PORT.
        topic: what all topics begin with.
        username: the name to log in with; "" logs in without.
        password_file: a file with the password.
        tls: whether the connection is encrypted.
    """

    broker: str
    topic: str = "taemi-edge"
    username: str = ""
    password_file: str = ""
    tls: bool = False

    def __post_init__(self) -> None:
        host_and_port(self.broker, names=True)
        if not self.topic or any(sign in self.topic for sign in "+#"):
            raise ValueError(f"expected a topic without + and #, got {self.topic!r}")


class RosConfig(Frozen, frozen=True):
    """The `[ros]` table: topics of ROS 2 to publish to, over Zenoh.

    Attributes:
        publish: what the names of topics begin with, such as "/taemi", and behind a question mark how to connect:
            `router`, `domain`, `config` and `mode`, as in addresses of topics that are read.
        diagnostics: the topic of the presence of all streams.
    """

    publish: str
    diagnostics: str = "/diagnostics"

    def __post_init__(self) -> None:
        try:
            parse_publishing(self.publish)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if not is_topic(self.diagnostics):
            raise ValueError(f"expected diagnostics to be a topic such as /diagnostics, got {self.diagnostics!r}")


class RecordConfig(Frozen, frozen=True):
    """The `[record]` table: clips around losses.

    Attributes:
        folder: where they are kept.
        most_mib: how much of the disk they may take, in MiB; the oldest are removed first.
        before_s, after_s: how much is kept before a loss and after it, in seconds.
    """

    folder: str
    most_mib: float = 512.0
    before_s: float = 4.0
    after_s: float = 4.0

    def __post_init__(self) -> None:
        if not self.most_mib > 0 or not 0 < self.before_s <= 60 or not 0 < self.after_s <= 60:
            raise ValueError("expected most_mib > 0, and before_s and after_s above 0 and up to 60")


class LiveConfig(Frozen, frozen=True):
    """Everything that a live run takes.

    Attributes:
        source: what is watched, each with its streams.
        bundle: the folder of the bundle; the command line may name it instead.
        output: where predictions are written, "-" for standard output; "" writes none. The command line takes "" for
            "-".
        events: where presence events are written, alike.
        annotate: the annotated video.
        push: where the annotated video is streamed to.
        window_s, hop_s: in place of those of the bundle, in seconds.
        settle_s: how long after the end of a hop its data may still arrive, in seconds.
        duration_s: when the run ends, in seconds of the session; None for never.
        device: where the model runs; None lets the toolkit choose.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
        unverified: whether a bundle that was not verified may run.
        require_signature: a file with the public key that must have signed the bundle; "" for the key that this device
            trusts, where one is installed.
        loop: whether files are played again when they end.
        drop: losses to rehearse, as `--drop` takes them.
        asr_model: the name or the folder of the speech recogniser's model.
        presence: presence times in place of those of the bundle, by stream.
        watch: when a stream counts as lost.
        load: what is left out where the machine cannot carry all.
        serve, mqtt, ros, record, mcap, foxglove: see there; None switches them off.
    """

    source: tuple[SourceConfig, ...]
    bundle: str = ""
    output: str = ""
    events: str = ""
    annotate: str = ""
    push: str = ""
    window_s: float | None = None
    hop_s: float | None = None
    settle_s: float = 0.15
    duration_s: float | None = None
    device: Literal["cpu", "cuda", "tensorrt"] | None = None
    threads: int | None = None
    unverified: bool = False
    require_signature: str = ""
    loop: bool = False
    drop: tuple[str, ...] = ()
    asr_model: str = PACKAGED_MODEL
    presence: dict[str, PresenceSpec] = msgspec.field(default_factory=dict)
    watch: WatchSettings = msgspec.field(default_factory=WatchSettings)
    load: LoadConfig = msgspec.field(default_factory=LoadConfig)
    serve: ServeConfig | None = None
    mqtt: MqttConfig | None = None
    ros: RosConfig | None = None
    record: RecordConfig | None = None
    mcap: McapConfig | None = None
    foxglove: FoxgloveConfig | None = None

    def __post_init__(self) -> None:
        names = [source.name for source in self.source]
        if not names:
            raise ValueError("expected at least one [[source]]")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected sources of different names, got {twice[0]!r} twice: write NAME=ADDRESS")
        for name, value in (("window_s", self.window_s), ("hop_s", self.hop_s)):
            if value is not None and not 0 < value <= 3600:
                raise ValueError(f"expected {name} above 0 and up to 3600 seconds, got {value:g}")
        if self.threads is not None and not 0 <= self.threads <= MOST_THREADS:
            raise ValueError(f"expected threads from 0 to {MOST_THREADS}, got {self.threads}")
        if not 0 <= self.settle_s <= 10:
            raise ValueError(f"expected settle_s from 0 to 10 seconds, got {self.settle_s:g}")
        if self.duration_s is not None and not self.duration_s > 0:
            raise ValueError(f"expected duration_s above 0, got {self.duration_s:g}")
        if len(names) > 1 and (self.annotate or self.push):
            raise ValueError("annotate and push draw one source: give each its own run")
        if sum(source.transcript == "-" for source in self.source) not in (0, len(names)):
            raise ValueError("expected standard input to serve all sources or none: its lines name theirs")
        read = {_file(place) for source in self.source for place in source.places}
        for name, target in (("output", self.output), ("events", self.events), ("annotate", self.annotate)):
            if target not in (None, "-") and _file(target) in read:
                raise ValueError(f"{name} {shown_place(target)}: expected another file than the source: name a new one")


def _file(place: str) -> str:
    """Where a place lies if it is a file, by whatever path it is named; addresses stay as they are."""
    path = place.removeprefix("file:")
    return os.path.realpath(path) if os.path.isfile(path) else place


def load_live_config(
    file: Path | None, given: Mapping[str, Any] | None = None, changes: Mapping[str, str] | None = None
) -> LiveConfig:
    """Read a TOML file, replace what was given otherwise, and validate all of it.

    Args:
        file: the TOML file; None where everything is in `given`.
        given: values by key, which win over those of the file; tables are merged.
        changes: values by dotted key, as `--set` takes them; they win over all others.

    Raises:
        RecipeError: the file is not there or not TOML, or a key or a value is wrong.

    Example:
        >>> load_live_config(None, {"source": [{"name": "door", "uri": "rtsp://door/1"}]}).settle_s
        0.15
    """
    content: dict[str, Any] = {}
    if file is not None:
        try:
            content = read_toml(file)
        except RecipeError as error:
            raise RecipeError(f"--config {error}") from error
    for key, value in (given or {}).items():
        both = isinstance(value, dict) and isinstance(content.get(key), dict)
        content[key] = {**content[key], **value} if both else value
    for key, text in (changes or {}).items():
        change_key(content, key, text)
    return recipe_from_mapping(content, LiveConfig, "run" if file is None else f"--config {file}")
