"""The answers of a contender's worker, called directly without a process."""

from __future__ import annotations

import msgspec
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.worker import Answer, Opening, Request, _compared, _guarded, _Server, json_line, open_model
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import UsageError


def ask(server: _Server, **request: object) -> Answer:
    return _guarded(server.answer, json_line(msgspec.convert(request, Request)))


def test_a_window_is_prepared_then_timed_then_closed(tiny: Bundle):
    server = _Server(open_model(Opening(contender="runtime", bundle=str(tiny.folder), device="cpu")), tiny)
    assert ask(server, do="prepare", kind="hop", pattern=list(tiny.manifest.streams)).max_abs < 1e-4
    timed = ask(server, do="run", runs=3, warm_up=1)
    assert len(timed.wall_ms) == 3
    assert timed.parts_ms.keys() == set(tiny.manifest.part_names)
    assert ask(server, do="close") == Answer()
    assert ask(server, do="run").failure == "nothing is prepared"
    server.close()


def test_any_exception_becomes_an_answer():
    def act(line: str) -> Answer:
        raise {"ours": UsageError("one sentence"), "other": ValueError("first\nsecond"), "mute": KeyError()}[line]

    failures = [_guarded(act, line).failure for line in ("ours", "other", "mute")]
    assert failures == ["one sentence", "ValueError: first", "KeyError: no message"]


def test_another_shape_is_a_failure(tiny: Bundle):
    _, expected = Feeds(tiny).part("text", 1)
    assert _compared(expected[:, :1], expected).failure.startswith("gave ")
    assert _compared(expected, expected).max_abs == 0


def test_a_contender_must_be_known():
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"contender": "tflite", "bundle": "b"}', type=Opening)
