"""The hand-over from the threads that receive data to the loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox
from taemi_edge.media.hops import SoundPiece
from tests.live.frames import frame, sound


def test_boxes_that_nobody_empties_keep_the_newest_and_count_the_rest():
    frames, sounds, rows = FrameBox(5.0, keep_s=1.0), SoundBox(16_000, keep_s=1.0), RowBox(1, 1.0, "nobody yet")
    for index in range(1000):
        frames.put(frame(index * 0.04))
        sounds.put(sound(index * 0.1, 0.1))
        rows.put(index * 0.1, [float(index)])
    kept, _ = frames.take(200.0)
    assert len(kept) <= 6
    assert kept[-1].time_s == pytest.approx(39.8, abs=0.21)
    assert frames.dropped == 200 - len(kept)
    assert frames.newest is not None
    assert frames.newest.time_s == pytest.approx(39.96)
    heard, _ = sounds.take(200.0)
    assert len(heard) <= 11
    assert sounds.dropped == 1000 - len(heard)
    [values], _ = rows.take(200.0)
    assert values.rows[-1] == [999]
    assert rows.dropped == 1000 - len(values.rows)


def test_rows_are_bounded_however_fast_they_come(monkeypatch):
    monkeypatch.setattr(RowBox, "MOST_ROWS", 10)
    rows = RowBox(1, 1e9, "nobody yet")
    for index in range(25):
        rows.put(index * 1e-6, [0.0])
    assert len(rows.take(1.0)[0][0].rows) == 10
    assert rows.dropped == 15


def test_a_box_cuts_sound_at_the_hop():
    box = SoundBox(16_000, keep_s=5.0)
    box.put(SoundPiece(0.9, np.arange(3200, dtype=np.float32)))
    assert [len(piece.values) for piece in box.take(1.0)[0]] == [1600]
    [rest], _ = box.take(2.0)
    assert rest.time_s == pytest.approx(1.0)
    assert rest.values[0] == 1600


@pytest.mark.parametrize(
    ("time_s", "row", "words"),
    [
        (2.0, [1.0], "expected 2 values, got 1"),
        (2.0, [1.0, float("nan")], "finite"),
        (2.0, [1.0, float("inf")], "finite"),
        (0.5, [1.0, 2.0], "expected no time before 1.000 s"),
    ],
)
def test_a_row_that_is_wrong_is_refused_and_the_others_stay(time_s: float, row: list[float], words: str):
    box = RowBox(2, 5.0, "nobody yet")
    box.put(1.0, [0.0, 0.0])
    with pytest.raises(ValueError, match=words):
        box.put(time_s, row)
    [values], fault = box.take(9.0)
    assert values.times_s.tolist() == [1.0]
    assert fault == ("NaN in its values" if "finite" in words else None)
    assert box.take(9.0) == ([], None)  # a fault is told once


@given(
    batches=st.lists(st.lists(st.floats(0, 100), min_size=1, max_size=8), max_size=8),
    ends_s=st.lists(st.floats(0, 100), max_size=3),
)
def test_batches_in_any_order_come_out_in_the_order_of_time(batches: list[list[float]], ends_s: list[float]):
    box, came = RowBox(1, 1e9, None), list[float]()
    for index, times_s in enumerate(batches):
        box.put_rows(np.array(times_s), np.array(times_s, np.float32)[:, None])
        came += [t for end in ends_s[index : index + 1] for v in box.take(end)[0] for t in v.times_s.tolist()]
    came += [t for values in box.take(100.0)[0] for t in values.times_s.tolist()]
    assert came == sorted(came)
    assert len(came) + box.late == sum(map(len, batches))
    assert len(box) == 0


def test_rows_of_which_numbers_are_none_are_left_out_of_a_batch():
    box = RowBox(2, 5.0, None)
    box.put_rows(np.array([1.0, 2.0]), np.array([[1, np.nan], [3, 4]], np.float32))
    [values], fault = box.take(9.0)
    assert values.rows.tolist() == [[3, 4]]
    assert fault == "NaN in its values"


@given(times_s=st.lists(st.floats(0, 100), max_size=40), end_s=st.floats(0, 100))
def test_rows_come_out_once_in_the_order_of_time_and_when_they_are_due(times_s: list[float], end_s: float):
    box, good = RowBox(1, 1e9, "nobody yet"), []
    for time_s in times_s:
        try:
            box.put(time_s, [time_s])
        except ValueError:
            continue
        good.append(time_s)
    given = [time_s for end in (end_s, 100.0) for values in box.take(end)[0] for time_s in values.times_s.tolist()]
    assert given == good == sorted(good)
    assert all(time_s <= end_s for time_s in given[: sum(time_s <= end_s for time_s in good)])
