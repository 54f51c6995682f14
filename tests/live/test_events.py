"""Presence events: each change once, from hops and from the watch."""

from __future__ import annotations

from taemi_edge.live.events import StreamStates
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.presence import State


def prediction(vision: State, audio: State) -> Prediction:
    return Prediction(
        source="door",
        time_s=3.0,
        window_s=(0.0, 3.0),
        outputs={},
        presence={"vision": vision, "audio": audio, "text": "missing"},
        age_ms={},
        latency_ms={},
        reason={"text": "no transcript was given"},
        status="ok",
    )


def test_a_change_is_told_once_and_a_loss_outlives_the_hop_before_it():
    states = StreamStates(["door"], ["vision", "audio", "text"])
    events = states.after_hop(prediction("live", "live"), {})
    assert [(e.stream, e.before, e.after) for e in events] == [
        ("vision", "missing", "live"),
        ("audio", "missing", "live"),
    ]
    assert states.after_hop(prediction("live", "live"), {}) == []
    lost: dict[str, str] = {"audio": "digital silence"}
    [event] = states.after_watch("door", lost, now_s=3.3)
    assert str(event) == "door audio live -> missing: digital silence"
    assert states.after_watch("door", lost, now_s=3.4) == []
    assert states.after_hop(prediction("live", "live"), lost) == []  # that hop had sound from before the loss
    assert states.of("door")["audio"] == ("missing", "digital silence")
