"""A viewer of Foxglove's WebSocket protocol watches a run."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import pytest

pytest.importorskip("foxglove", reason="foxglove-sdk serves")
client = pytest.importorskip("websockets.sync.client", reason="a viewer needs websockets")

from taemi_edge.errors import UsageError
from taemi_edge.live.outputs.channels.output import ChannelsOutput
from taemi_edge.live.viewer_config import FoxgloveConfig, McapConfig
from taemi_edge.media.hops import Frame, Hop, Values
from taemi_edge.runtime.window import Source
from tests.live.outputs.recordings import decoded, described, manifest_of, picture, result_of
from tests.live.running import LiveRun
from tests.live.servers import free_port
from tests.live.specs import CAMERA, SERIES


class Viewer:
    """Foxglove, as far as the protocol goes: https://github.com/foxglove/ws-protocol; a context manager."""

    def __init__(self, url: str, **options: Any) -> None:
        self._connection = client.connect(
            url, subprotocols=["foxglove.sdk.v1"], max_size=None, close_timeout=1, **options
        )
        self._socket = self._connection.__enter__()
        self.hello = json.loads(self._socket.recv(10))
        self.channels: dict[str, Any] = {}
        self._topics: dict[int, str] = {}
        #: By topic, the log time and the message.
        self.got: list[tuple[str, int, Any]] = []

    def watch(self, *topics: str, timeout_s: float = 20.0) -> None:
        """Subscribe to some topics, which may be advertised later."""
        self.listen(lambda: set(topics) <= set(self.channels), timeout_s)
        wanted = []
        for topic in topics:
            number = len(self._topics) + 1
            self._topics[number] = topic
            wanted.append({"id": number, "channelId": self.channels[topic]["id"]})
        self._socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))

    def say(self, text: str) -> None:
        """Send what the protocol may not know."""
        self._socket.send(text)

    def listen(self, holds: Any, timeout_s: float = 20.0) -> None:
        """Take what comes until something holds."""
        until = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < until, (list(self.channels), self.got[-3:])
            try:
                self._take(self._socket.recv(0.2))
            except TimeoutError:
                continue

    def of(self, topic: str) -> list[Any]:
        return [message for name, _, message in self.got if name == topic]

    def _take(self, data: str | bytes) -> None:
        if isinstance(data, str):
            said = json.loads(data)
            if said["op"] == "advertise":
                self.channels |= {channel["topic"]: channel for channel in said["channels"]}
            return
        operation, number, ns = struct.unpack_from("<BIQ", data)
        assert operation == 1
        topic = self._topics[number]
        channel = self.channels[topic]
        schema = channel["schema"].encode()
        if channel["encoding"] == "protobuf":
            schema = base64.b64decode(schema)
        self.got.append((topic, ns, decoded(channel["encoding"], channel["schemaName"], schema, data[13:])))

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.__exit__(kind, error, at)


def output_of(config: FoxgloveConfig, mcap: McapConfig | None = None, **streams: Any) -> tuple[ChannelsOutput, Any]:
    manifest = manifest_of(**streams)
    return ChannelsOutput(described(manifest, Source("door")), mcap or McapConfig(), config), manifest


def test_a_viewer_who_joins_later_begins_with_a_key_picture():
    output, manifest = output_of(FoxgloveConfig(address="127.0.0.1:0"), eye=CAMERA)
    assert output.server is not None

    def say(index: int) -> None:
        frame = Frame(index / 10, picture(index))
        output.on_hop(result_of(manifest, Hop(index / 10, {"eye": [frame]})))

    try:
        with Viewer(output.server.url) as first, Viewer(output.server.url) as second:
            assert (first.hello["op"], first.hello["name"], first.hello["capabilities"]) == ("serverInfo", "any", [])
            say(0)  # nobody watches yet
            first.watch("/door/inputs/eye")
            time.sleep(0.3)
            for index in range(1, 5):
                say(index)
            first.listen(lambda: len(first.got) == 4)
            second.watch("/door/inputs/eye")
            time.sleep(0.3)
            for index in range(5, 9):
                say(index)
            second.listen(lambda: len(second.got) == 4)
            for viewer in (first, second):
                decoder: Any = av.CodecContext.create("h264", "r")
                pictures = [p for video in viewer.of("/door/inputs/eye") for p in decoder.decode(av.Packet(video.data))]
                assert pictures[0].key_frame
                assert not pictures[1].key_frame
    finally:
        output.close()


def test_a_viewer_who_does_not_read_holds_up_nobody():
    output, manifest = output_of(FoxgloveConfig(address="127.0.0.1:0"), wrist=SERIES)
    assert output.server is not None
    try:
        with Viewer(output.server.url) as idle, Viewer(output.server.url) as reading:
            idle.watch("/door/inputs/wrist")
            reading.watch("/door/prediction")
            time.sleep(0.3)
            for index in range(50):
                times_s = index / 2 + np.linspace(0.001, 0.5, 2000)
                rows = Values(times_s, np.random.default_rng(0).normal(size=(2000, 6)).astype(np.float32))
                output.on_hop(result_of(manifest, Hop(index / 2 + 0.5, {"wrist": [rows]})))
            reading.listen(lambda: len(reading.got) == 50)
    finally:
        output.close()


def test_a_connection_that_says_nothing_does_not_hold_up_the_end():
    output, _ = output_of(FoxgloveConfig(address="127.0.0.1:0"), wrist=SERIES)
    assert output.server is not None
    closing = threading.Thread(target=output.close, daemon=True)
    with socket.create_connection(("127.0.0.1", int(output.server.url.rpartition(":")[2]))):
        time.sleep(0.3)
        closing.start()
        closing.join(20)
        assert not closing.is_alive()


