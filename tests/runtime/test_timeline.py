"""The plot of a run's predictions over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")
from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.pictures import series_line
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.timeline import _merged, output_plots, outputs_of, plot_timeline

ARM = RegressionSpec(tuple(f"joint_{i}" for i in range(40)), (-3.0, 3.0))
DIGIT = ClassesSpec(tuple("0123456789"))
TAGS = ClassesSpec(("speech", "music"), exclusive=False)


def a_run(outputs: dict[str, OutputSpec], streams: int, hops: int = 6) -> list[Prediction]:
    """Predictions of which the third has no outputs; each stream is lost once."""
    random, names = np.random.default_rng(0), [f"stream_{i}" for i in range(streams)]
    made = []
    for hop in range(hops):
        described: Any = {n: spec.described(random.normal(size=spec.size)) for n, spec in outputs.items()}
        presence: Any = {name: "missing" if hop == i % hops else "live" for i, name in enumerate(names)}
        made.append(
            Prediction(
                source="x",
                time_s=0.5 * (hop + 1),
                window_s=(0.0, 0.5 * (hop + 1)),
                outputs=dict.fromkeys(outputs) if hop == 2 else described,
                presence=presence,
                age_ms={},
                latency_ms={},
                reason={},
                status="ok",
            )
        )
    return made


@pytest.mark.parametrize(
    ("outputs", "streams", "hops", "least_height"),
    [
        ({"one": RegressionSpec(("one",))}, 1, 1, 300),
        ({"arm": ARM}, 12, 6, 1200),
        ({"digit": DIGIT, "tags": TAGS, "speed": RegressionSpec(("speed",))}, 6, 6, 1000),
    ],
)
def test_the_picture_grows_with_what_it_shows(outputs: Any, streams: int, hops: int, least_height: int, tmp_path: Path):
    plot_timeline(a_run(outputs, streams, hops), tmp_path / "t.png", "a run", outputs)
    picture = cv2.imread(str(tmp_path / "t.png"))
    assert picture.shape[1] == 1200
    assert picture.shape[0] >= least_height
    assert (picture[:, :600] != 255).any(axis=-1).mean() > 0.02


def test_the_groups_follow_from_the_predictions():
    outputs: dict[str, OutputSpec] = {"digit": DIGIT, "tags": TAGS, "speed": RegressionSpec(("mps", "turns"))}
    assert outputs_of(a_run(outputs, 1)) == outputs


def test_classes_are_probabilities_and_a_gap_is_no_number():
    (plot,) = output_plots(a_run({"digit": DIGIT}, 1), {"digit": DIGIT})
    assert plot.is_map
    assert np.isnan(plot.values).all(axis=0).tolist() == [False, False, True, False, False, False]
    np.testing.assert_allclose(np.nansum(plot.values, axis=0)[[0, 1, 3]], 1.0, atol=1e-4)


def test_lone_numbers_of_one_range_share_a_plot():
    spec = RegressionSpec(("value",), (0.0, 1.0))
    outputs: dict[str, OutputSpec] = {"a": spec, "b": spec, "far": RegressionSpec(("value",), (0.0, 9.0))}
    assert [plot.names for plot in _merged(output_plots(a_run(outputs, 1), outputs))] == [("a", "b"), ("value",)]


def test_each_series_has_a_colour_of_its_own_and_beyond_eight_another_line():
    lines = [series_line(i, 42) for i in range(42)]
    assert len({line["color"] for line in lines}) == 42
    assert {line["linestyle"] for line in lines[:8]} == {"-"}
    assert lines[8]["linestyle"] != "-"


def test_the_timeline_is_drawn(cli, tiny_folder, demo_video, tmp_path: Path):
    drop = ["--drop", "vision@2-4", "--plot", tmp_path / "t.png", "--output", tmp_path / "p.jsonl"]
    assert cli("run", tiny_folder, demo_video, *drop).returncode == 0
    assert (tmp_path / "t.png").stat().st_size > 20_000


def test_names_are_drawn_letter_by_letter(tmp_path: Path):
    names = ("between $x_{ and $5", "\\frac", "x" * 200)
    run = a_run({"price": ClassesSpec(names=names)}, streams=1)
    plot_timeline(run, tmp_path / "a.png", "a$b_{c$.csv")
    assert cv2.imread(str(tmp_path / "a.png")) is not None
