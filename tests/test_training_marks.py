"""Whatever shows predictions says that a model was trained on synthetic data, and nothing of one of real data."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle, write_manifest
from taemi_edge.bundle.names import names_problem
from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.bundle.training_data import is_synthetic, said_shortly, training_mark
from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.channels.described_run import DescribedRun
from taemi_edge.live.outputs.update_metrics import model_metrics
from taemi_edge.loaded_model import load
from taemi_edge.pictures import STATE_COLOURS, add_note, new_figure, rgb
from taemi_edge.runtime.panel import Panel
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.recorded_run import _prediction
from taemi_edge.runtime.timeline import mark_of, plot_timeline

SYNTHETIC = "the synthetic corpus of seed 0 (630 clips)"


@pytest.mark.parametrize(
    ("trained_on", "synthetic"),
    [
        (SYNTHETIC, True),
        ("Synthetic voices and 20 recordings", True),
        ("synthetically made noises", True),
        ("recordings of 60 pumps", False),
        ("non-synthetic data", False),
        ("recordings, not synthetic ones", False),
        ("photosynthetic plants", False),
        ("images of a synthetic-aperture radar", False),
        ("", False),
    ],
)
def test_what_is_said_of_training_tells_whether_it_was_synthetic(trained_on: str, synthetic: bool):
    assert is_synthetic(trained_on) == synthetic
    assert bool(training_mark(trained_on)) == synthetic


def trained_on(bundle: Path, words: str, folder: Path) -> Bundle:
    """A copy of a bundle that says that it was trained on something."""
    folder.mkdir(parents=True)
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = open_bundle(bundle).manifest
    write_manifest(folder, msgspec.structs.replace(manifest, trained=True, trained_on=words))
    return open_bundle(folder)


@pytest.fixture
def both(tiny_folder: Path, tmp_path: Path) -> tuple[Bundle, Bundle]:
    """A model of synthetic data, and one of real data."""
    made = trained_on(tiny_folder, SYNTHETIC, tmp_path / "synthetic")
    return made, trained_on(tiny_folder, "8,072 clips of people", tmp_path / "real")


def prediction_of(bundle: Bundle) -> Prediction:
    with load(bundle.folder) as model:
        return model.predict(text="so it is")


def test_each_line_says_it(both: tuple[Bundle, Bundle]):
    marked, plain = (json.loads(prediction_of(bundle).to_json()) for bundle in both)
    assert (marked["synthetic"], marked["trained_on"]) == (True, SYNTHETIC)
    assert not {"synthetic", "trained_on"} & set(plain)
    assert _prediction(Path("r.mcap"), msgspec.json.encode(marked)).synthetic


def test_a_book_of_training_data_is_cut_short(tiny_folder: Path, tmp_path: Path):
    bundle = trained_on(tiny_folder, "synthetic " * 9000, tmp_path / "long")
    assert len(prediction_of(bundle).trained_on) == 200
    assert len(said_shortly("é" * 201)) == 200


def prediction(outputs: dict[str, Any], synthetic: bool = True) -> Prediction:
    said = {"synthetic": True, "trained_on": SYNTHETIC} if synthetic else {}
    return Prediction(
        source="s",
        time_s=1.0,
        window_s=(0.0, 1.0),
        outputs=outputs,
        presence={"imu": "live"},
        age_ms={},
        latency_ms={},
        reason={},
        status="ok",
        **said,
    )


def test_an_output_that_is_called_so_keeps_its_name():
    line = prediction({"synthetic": {"fake": 0.25}}).to_json()
    assert json.loads(line)["synthetic"] == {"fake": 0.25}
    read = _prediction(Path("r.mcap"), line.encode())
    assert (read.outputs, read.synthetic) == ({"synthetic": {"fake": 0.25}}, False)
    assert names_problem(["imu"], ["synthetic"]) is None  # a bundle of an older version opens


def test_a_frame_of_the_annotated_video_says_it():
    panel = Panel({"o": RegressionSpec(("a", "b"))}, {"imu": None}, synthetic=True)  # type: ignore[dict-item]
    amber = np.array(rgb(STATE_COLOURS["stale"]), np.int16)

    def marked(said: Prediction | None) -> bool:
        near = np.abs(panel.draw(said)[:24].astype(np.int16) - amber).max(axis=-1) < 24
        return bool(near.sum() > 40)

    assert marked(None)
    assert marked(prediction({"o": {"a": 0.1, "b": 0.2}}))
    assert not marked(prediction({"o": {"a": 0.1, "b": 0.2}}, synthetic=False))  # another model was taken up


def test_the_timeline_says_it(tmp_path: Path):
    pytest.importorskip("matplotlib")
    marked, plain = (prediction({"o": {"a": 0.1}}, synthetic) for synthetic in (True, False))
    assert mark_of([marked, plain]) == f"trained on synthetic data: {SYNTHETIC}"
    assert mark_of([plain]) == ""
    for said, name in ((marked, "m.svg"), (plain, "p.svg")):
        plot_timeline([said], tmp_path / name)
    sizes = [len((tmp_path / name).read_bytes()) for name in ("m.svg", "p.svg")]
    assert sizes[0] > sizes[1] + 1000


@pytest.mark.parametrize("said", ["x" * 300, "MW " * 100, "a b\nc " * 60])
def test_a_long_note_of_a_picture_is_no_wider_than_the_picture(said: str):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure = new_figure((6.0, 4.0))
    figure.subplots(1, 1)
    canvas = FigureCanvasAgg(figure)
    add_note(figure, training_mark(f"synthetic {said}"))
    canvas.draw()
    [note] = [text for text in figure.findobj(Text) if "synthetic" in text.get_text()]
    box = note.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= canvas.get_width_height()[0]


def test_a_recording_and_the_health_of_a_run_say_it(both: tuple[Bundle, Bundle]):
    for bundle, marked in zip(both, (True, False), strict=True):
        manifest = bundle.manifest
        run = DescribedRun(manifest, "id", 4.0, 0.5, [], 0, live=False)
        said = run.metadata(lossless=False)
        assert ("trained_on" in said, said.get("synthetic")) == ((True, "true") if marked else (False, None))
        assert ("trained on synthetic data" in run.title) == marked
        state = LiveState(SimpleNamespace(fleet=SimpleNamespace(manifest=manifest)), manifest, "id")  # type: ignore[arg-type]
        assert state.trained_on_synthetic == (SYNTHETIC if marked else "")
        names = [metric.name for metric in model_metrics(state)]
        assert ("taemi_edge_model_synthetic" in names) == marked


def test_a_model_repository_for_triton_says_it(both: tuple[Bundle, Bundle]):
    from taemi_edge.scale.triton.config import ServingOptions, config_text

    marked, plain = (config_text(bundle, "tiny", ServingOptions()) for bundle in both)
    assert 'key: "synthetic" value { string_value: "true" }' in marked
    assert SYNTHETIC in marked
    assert "synthetic" not in plain
