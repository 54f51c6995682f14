"""Topics of a real broker: logins, certificates, and a broker that goes away and comes back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.opening import check_address
from taemi_edge.live.capture.sensors.mqtt_reader import broker_of
from tests.live.sensors import MOSQUITTO, SETTINGS, TRIPLE, Mosquitto, Sensed
from tests.live.servers import free_port
from tests.live.specs import WORDS

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt reads topics")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: tools/install_test_servers.sh")


class Publisher:
    """A client that publishes to one topic, and connects again by itself; a context manager."""

    def __init__(self, port: int, topic: str = "robots/imu", login: bool = False) -> None:
        from paho.mqtt.enums import CallbackAPIVersion

        self.topic = topic
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if login:
            self.client.username_pw_set("edge", "right-word")
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def send(self, content: bytes | str = b"1,2,3", **how: Any) -> None:
        if self.client.is_connected():
            self.client.publish(self.topic, content, **how)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.mark.once
@needs_broker
def test_rows_come_in_every_form_and_a_broker_comes_back(broker: Mosquitto, caplog):
    text = f"mqtt://127.0.0.1:{broker.port}/robots/imu?qos=1"
    with Sensed(text) as sensed, Publisher(broker.port) as publisher:
        sensed.until(lambda: [1, 2, 3] in sensed.rows(), publisher.send)
        publisher.send('{"values": [4, 5, 6], "time_s": 17.5}')
        sensed.until(lambda: [4, 5, 6] in sensed.rows())
        publisher.send("nonsense")
        publisher.send("x" * 100_000)
        publisher.send("[7, 8, 9]")
        sensed.until(lambda: [7, 8, 9] in sensed.rows())
        assert "mqtt://127.0.0.1" in caplog.text
        assert "a message was left out: expected numbers, got b'nonsense'" in caplog.text
        sensed.until(lambda: sensed.loss() == "nothing came for more than 0.5 s")
        broker.kill()
        sensed.until(lambda: sensed.loss() == "the broker cannot be reached: connection refused")
        broker.start()
        sensed.until(lambda: sensed.loss() is None, publisher.send)
        assert sensed.capture.reconnects >= 1
    assert sensed.capture.damaged_packets == 2


@pytest.mark.once
@needs_broker
def test_words_come_and_what_was_retained_is_old(broker: Mosquitto, caplog):
    with Publisher(broker.port) as publisher:
        until_s = time.monotonic() + 20
        while not publisher.client.is_connected() and time.monotonic() < until_s:
            time.sleep(0.02)
        publisher.client.publish(publisher.topic, "said long ago", retain=True, qos=1).wait_for_publish(20)
        with Sensed(f"mqtt://localhost:{broker.port}/robots/imu", WORDS) as sensed:
            sensed.until(lambda: "now" in sensed.words(), lambda: publisher.send('{"text": "stop now"}'))
            assert set(sensed.words()) == {"stop", "now"}
            time.sleep(SETTINGS.lost_after_s + 0.2)
            assert sensed.loss() is None
    assert "a retained message was left out" in caplog.text


@pytest.mark.once
@needs_broker
def test_a_broker_that_asks_for_a_login_is_told_by_the_environment(tmp_path, monkeypatch, caplog):
    with Mosquitto(tmp_path, login=True) as broker, Publisher(broker.port, login=True) as publisher:
        for login, reason in (("edge:wrong-word@", "Not authorized"), ("", "Not authorized")):
            with Sensed(f"mqtt://{login}127.0.0.1:{broker.port}/robots/imu") as sensed:
                sensed.until(lambda: "the broker refuses the login" in str(sensed.loss()))
                assert reason in str(sensed.loss())
        monkeypatch.setenv("IMU_ADDRESS", f"mqtt://edge:right%2Dword@127.0.0.1:{broker.port}/robots/imu")
        with Sensed("env:IMU_ADDRESS") as sensed:
            sensed.until(sensed.rows, publisher.send)
            assert sensed.capture.address.shown == f"mqtt://127.0.0.1:{broker.port}/robots/imu"
    assert "word" not in caplog.text


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine and its key, signed by itself."""
    cert, key = folder / "broker.pem", folder / "broker.key"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*make, "-keyout", key, "-out", cert, "-days", "2", *names], check=True, capture_output=True)
    key.chmod(0o644)
    return cert, key


