"""Sequences and their slots, without a server: who gets one, who loses it, and what one error leaves to the others."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BackendError
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.scale.triton.config import ServingOptions, settle
from taemi_edge.scale.triton.serving import Answer, Request, SequenceId, SequenceServer

SLOTS, IDLE_S = 2, 30.0


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tiny: Bundle, clock: Clock) -> Iterator[SequenceServer]:
    with SequenceServer(tiny, settle(tiny, ServingOptions(slots=SLOTS, threads=1, idle_s=IDLE_S)), clock) as opened:
        yield opened


def request(
    name: SequenceId, end_s: float, text: str | None = None, starts: bool = False, ends: bool = False, **tensors: Array
) -> Request:
    """A request whose words were said in the half second before its end."""
    given = {"end_s": np.array([[end_s]]), **tensors}
    if text is not None:
        line = json.dumps({"start": end_s - 0.4, "end": end_s - 0.1, "text": text})
        given["text"] = np.frombuffer(line.encode(), np.uint8)[None]
    return Request(name, starts, ends, given)


def one(server: SequenceServer, asked: Request) -> Answer:
    [answer] = server.answer([asked])
    return answer


def line(answer: Answer) -> dict:
    assert isinstance(answer, dict), answer
    return json.loads(bytes(answer["prediction"][0]))


def test_a_batch_is_one_call(server: SequenceServer, monkeypatch: pytest.MonkeyPatch):
    calls = []
    predict = Fleet.predict
    monkeypatch.setattr(Fleet, "predict", lambda self, hops: calls.append(len(hops)) or predict(self, hops))
    first, second = server.answer([request("door", 0.5, "so", starts=True), request(5, 9.5, "it", starts=True)])
    assert calls == [2]
    assert (line(first)["source"], line(second)["source"]) == ("door", "5")
    assert (line(first)["time_s"], line(second)["time_s"]) == (0.5, 9.5)


def test_a_sequence_that_comes_twice_in_a_batch_is_answered_in_order(server: SequenceServer):
    asked = [request("a", 0.5, "so", starts=True), request("b", 0.5, starts=True), request("a", 1.0, "it")]
    answers = server.answer(asked)
    assert [line(answer)["time_s"] for answer in answers] == [0.5, 0.5, 1.0]


def test_who_does_not_start_is_refused_alone(server: SequenceServer):
    good, bad = server.answer([request("a", 0.5, "so", starts=True), request("b", 0.5, "so")])
    assert line(good)["presence"]["text"] == "live"
    assert bad == "expected the first request of the sequence 'b' to say that it starts one: set sequence_start"


def test_a_number_is_another_sequence_than_its_digits(server: SequenceServer):
    one(server, request(5, 0.5, starts=True))
    assert isinstance(one(server, request("5", 1.0)), str)


def test_slots_are_taken_free_again_and_taken_over(server: SequenceServer, clock: Clock):
    for name in ("a", "b"):
        one(server, request(name, 0.5, "so", starts=True))
    full = "expected at most 2 sequences at once, got 'c' beside them: end one, or export the model with more --slots"
    assert one(server, request("c", 0.5, starts=True)) == full
    one(server, request("a", 1.0, "it", ends=True))
    assert line(one(server, request("c", 0.5, starts=True)))["presence"]["text"] == "missing"
    clock.now_s = IDLE_S - 1
    one(server, request("c", 1.0))
    assert one(server, request("d", 0.5, starts=True)) == full.replace("'c'", "'d'")
    clock.now_s = IDLE_S  # Triton has dropped b by now, but not c
    line(one(server, request("d", 0.5, starts=True)))
    line(one(server, request("c", 1.5)))
    assert isinstance(one(server, request("b", 1.5)), str)


def test_start_begins_anew_and_end_frees_even_where_the_request_is_bad(server: SequenceServer):
    one(server, request("a", 0.5, "so", starts=True))
    assert line(one(server, request("a", 0.5, starts=True)))["presence"]["text"] == "missing"
    assert isinstance(one(server, request("a", 0.25, "it", starts=True, nonsense=np.zeros(1))), str)
    assert line(one(server, request("a", 0.5, "so")))["presence"]["text"] == "live"
    assert isinstance(one(server, request("a", 0.25, ends=True)), str)
    assert "sequence_start" in str(one(server, request("a", 1.0)))


def test_a_refused_request_leaves_no_trace(server: SequenceServer):
    one(server, request("a", 0.5, "so", starts=True))
    before = one(server, request("a", 1.0, "it", audio=np.zeros((1, 5), np.float32)))
    assert before == "expected the input audio_time_s beside audio, found none: say when its data were taken"
    assert isinstance(one(server, request("a", 0.5, "it")), str)
    after = one(server, request("a", 1.0, "it"))
    one(server, request("b", 0.5, "so", starts=True))
    np.testing.assert_array_equal(after["intensities"], one(server, request("b", 1.0, "it"))["intensities"])


def test_a_long_pause_and_another_clock_begin_a_session(server: SequenceServer):
    one(server, request("a", 0.5, "so", starts=True))
    later = one(server, request("a", 1_700_000_000.5, "so"))
    assert line(later)["time_s"] == 1_700_000_000.5
    one(server, request("b", 0.5, starts=True))
    np.testing.assert_array_equal(later["intensities"], one(server, request("b", 1.0, "so"))["intensities"])


def test_a_device_that_fails_answers_each_and_lets_them_start_again(
    server: SequenceServer, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise BackendError("the head gave NaN")

    with monkeypatch.context() as patch:
        patch.setattr(Fleet, "predict", fail)
        answers = server.answer([request(name, 0.5, "so", starts=True) for name in ("a", "b")])
    assert answers == ["the head gave NaN; the sequence has to start again"] * 2
    assert "sequence_start" in str(one(server, request("a", 1.0)))
    line(one(server, request("c", 0.5, starts=True)))


def test_what_nobody_has_foreseen_is_raised_and_frees_the_slots(
    server: SequenceServer, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Fleet, "prepare", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one(server, request("a", 0.5, "so", starts=True))
    assert "sequence_start" in str(one(server, request("a", 1.0)))


#: Tensors of the tiny model with what is right and wrong of them: types, shapes, and numbers.
SHAPES = {
    "end_s": [(1, 1), (1, 2), (2, 1)],
    "vision": [(1, 0, 0, 0, 3), (1, 2, 5, 7, 3), (1, 1, 1, 1, 3), (1, 1, 0, 4, 3)],
    "vision_crops": [(1, 0, 32, 32, 3), (1, 1, 32, 32, 3), (1, 1, 16, 16, 3)],
    "vision_times_s": [(1, 0), (1, 1), (1, 2)],
    "audio": [(1, 0), (1, 8000), (1, 1), (8000,)],
    "audio_time_s": [(1, 1), (1, 0)],
    "text": [(1, 0), (1, 40)],
    "radar": [(1, 1)],
}
TYPES = {"vision": np.uint8, "vision_crops": np.uint8, "text": np.uint8, "audio": np.float32}
NUMBERS = [0.0, 0.1, 0.5, 1.0, 2.5, 61.0, 1.7e9, -1.0, -1e300, 1e300, np.nan, np.inf]


@st.composite
def any_request(draw: st.DrawFn) -> Request:
    tensors = {}
    for name, shapes in SHAPES.items():
        if draw(st.booleans()) or name == "end_s":
            array = np.full(draw(st.sampled_from(shapes)), draw(st.sampled_from(NUMBERS)))
            kind = draw(st.sampled_from([TYPES.get(name, np.float64)] * 9 + [np.int64]))
            with np.errstate(all="ignore"):
                tensors[name] = array.astype(kind)
    sequence = draw(st.sampled_from([1, "a", "b", "c"]))
    return Request(sequence, draw(st.booleans()), draw(st.sampled_from([False, False, True])), tensors)


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(st.lists(any_request(), max_size=4), max_size=6))
def test_whatever_comes_is_answered_in_one_sentence_or_with_numbers(tiny: Bundle, batches: list[list[Request]]):
    with SequenceServer(tiny, settle(tiny, ServingOptions(slots=SLOTS, threads=1))) as server:
        for batch in batches:
            answers = server.answer(batch)
            assert len(answers) == len(batch)
            for answer in answers:
                assert isinstance(answer, dict) or (answer and "\n" not in answer)
        assert len(server._free) + len(server._sequences) == SLOTS
