"""What all readers of sensors share: the processor that they leave to others, and what they say."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence

import pytest

from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.sensors import sensor_reader
from taemi_edge.live.capture.sensors.reader_pace import ReaderPace
from taemi_edge.live.capture.sensors.sensor_reader import SensorReader
from taemi_edge.live.capture.settings import WatchSettings
from tests.live.sensors import TRIPLE


class Flooded(SensorReader):
    """Always has something to do, which takes a tenth of a second of a processor."""

    given: Sequence[bytes] = ()
    used_s = 0.0

    def receive(self, wait_s: float) -> Sequence[bytes]:
        self.used_s += 0.1
        return self.given

    def close(self) -> None:
        """Nothing is open."""


def opened(shown: str = "udp://0.0.0.0:9000") -> Flooded:
    return Flooded(Address("datagram", shown, shown), WatchSettings(), TRIPLE)


@pytest.mark.parametrize("given", [(), (b"no numbers",), (b"1,2,3",) * sensor_reader.MOST_AT_ONCE])
def test_a_flood_leaves_a_processor_to_others_also_where_all_of_it_is_left_out(monkeypatch, given):
    rests: list[float] = []
    reader = opened()
    reader.given = given
    monkeypatch.setattr(time, "sleep", rests.append)
    monkeypatch.setattr(time, "thread_time", lambda: reader.used_s)
    for _ in itertools.islice(reader.items(), 50):
        pass
    assert max(rests, default=0.0) > 0.1


def test_a_sign_of_formats_in_an_address_is_no_format(caplog):
    reader = opened("udp://[fe80::1%eth0]:9000")
    with caplog.at_level(logging.WARNING, "taemi_edge.live"):
        reader.leave_out("a message", "100 % wrong")
        reader.say("two senders use this port")
    assert [record.getMessage() for record in caplog.records] == [
        "udp://[fe80::1%eth0]:9000: a message was left out: 100 % wrong",
        "udp://[fe80::1%eth0]:9000: two senders use this port",
    ]


def test_who_uses_little_never_rests(monkeypatch):
    used_s = iter((3.0, 3.1))
    monkeypatch.setattr(time, "thread_time", lambda: next(used_s))
    pace = ReaderPace()
    assert [pace.rest_s(), pace.rest_s()] == [0.0, 0.0]