@pytest.mark.once
@needs_broker
def test_a_connection_is_encrypted_where_the_certificate_is_trusted(tmp_path):
    cert, key = certificate(tmp_path)
    plain = free_port()
    lines = f"certfile {cert}\nkeyfile {key}\nlistener {plain} 127.0.0.1\n"
    with Mosquitto(tmp_path, lines=lines) as broker, Publisher(plain) as publisher:
        with Sensed(f"mqtts://localhost:{broker.port}/robots/imu") as sensed:
            sensed.until(lambda: "certificate is not trusted" in str(sensed.loss()))
        with Sensed(f"mqtts://localhost:{plain}/robots/imu") as sensed:
            sensed.until(lambda: "the broker" in str(sensed.loss()))
        with Sensed(f"mqtts://localhost:{broker.port}/robots/imu?ca={cert}") as sensed:
            sensed.until(sensed.rows, publisher.send)
            for index in range(2000):  # what TLS holds in one record is all read
                publisher.send(f"{index},0,0")
            sensed.until(lambda: [1999, 0, 0] in sensed.rows())


def test_a_broker_that_is_not_there_is_said():
    for text, reason in (
        (f"mqtt://127.0.0.1:{free_port()}/x", "the broker cannot be reached: connection refused"),
        ("mqtt://nosuch.invalid/x", "the broker's host is unknown"),
    ):
        with Sensed(text) as sensed:
            sensed.until(lambda reason=reason: sensed.loss() == reason)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mqtt://broker", "expected mqtt://HOST:PORT/TOPIC"),
        ("mqtt://broker/", "expected a topic behind the host"),
        ("mqtt://broker:99999/x", "expected mqtt://HOST:PORT/TOPIC"),
        ("mqtt://me:s3cret-word/0@broker/x", "expected mqtt://HOST:PORT/TOPIC"),
        ("mqtt://broker/robots/+/imu", "expected one topic, got a wildcard"),
        ("mqtt://broker/robots/%23", "expected one topic, got a wildcard"),
        ("mqtt://broker/x?qos=3", r"\?qos=: expected 0, 1 or 2, got '3'"),
        ("mqtt://broker/x?ca=/etc/hosts", r"\?ca=: expected mqtts:// before it"),
        ("mqtts://broker/x?ca=/nosuch.pem", r"\?ca=: expected a file, got none"),
        ("mqtts://broker/x?key=/etc/hosts", r"\?key=: expected a certificate with it"),
        ("mqtts://broker/x?ca=/etc/hosts", r"\?ca=: expected a certificate as PEM, got another file"),
        ("mqtts://broker/x?cert=/etc/hosts", r"\?cert=: expected a certificate with its key"),
        ("mqtt://broker/x?password=s3cret-word", "got 'password'"),
        ("mqtt://me:pa?s3cret-word@broker/x", "got an @: write %3F and %40 in passwords"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_secret(text: str, words: str):
    with pytest.raises(UsageError, match=words) as refused:
        check_address(parse_address(text, rows=True), TRIPLE)
    assert "s3cret" not in str(refused.value)


def test_all_of_an_address_is_taken_apart():
    broker = broker_of(parse_address("mqtts://me%40home:p%2Fw@[fe80::1%25eth0]/a%20b/c"))
    assert (broker.host, broker.port, broker.tls) == ("fe80::1%25eth0", 8883, True)
    assert (broker.user, broker.password, broker.topic) == ("me@home", "p/w", "a b/c")
    assert "p/w" not in repr(broker)
