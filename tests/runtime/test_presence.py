"""The state machine of a stream: its table, and what must hold for any story."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.streams import PresenceSpec
from taemi_edge.runtime.presence import StreamPresence

SPEC = PresenceSpec(stale_after_s=0.5, missing_after_s=1.5, recover_after_s=0.5)


def stream_with(*arrivals_s: float) -> StreamPresence:
    stream = StreamPresence(SPEC)
    for time_s in arrivals_s:
        stream.arrive(time_s)
    return stream


def test_before_the_first_arrival_a_stream_is_missing_with_its_reason():
    presence = StreamPresence(SPEC, "the file has no audio stream").at(3.0)
    assert (presence.state, presence.age_s, presence.reason) == ("missing", None, "the file has no audio stream")


@pytest.mark.parametrize(
    ("silence_s", "state", "usable"),
    [(0.0, "live", True), (0.5, "live", True), (0.6, "stale", True), (1.5, "stale", True), (1.6, "missing", False)],
)
def test_silence_makes_a_stream_stale_then_missing(silence_s: float, state: str, usable: bool):
    presence = stream_with(0.2, 0.4).at(0.4 + silence_s)
    assert (presence.state, presence.usable) == (state, usable)


def test_a_known_loss_is_missing_at_once():
    stream = stream_with(0.2, 0.4)
    stream.lose(0.5, "unplugged")
    assert (stream.at(0.5).state, stream.at(0.5).reason, stream.at(0.5).age_s) == ("missing", "unplugged", None)


def test_a_lost_stream_recovers_only_when_it_is_steady():
    stream = stream_with(0.2)
    stream.lose(0.5, "unplugged")
    states = []
    for time_s in (2.0, 2.2, 2.4, 2.6):
        stream.arrive(time_s)
        states.append(stream.at(time_s).state)
    assert states == ["recovering", "recovering", "recovering", "live"]


def test_a_stream_that_flickers_while_recovering_starts_over():
    stream = stream_with(0.2)
    stream.lose(0.5, "unplugged")
    stream.arrive(2.0)
    assert stream.at(2.7).state == "missing"
    stream.arrive(2.8)
    stream.arrive(3.0)
    assert stream.at(3.0).state == "recovering"


def test_a_stale_stream_is_live_again_with_the_next_arrival():
    stream = stream_with(0.0)
    assert stream.at(1.0).state == "stale"
    stream.arrive(1.1)
    assert stream.at(1.1).state == "live"


def test_what_was_suspected_is_the_reason_when_the_stream_is_given_up():
    stream = stream_with(0.0)
    stream.suspect("no face in view")
    assert stream.at(1.0).reason == "no face in view"
    assert stream.at(2.0).state == "missing"
    assert stream.at(2.0).reason == "no face in view"


Event = st.tuples(st.sampled_from(["arrive", "lose", "ask"]), st.floats(0.0, 2.0))


@given(st.lists(Event, max_size=40))
def test_no_story_leaves_a_stream_live_without_fresh_data(story: list[tuple[str, float]]):
    stream, now_s = StreamPresence(SPEC), 0.0
    newest_s: float | None = None
    returned_s: float | None = None
    for event, gap_s in story:
        now_s += gap_s
        before = stream.at(now_s).state
        if event == "arrive":
            stream.arrive(now_s)
            returned_s = now_s if before == "missing" and newest_s is not None else returned_s
            newest_s = now_s
        elif event == "lose":
            stream.lose(now_s, "gone")
            assert stream.at(now_s).state == "missing"
        presence = stream.at(now_s)
        silence_s = float("inf") if newest_s is None else now_s - newest_s
        assert (presence.reason is None) == (presence.state == "live")
        assert presence.state != "live" or silence_s <= SPEC.stale_after_s + 1e-5
        assert not presence.usable or silence_s <= SPEC.missing_after_s + 1e-5
        assert (presence.age_s is None) == (presence.state == "missing")
        if before == "recovering" and presence.state == "live":
            assert returned_s is not None
            assert now_s - returned_s >= SPEC.recover_after_s - 1e-5
