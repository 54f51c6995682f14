"""Lines that other programs send, whatever they hold."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.errors import UsageError
from taemi_edge.live.lines import MAX_LINE, LineListener, _bounded


class Kept:
    """A parser that keeps lines and refuses those that hold an x."""

    name, what, option = "kept", "the keeper", "--keep "

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.losses: list[str | None] = []

    def take_line(self, line: bytes) -> None:
        if b"x" in line:
            raise ValueError("an x")
        self.lines.append(line)

    def set_loss(self, reason: str | None) -> None:
        self.losses.append(reason)

    def end(self) -> None: ...


def test_a_line_without_end_is_not_read_into_memory():
    stream = io.BytesIO(b"x" * (MAX_LINE * 5) + b"\n" + b"next\n")
    lines = list(_bounded(stream))
    assert [len(line) for line in lines] == [MAX_LINE + 1, 5]


def test_lines_that_are_refused_are_counted_and_logged_without_a_flood(caplog):
    parser = Kept()
    listener = LineListener("-", parser)
    listener._read(io.BytesIO(b"good\n" + b"x\n" * 9 + b"\n" + b"y" * (MAX_LINE + 5) + b"\nlast\n"))
    assert parser.lines == [b"good\n", b"last\n"]
    assert (listener.good_lines, listener.bad_lines) == (2, 10)
    assert listener.last_problem == f"expected at most {MAX_LINE} bytes a line"
    assert [record.message for record in caplog.records][:2] == [
        "kept: line 2 left out: an x",
        "kept: line 3 left out: an x",
    ]
    assert len(caplog.records) == 4


@given(content=st.binary(max_size=200))
def test_every_line_is_taken_or_counted(content: bytes):
    parser = Kept()
    listener = LineListener("-", parser)
    listener._read(io.BytesIO(content))
    assert listener.good_lines == len(parser.lines)
    assert listener.good_lines + listener.bad_lines == sum(bool(line.strip()) for line in content.split(b"\n"))


def test_a_socket_that_is_taken_is_refused_and_a_dead_one_is_taken_over(tmp_path):
    path = tmp_path / "kept.sock"
    first = LineListener(f"unix:{path}", Kept())
    with pytest.raises(UsageError, match=r"--keep unix:.*: cannot listen there: Address already in use"):
        LineListener(f"unix:{path}", Kept())
    assert path.stat().st_mode & 0o777 == 0o600
    assert first._server is not None
    first._server.close()  # as if its process had died
    LineListener(f"unix:{path}", Kept()).stop()
    assert not path.exists()


def test_a_sender_that_comes_while_another_goes_is_not_taken_for_gone(tmp_path):
    class Slow(Kept):
        going = threading.Event()

        def set_loss(self, reason: str | None) -> None:
            if reason is not None:
                self.going.set()
                time.sleep(0.2)
            super().set_loss(reason)

    parser, place = Slow(), str(tmp_path / "kept.sock")
    listener = LineListener(f"unix:{place}", parser)
    listener.start()
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(place)
        _wait_for(lambda: len(parser.losses) == 1)
        first.close()
        assert parser.going.wait(5)
        second.connect(place)
        _wait_for(lambda: len(parser.losses) == 3)
        assert parser.losses == [None, "the keeper's sender hung up", None]
    listener.stop()


def _wait_for(done) -> None:
    until_s = time.monotonic() + 5
    while not done() and time.monotonic() < until_s:
        time.sleep(0.01)


def test_a_silent_sender_gives_its_place_to_one_that_speaks(tmp_path, monkeypatch, caplog):
    parser, path = Kept(), tmp_path / "kept.sock"
    listener = LineListener(f"unix:{path}", parser)
    listener.start()
    senders = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    try:
        for sender in senders:
            sender.connect(str(path))
        assert senders[20].recv(1) == b""  # refused: the eight before it came just now
        monkeypatch.setattr("taemi_edge.live.lines._SILENT_S", 0.05)
        time.sleep(0.2)
        with socket.socket(socket.AF_UNIX) as speaker:
            speaker.connect(str(path))
            speaker.sendall(b"at last\n")
            wait_until(lambda: parser.lines == [b"at last\n"])
        assert parser.losses[-1] is None
    finally:
        for sender in senders:
            sender.close()
        listener.stop()
    assert len(caplog.records) == 1


def test_without_descriptors_a_listener_waits_and_goes_on(tmp_path, caplog):
    parser, path = Kept(), tmp_path / "kept.sock"
    listener = LineListener(f"unix:{path}", parser)
    listener.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
        held = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            first.connect(str(path))  # accept has its descriptor before anybody comes
            second.connect(str(path))
            wait_until(lambda: caplog.records)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in held:
                os.close(descriptor)
        second.sendall(b"patience\n")
        wait_until(lambda: parser.lines == [b"patience\n"])
    listener.stop()
    assert [record.message for record in caplog.records] == [
        "kept: a sender could not be accepted: Too many open files"
    ]


def test_a_flood_takes_a_share_of_a_processor_alone(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("taemi_edge.live.lines._PROCESSOR_SHARE", 0.01)
    monkeypatch.setattr("taemi_edge.live.lines._BURST_S", 0.02)
    parser, path = Kept(), tmp_path / "kept.sock"
    listener = LineListener(f"unix:{path}", parser)
    listener.start()
    with socket.socket(socket.AF_UNIX) as flood:
        flood.settimeout(1.0)
        flood.connect(str(path))
        with pytest.raises(TimeoutError):  # it has to wait
            while True:
                flood.sendall(b"y\n" * 1000)
        listener.stop()
    assert listener.good_lines > 0
    assert [record.message for record in caplog.records] == [
        "kept: lines come faster than there is time for: they wait"
    ]


def wait_until(holds, timeout_s: float = 5.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)
