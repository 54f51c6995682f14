"""Where the examples in docstrings run: a folder of their own with a small model and a clip in it.

An example may name `export/taemi-tiny` (a bundle of the smallest recipe), `talk.mp4` and `talk.vtt` (the demo clip and
its transcript), and `corpus/` (six synthetic clips with labels). `export/gesture` and `gesture/` (the example with a
camera and a watch, and a recording) are made where they are named. Whatever an example writes stays in that folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Small networks on busy cores: a second thread makes each step wait for the slower one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def place_for_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; made once, and only where a docstring needs it."""
    from taemi_edge.parity.golden import demo_clip
    from taemi_edge.taemi.checkpoint import open_checkpoint
    from taemi_edge.taemi.exporting import export_checkpoint
    from taemi_edge.taemi.synthetic.corpus import write_corpus

    folder = tmp_path_factory.mktemp("examples")
    for source, name in zip(demo_clip(), ("talk.mp4", "talk.vtt"), strict=True):
        shutil.copyfile(source, folder / name)
    export_checkpoint(open_checkpoint("taemi-tiny"), folder / "export" / "taemi-tiny", source="taemi-tiny")
    write_corpus(folder / "corpus", 6, seed=3)
    return folder


@pytest.fixture(scope="session")
def gesture_for_examples(place_for_examples: Path) -> Path:
    """The same folder with `export/gesture`, and `gesture/hand.mp4`, `imu.csv` and `truth.csv` of three gestures."""
    from taemi_edge.export.export_model import export_model
    from taemi_edge.export.user_code import load_model

    example = Path(__file__).parent / "examples" / "gesture"
    export_model(load_model(f"{example / 'model.py'}:build"), place_for_examples / "export" / "gesture")
    record = [sys.executable, str(example / "record.py"), "--output", str(place_for_examples / "gesture")]
    subprocess.run([*record, "left", "circle", "push"], check=True)
    return place_for_examples


@pytest.fixture(autouse=True)
def _run_examples_in_their_place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not isinstance(request.node, pytest.DoctestItem):
        return
    source = "".join(example.source for example in request.node.dtest.examples) if request.node.dtest else ""
    needs_place = any(name in source for name in ("export/taemi-tiny", "talk.mp4", "corpus"))
    place = request.getfixturevalue("place_for_examples") if needs_place else tmp_path_factory.mktemp("example")
    if "export/gesture" in source:
        request.getfixturevalue("gesture_for_examples")
    monkeypatch.chdir(place)
