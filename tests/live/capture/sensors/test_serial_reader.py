"""Serial lines over pseudo-terminals: half lines, long ones, and a device that is unplugged and comes back."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.errors import UsageError
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.opening import check_address
from taemi_edge.live.capture.sensors.payloads import MOST_BYTES
from taemi_edge.live.capture.sensors.serial_reader import LineCutter
from tests.live.sensors import TRIPLE, Sensed, SerialPort
from tests.live.specs import WORDS

pytest.importorskip("serial", reason="pyserial reads serial ports")
#: What a port gives depends on no interpreter.
pytestmark = pytest.mark.once


def test_lines_come_and_half_of_one_is_left_out(tmp_path):
    with SerialPort(tmp_path) as port, Sensed(f"serial:{port.name}?baud=9600") as sensed:
        sensed.until(lambda: sensed.capture.link.state == "connected")
        port.send(b"3, 4\n1, 2, 3\r\n[4, 5, 6]\n7, 8")  # it was opened in the middle of a line
        sensed.until(lambda: len(sensed.rows()) == 2)
        port.send(b", 9\n\n")
        sensed.until(lambda: len(sensed.rows()) == 3)
        assert sensed.rows() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert sensed.capture.damaged_packets == 0


def test_a_port_that_was_quiet_begins_with_a_whole_line(tmp_path):
    with SerialPort(tmp_path) as port, Sensed(f"serial:{port.name}") as sensed:
        sensed.until(lambda: sensed.capture.link.state == "connected")
        time.sleep(0.4)
        port.send(b'{"x": 1, "y": 2, "z": 3}\n')
        sensed.until(sensed.rows)
        assert sensed.rows() == [[1, 2, 3]]


def test_a_device_is_unplugged_and_comes_back(tmp_path):
    with SerialPort(tmp_path) as port, Sensed(f"serial:{port.name}") as sensed:
        sensed.until(sensed.rows, lambda: port.send(b"1,2,3\n"))
        port.unplug()
        sensed.until(lambda: sensed.loss() in ("the device is gone", "no such device: it is not plugged in"))
        sensed.until(lambda: sensed.loss() == "no such device: it is not plugged in")
        port.plug_in()
        sensed.until(lambda: [4, 5, 6] in sensed.rows(), lambda: port.send(b"4,5,6\n"))
        assert sensed.loss() is None
        assert sensed.capture.reconnects >= 1


def test_lines_that_are_too_long_or_no_numbers_are_counted_and_the_next_are_taken(tmp_path, caplog):
    with SerialPort(tmp_path) as port, Sensed(f"serial:{port.name}") as sensed:
        sensed.until(sensed.rows, lambda: port.send(b"1,2,3\n"))
        port.send(b"9" * (MOST_BYTES + 5000) + b"\nERROR: cold\n4,5,6\n")
        sensed.until(lambda: [4, 5, 6] in sensed.rows())
    assert sensed.capture.damaged_packets == 2
    assert "a line was left out: expected at most 65536 bytes without the end of a line: is baud right?" in caplog.text
    assert "a message was left out: expected numbers, got b'ERROR: cold'" in caplog.text


def test_words_come_in_lines(tmp_path):
    with SerialPort(tmp_path) as port, Sensed(f"serial:{port.name}?mode=7E1", WORDS) as sensed:
        sensed.until(lambda: "stop" in sensed.words(), lambda: port.send(b"stop now\n"))


def test_what_is_no_serial_port_is_said(tmp_path):
    file = tmp_path / "tty"
    file.write_bytes(b"1,2,3\n")
    for name, reason in ((file, "it cannot be opened as a serial port"), (tmp_path / "nosuch", "no such device")):
        with Sensed(f"serial:{name}") as sensed:
            sensed.until(lambda reason=reason: str(sensed.loss()).startswith(reason))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("serial:ttyUSB0", "expected a device by its path"),
        ("serial:/dev/ttyUSB0?baud=fast", r"\?baud=: expected bits a second such as 115200, got 'fast'"),
        ("serial:/dev/ttyUSB0?baud=1", r"\?baud="),
        ("serial:/dev/ttyUSB0?mode=9N1", r"\?mode=: expected data bits"),
        ("serial:/dev/ttyUSB0?format=<3f", r"\?format=: expected lines"),
        ("serial:", "expected something behind serial:"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_is_opened(text: str, words: str):
    with pytest.raises(UsageError, match=words):
        check_address(parse_address(text, rows=True), TRIPLE)


@given(
    lines=st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b and b"\r" not in b)),
    cuts=st.lists(st.integers(0, 200)),
)
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], cuts: list[int]):
    whole = b"".join(line + b"\n" for line in lines)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    cutter = LineCutter(is_between=True)
    came = [line for a, b in pairwise(places) for line in cutter.lines(whole[a:b])]
    assert came == [line for line in lines if line.strip()]
