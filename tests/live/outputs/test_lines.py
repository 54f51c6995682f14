"""Predictions and events as lines of JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.outputs.lines import EventLines
from taemi_edge.runtime.json_lines import JsonLines


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"time_s": 1}\n', b'{"time_s": 1}\n'),
        (b'{"time_s": 1}\n{"time', b'{"time_s": 1}\n'),  # cut by a power cut
        (b'{"time_s": 1}\n{"presence":{"text":"live"}', b'{"time_s": 1}\n'),
        (b'{"time_s": 1}', b'{"time_s": 1}\n'),
        (b"my own notes", b"my own notes\n"),
        (None, b""),
    ],
)
def test_a_run_that_is_started_again_keeps_earlier_lines(tmp_path, before, after):
    file = tmp_path / "predictions.jsonl"
    if before is not None:
        file.write_bytes(before)
    with JsonLines(file, append=True) as lines:
        lines.write("{}")
    assert file.read_bytes() == after + b"{}\n"


def test_a_full_disk_costs_lines_and_the_log_says_how_many(caplog):
    full = JsonLines(Path("/dev/full"))
    events = EventLines(full, "events")
    event = PresenceEvent(source="a", time_s=1.0, stream="audio", before="live", after="missing", reason="silence")
    with full:
        for _ in range(3):
            events.on_event(event)
    assert events.lost == 3
    assert [record.message.partition(" lost")[0] for record in caplog.records] == ["events 1", "events 2"]
