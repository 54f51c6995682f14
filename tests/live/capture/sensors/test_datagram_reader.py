"""Datagrams of real sockets: all forms, two senders, ports in use, and more than anybody can read."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.opening import check_address
from taemi_edge.live.capture.sensors.datagram_reader import SenderChoice
from taemi_edge.live.capture.settings import WatchSettings
from tests.live.sensors import SETTINGS, TRIPLE, Sensed
from tests.live.specs import CAMERA, WORDS

#: What a socket gives depends on no interpreter.
pytestmark = pytest.mark.once


def free_udp_port(family: int = socket.AF_INET, host: str = "127.0.0.1") -> int:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Sender:
    """A socket that sends to one port; a context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket, self._to = socket.socket(family, socket.SOCK_DGRAM), (host, port)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, content: bytes = b"1,2,3") -> None:
        with contextlib.suppress(OSError):  # nobody listens yet
            self.socket.sendto(content, self._to)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "", "@", "[::]"])
def test_rows_come_over_either_protocol(host: str):
    if "::" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    to = "::1" if "::" in host or not host.strip("@") else "127.0.0.1"
    port = free_udp_port()
    with Sensed(f"udp://{host}:{port}") as sensed, Sender(port, "127.0.0.1") as four, Sender(port, to) as sender:
        sensed.until(sensed.rows, lambda: (sender.send(), host == "localhost" and four.send()))
        assert sensed.rows()[0] == [1, 2, 3]
        assert sensed.loss() is None
        sensed.until(lambda: sensed.loss() == "nothing came for more than 0.5 s")
        sensed.until(lambda: sensed.loss() is None, sender.send if host != "localhost" else four.send)


def test_that_nothing_of_what_comes_can_be_used_is_the_reason():
    port = free_udp_port()
    with Sensed(f"udp://127.0.0.1:{port}") as sensed, Sender(port) as sender:
        wrong = "what comes cannot be used: expected 3 numbers, got 2"
        sensed.until(lambda: sensed.loss() == wrong, lambda: sender.send(b"1,2"))
        sensed.until(lambda: sensed.rows() and sensed.loss() is None, sender.send)
        sensed.until(lambda: sensed.loss() == "nothing came for more than 0.5 s")
        sensed.until(lambda: sensed.loss() == wrong, lambda: sender.send(b"1,2"))
    assert not sensed.capture._worker.thread.is_alive()


def test_malformed_datagrams_are_counted_and_said_and_the_others_taken(caplog):
    port = free_udp_port()
    text = f"udp://127.0.0.1:{port}?format=<3f"
    bad = (b"", b"1234", b"x" * 60_001, struct.pack("<3f", 1, 2, float("nan")))
    with Sensed(text) as sensed, Sender(port) as sender:
        sensed.until(sensed.rows, lambda: sender.send(struct.pack("<3f", 0, 0, 0)))
        for content in bad:
            sender.send(content)
        sender.send(struct.pack("<6f", 1, 2, 3, 4, 5, 6))
        sensed.until(lambda: sensed.rows()[-2:] == [[1, 2, 3], [4, 5, 6]])
        assert sensed.faults == {"NaN in its values"}
        assert sensed.capture.damaged_packets == len(bad)
    assert sensed.capture.damaged_packets == len(bad)
    assert "a message was left out: expected 12 bytes a row, got 0 bytes" in caplog.text
    assert "a row was left out: expected finite numbers, got NaN or infinity" in caplog.text
    assert caplog.text.count("was left out") == 2  # each kind once


def test_of_two_senders_the_first_is_taken_until_it_is_silent(caplog):
    port = free_udp_port()
    with Sensed(f"udp://127.0.0.1:{port}") as sensed, Sender(port) as first, Sender(port) as second:
        sensed.until(lambda: len(sensed.rows()) > 1, first.send)
        for _ in range(10):
            first.send()
            second.send(b"7,8,9")
            time.sleep(0.02)
        sensed.until(lambda: "two senders use this port" in caplog.text)
        assert [7, 8, 9] not in sensed.rows()
        sensed.until(lambda: [7, 8, 9] in sensed.rows(), lambda: second.send(b"7,8,9"))


def test_a_program_with_a_new_socket_for_each_datagram_is_one_sender():
    choice = SenderChoice(silent_s=1.0)
    assert all(choice.takes(("a", 4000 + index), index * 0.01) for index in range(200))
    choice = SenderChoice(silent_s=1.0)
    taken = [choice.takes(("a", 4000 + index % 2), index * 0.01) for index in range(100)]
    assert taken[2:] == [index % 2 == 1 for index in range(2, 100)]  # two sockets that go on are two senders


def test_a_group_is_joined_on_an_interface():
    port = free_udp_port()
    with Sensed(f"udp://239.7.7.7:{port}?interface=127.0.0.1") as sensed, Sender(port, "239.7.7.7") as sender:
        sender.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sensed.until(sensed.rows, sender.send)
    with Sensed(f"udp://239.7.7.7:{port}?interface=nosuch7") as sensed:
        sensed.until(lambda: "cannot be listened to" in str(sensed.loss()))