def test_what_viewers_send_fills_no_log(caplog, capfd):
    output, _ = output_of(FoxgloveConfig(address="127.0.0.1:0"), wrist=SERIES)
    assert output.server is not None
    try:
        with Viewer(output.server.url) as viewer:
            for _ in range(50):
                viewer.say("{")
            viewer.watch("/door/prediction")
            time.sleep(0.3)
    finally:
        output.close()
    assert len([record for record in caplog.records if "Invalid message" in record.getMessage()]) <= 1
    assert "Invalid message" not in capfd.readouterr().err


def test_a_file_and_viewers_get_the_same_messages(tmp_path):
    mcap = McapConfig(file=str(tmp_path / "run.mcap"))
    output, manifest = output_of(FoxgloveConfig(address="127.0.0.1:0"), mcap, wrist=SERIES)
    assert output.server is not None
    try:
        with Viewer(output.server.url) as viewer:
            viewer.watch("/door/inputs/wrist", "/door/prediction")
            time.sleep(0.3)
            rows = Values(np.array([0.1, 0.2]), np.ones((2, 6), np.float32))
            output.on_hop(result_of(manifest, Hop(0.5, {"wrist": [rows]})))
            viewer.listen(lambda: len(viewer.got) == 3)
    finally:
        output.close()
    pytest.importorskip("mcap", reason="recordings are read with mcap")
    from tests.live.outputs.recordings import read

    recording = read(tmp_path / "run.mcap")
    kept = [
        (s.topic, s.log_ns, s.message) for s in recording.said if s.topic in ("/door/inputs/wrist", "/door/prediction")
    ]
    assert viewer.got == kept


def test_a_port_in_use_and_a_wrong_certificate_are_said_in_a_sentence(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="Address already in use"):
            output_of(FoxgloveConfig(address=f"127.0.0.1:{other.getsockname()[1]}"), wrist=SERIES)
    certificate = tmp_path / "cert.pem"
    with pytest.raises(UsageError, match=r"cert\.pem: expected a PEM file, got No such file"):
        tls = {"tls_certificate": str(certificate), "tls_key": str(certificate)}
        output_of(FoxgloveConfig(address="127.0.0.1:0", **tls), wrist=SERIES)
    certificate.write_text("no certificate")
    with pytest.raises(UsageError, match=r"cannot be served"):
        output_of(FoxgloveConfig(address="127.0.0.1:0", **tls), wrist=SERIES)


def test_a_recording_is_not_begun_where_the_port_is_in_use(tmp_path):
    file = tmp_path / "run.mcap"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = FoxgloveConfig(address=f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(UsageError):
            output_of(config, McapConfig(file=str(file)), wrist=SERIES)
    assert not file.exists()


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_loopback_by_its_other_names(host):
    try:
        output, _ = output_of(FoxgloveConfig(address=f"{host}:0"), wrist=SERIES)
    except UsageError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    assert output.server is not None
    try:
        with Viewer(output.server.url) as viewer:
            assert viewer.hello["name"] == "any"
    finally:
        output.close()


def test_what_is_served_can_be_encrypted(tmp_path):
    x509 = pytest.importorskip("cryptography.x509", reason="a certificate is made with cryptography")
    certificate, key = self_signed(x509, tmp_path)
    tls = {"tls_certificate": str(certificate), "tls_key": str(key)}
    output, _ = output_of(FoxgloveConfig(address="127.0.0.1:0", **tls), wrist=SERIES)
    assert output.server is not None
    try:
        assert output.server.url.startswith("wss://127.0.0.1:")
        with Viewer(output.server.url, ssl=ssl.create_default_context(cafile=str(certificate))) as viewer:
            assert viewer.hello["name"] == "any"
    finally:
        output.close()


def self_signed(x509: Any, folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key as PKCS#8."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "robot")])
    now = datetime.datetime.now(datetime.timezone.utc)
    begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    begun = begun.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = begun.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(pem))
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return certificate, private


@pytest.mark.parametrize("address", ["0.0.0.0:8765", "192.168.1.4:80", "[::]:1"])
def test_others_than_this_machine_are_served_by_name_alone(address):
    with pytest.raises(ValueError, match="expected a loopback address, as whoever reaches the port"):
        FoxgloveConfig(address=address)
    assert FoxgloveConfig(address=address, everyone=True).port
    assert FoxgloveConfig(address="[::1]:0").host == "::1"


@pytest.mark.once
def test_a_live_run_is_watched(tiny_folder, lasting_clip, tmp_path: Path):
    port = free_port()
    with LiveRun(tmp_path, tiny_folder, f"cam={lasting_clip}", "--live", "--foxglove", f"127.0.0.1:{port}") as run:
        run.wait_until(lambda: any("connect Foxglove to ws://127.0.0.1" in line for line in run.log))
        with Viewer(f"ws://127.0.0.1:{port}") as viewer:
            viewer.watch("/cam/prediction", "/cam/inputs/vision", "/cam/inputs/audio", "/cam/boxes/vision")
            viewer.listen(lambda: len(viewer.of("/cam/prediction")) >= 2 and viewer.of("/cam/boxes/vision"))
            predictions = viewer.of("/cam/prediction")
            run.wait_until(lambda: run.predictions and run.predictions[-1]["time_s"] >= predictions[-1]["time_s"])
            assert all(prediction in run.predictions for prediction in predictions)
            assert viewer.of("/cam/inputs/audio")[0].sample_rate == 16_000
            assert run.stop() == 0
