"""How a connection stands, and what is logged of it."""

from __future__ import annotations

import logging

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec, ConnectionStatus


def test_tries_that_fail_alike_are_logged_once_until_it_is_connected(caplog):
    caplog.set_level(logging.INFO, "taemi_edge.live")
    status = ConnectionStatus("door", SessionClock())
    for seconds in (1.2, 1.3):
        status.set_link("waiting", f"no answer for {seconds} s")
    status.set_link("connected", None)
    status.set_link("waiting", "no answer for 1.4 s")
    assert [record.message for record in caplog.records] == [
        "door: no answer for 1.2 s; trying again",
        "door: connected",
        "door: no answer for 1.4 s; trying again",
    ]
    assert (status.link.state, status.link.reason) == ("waiting", "no answer for 1.4 s")


def test_log_lines_name_the_source_and_never_its_password():
    address = parse_address("rtsp://me:secret@cam/1")
    assert CaptureSpec("door", address, frozenset()).label == "door: rtsp://cam/1"
    assert CaptureSpec("rtsp://cam/1", address, frozenset()).label == "rtsp://cam/1"