def test_a_port_in_use_is_said_and_taken_once_it_is_free():
    settings = WatchSettings(retry_first_s=0.05, retry_most_s=0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with Sensed(f"udp://127.0.0.1:{port}", settings=settings) as sensed, Sender(port) as sender:
            sensed.until(lambda: sensed.loss() == "another program listens on its port")
            other.close()
            sensed.until(sensed.rows, sender.send)
    with Sensed("udp://192.0.2.1:9000") as sensed:
        sensed.until(lambda: "no address of this machine" in str(sensed.loss()))


def test_words_come_in_datagrams():
    port = free_udp_port()
    with Sensed(f"udp://127.0.0.1:{port}", WORDS) as sensed, Sender(port) as sender:
        sensed.until(sensed.words, lambda: sender.send(b'{"text": "so it is"}'))
        assert sensed.words()[:3] == ["so", "it", "is"]
        time.sleep(SETTINGS.lost_after_s + 0.2)
        assert sensed.loss() is None  # who says nothing is not gone


def test_a_flood_leaves_the_processor_to_the_run():
    port, stopping = free_udp_port(), threading.Event()

    def flood() -> None:
        with Sender(port) as sender:
            while not stopping.is_set():
                for _ in range(200):
                    sender.send(b'{"values": ["' + b"x" * 400 + b'"]}')

    with Sensed(f"udp://127.0.0.1:{port}") as sensed:
        sensed.until(lambda: sensed.capture.link.state == "connected")
        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        try:
            deadline, slept = time.monotonic() + 1.0, 0
            while time.monotonic() < deadline:
                time.sleep(0.01)
                slept += 1
        finally:
            stopping.set()
            thread.join()
        assert slept > 10  # this thread has had its turns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("udp://:0", "expected udp://HOST:PORT"),
        ("udp://127.0.0.1", "expected udp://HOST:PORT"),
        ("udp://127.0.0.1:99999", "expected udp://HOST:PORT"),
        ("udp://127.0.0.1:9000/path", "expected udp://HOST:PORT"),
        ("udp:127.0.0.1:9000", "expected two slashes"),
        ("udp://127.0.0.1:9000?interface=lo", r"\?interface=: expected a multicast group"),
        ("udp://127.0.0.1:9000?format=xml", r"\?format=: expected json, csv"),
        (
            "udp://127.0.0.1:9000?baud=9600",
            "expected only the options format, field, time, unit, interface .* got 'baud'",
        ),
        ("udp://127.0.0.1:9000?fromat=csv", "did you mean format"),
        ("udp://127.0.0.1:9000?format=csv&format=json", "once and with a value"),
        ("udp://127.0.0.1:9000?format=", "once and with a value"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_is_opened(text: str, words: str):
    with pytest.raises(UsageError, match=words):
        check_address(parse_address(text, rows=True), TRIPLE)


def test_pictures_do_not_come_as_numbers():
    with pytest.raises(UsageError, match="expected a series or words to be fed by it, got a stream of video"):
        check_address(parse_address("udp://127.0.0.1:9000", rows=True), CAMERA)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1,2", "what comes cannot be used: expected 3 numbers, got 2"),
        (b'{"a": [1, 2]}', "what comes cannot be used: expected 3 numbers, got 2"),
        (b"\xff\x00", r"what comes cannot be used: expected numbers, got b'\xff\x00'"),
    ],
)
def test_messages_that_cannot_be_used_are_the_reason(content: bytes, reason: str):
    port = free_udp_port()
    with Sensed(f"udp://127.0.0.1:{port}") as sensed, Sender(port) as sender:
        sensed.until(lambda: sensed.loss() == reason, lambda: sender.send(content))
        sensed.until(lambda: sensed.loss() is None, sender.send)
        sensed.until(lambda: sensed.loss() == reason, lambda: sender.send(content))
        assert sensed.capture.reconnects == 0, "what comes would be the same"
        sensed.until(lambda: sensed.loss() == "nothing came for more than 0.5 s")
        sensed.until(lambda: sensed.loss() is None, sender.send)


def test_one_bad_message_of_a_slow_sensor_is_no_loss():
    port = free_udp_port()
    with Sensed(f"udp://127.0.0.1:{port}") as sensed, Sender(port) as sender:
        sensed.until(sensed.rows, sender.send)
        for _ in range(3):
            time.sleep(0.8)
            sender.send()
            sensed.until(lambda: sensed.loss() is None)
        time.sleep(0.8)
        sender.send(b"nonsense")
        until_s = time.monotonic() + 0.6
        while time.monotonic() < until_s:
            assert sensed.loss() is None
            time.sleep(0.02)


def test_each_kind_of_fault_is_logged_once(caplog):
    port = free_udp_port()
    with Sensed(f"udp://127.0.0.1:{port}") as sensed, Sender(port) as sender:
        for content in (b"nonsense", b"1,2", b"1", b"{", b"nonsense"):
            count = sensed.capture.damaged_packets
            sensed.until(lambda count=count: sensed.capture.damaged_packets > count, lambda: sender.send(content))  # noqa: B023
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert [line.partition("left out: ")[2].partition(", got")[0].partition(":")[0] for line in lines] == [
        "expected numbers",
        "expected 3 numbers",
        "expected JSON",
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says how many datagrams it lost")
def test_datagrams_that_the_kernel_loses_are_counted_and_said(caplog):
    port = free_udp_port()
    with Sensed(f"udp://127.0.0.1:{port}") as sensed, Sender(port) as sender:
        sensed.until(sensed.rows, sender.send)

        def flood() -> None:
            for _ in range(20_000):
                sender.send(b"1,2,3")

        sensed.until(lambda: "some are lost" in caplog.text, flood)
        sensed.until(lambda: sensed.capture.damaged_packets > 0 and sensed.loss() is None, sender.send)
