"""The panel of a prediction: what it shows of any model's outputs and streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.palette import DARK, series_colours
from taemi_edge.pictures import STATE_COLOURS, rgb
from taemi_edge.runtime.lettering import both_ends, text_width
from taemi_edge.runtime.panel import Panel, _colours, _draw_bar
from taemi_edge.runtime.panel_rows import Bar, PanelRows, Shown
from taemi_edge.runtime.prediction import Prediction

SIGNED = RegressionSpec(("valence", "arousal"), (-1.0, 1.0))
DIGITS = ClassesSpec(tuple("0123456789"))
TAGS = ClassesSpec(("speech", "music"), exclusive=False)


def many(count: int) -> RegressionSpec:
    """So many numbers of an angle."""
    return RegressionSpec(tuple(f"joint_{i}" for i in range(count)), (-3.2, 3.2))


def drawn(outputs: dict[str, OutputSpec], described: dict[str, Any], streams: dict[str, Any]) -> np.ndarray:
    """The panel of a prediction; `streams` has the presence of each."""
    prediction = Prediction(
        source="x",
        time_s=1.0,
        window_s=(0.0, 1.0),
        outputs=described,
        presence=streams,
        age_ms={},
        latency_ms={},
        reason={},
        status="ok",
    )
    return Panel(outputs, streams).draw(prediction)


def chosen(outputs: dict[str, OutputSpec], described: dict[str, Any], space_px: int = 280) -> Shown:
    """What is shown of a prediction."""
    return PanelRows(outputs, space_px).choose(described)


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """Whether a picture has pixels of a colour."""
    return bool((picture == np.array(colour, np.uint8)).all(axis=-1).any())


def test_a_negative_value_reaches_to_the_left_of_zero():
    shown = chosen({"affect": SIGNED}, {"affect": {"valence": -0.5, "arousal": 0.25}})
    left, right = shown.sections[0].bars
    assert (left.zero, left.share, right.share) == (0.5, 0.25, 0.625)
    assert (left.number, right.number) == ("-0.50", "0.25")
    picture = drawn({"affect": SIGNED}, {"affect": {"valence": -0.5, "arousal": 0.25}}, {"a": "live"})
    bar = (picture == np.array(rgb(series_colours(2, DARK)[0]), np.uint8)).all(axis=-1).any(axis=0)
    assert 24 < np.flatnonzero(bar).min() < np.flatnonzero(bar).max() < 182


def test_classes_show_the_best_and_those_that_are_present():
    outputs = {"digit": DIGITS, "tags": TAGS}
    logits = np.eye(10)[7] * 9
    shown = chosen(outputs, {"digit": DIGITS.described(logits), "tags": TAGS.described(np.array([-9.0, -9.0]))})
    digit, tags = shown.sections
    assert (digit.heading, digit.note, tags.note) == ("digit", "7", "none of them")
    assert [bar.name for bar in digit.bars if bar.strong] == ["7"]


def test_an_axis_without_a_range_holds_all_values_so_far():
    rows = PanelRows({"load": RegressionSpec(("torque",))}, 280)
    shares = [rows.choose({"load": {"torque": value}}).sections[0].bars[0].share for value in (80.0, 150.0, 80.0)]
    assert shares == [0.8, 0.75, 0.4]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_has_no_bar(value: float | None):
    shown = chosen({"load": RegressionSpec(("torque",))}, {"load": {"torque": value}})
    assert [(bar.number, bar.share) for bar in shown.sections[0].bars] == [("\N{EN DASH}", None)]


def test_the_longest_of_many_are_shown_in_the_models_order():
    values = {name: (-1) ** i * i / 13 for i, name in enumerate(many(40).names)}
    shown = chosen({"arm": many(40)}, {"arm": values})
    names = [bar.name for bar in shown.sections[0].bars]
    assert names == [f"joint {i}" for i in range(40 - len(names), 40)]
    assert len(names) + shown.left_out == 40
    assert (len(names) + 1) * shown.row_px <= 280


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": RegressionSpec(("a",), (0.0, 1.0))},
        {"a": many(40)},
        {"a": DIGITS, "b": many(30)},
        {f"g{i}": RegressionSpec((f"g{i}",), (0.0, 1.0)) for i in range(40)},
        {f"g{i}": ClassesSpec(("on", "off")) for i in range(20)},
    ],
)
@pytest.mark.parametrize("count", [1, 3, 6, 12, 14])
def test_rows_and_lamps_never_overlap(outputs: dict[str, OutputSpec], count: int):
    names = [f"stream_{i}" for i in range(count)]
    described = {name: spec.described(np.linspace(0, 1, spec.size)) for name, spec in outputs.items()}
    panel = Panel(outputs, dict.fromkeys(names))  # type: ignore[arg-type]
    shown = panel._rows.choose(described)
    headings = sum(bool(section.heading) for section in shown.sections)
    bars = sum(len(section.bars) for section in shown.sections)
    assert bars + shown.left_out == sum(spec.size for spec in outputs.values())
    height = 50 + 26 * headings + shown.row_px * (bars + bool(shown.left_out))
    assert bars >= 1
    assert height <= panel._lamps_y - 13
    picture = drawn(outputs, described, dict.fromkeys(names, "live") | {names[-1]: "missing"})
    assert picture.shape == (480, 360, 3)
    assert has(picture, rgb(STATE_COLOURS["missing"]))  # lost streams are among those that are shown
    assert (picture[-8:] == picture[-1, -1]).all()  # nothing is cut off below


def test_no_two_of_forty_bars_look_alike():
    looks, count = set(), 40
    for index in range(count):
        canvas = np.zeros((40, 400, 3), np.uint8)
        _draw_bar(canvas, Bar("", "", 1.0, 0.0, index), (10, 10, 190, 20), _colours(count))
        looks.add(canvas.tobytes())
    assert len(looks) == 40


def test_a_group_without_a_prediction_says_so():
    picture = drawn({"digit": DIGITS}, {"digit": None}, {"a": "missing"})
    assert not has(picture, rgb(series_colours(10, DARK)[0]))


def test_long_names_are_shortened_in_the_middle():
    short = both_ends("left_shoulder_angular_velocity_x", 120, 15)
    assert short.startswith("left")
    assert short.endswith("_x")
    assert "…" in short
    assert text_width(short, 15) <= 120
