"""Where the examples in docstrings run: a folder of their own with a small model and a clip in it.

An example may name `export/taemi-tiny` (a bundle of the smallest recipe), `talk.mp4` and `talk.vtt` (the demo clip and
its transcript), and `corpus/` (six synthetic clips with labels). Whatever an example writes stays in that folder.
"""

from __future__ import annotations

import os
import shutil
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


@pytest.fixture(autouse=True)
def _run_examples_in_their_place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not isinstance(request.node, pytest.DoctestItem):
        return
    source = "".join(example.source for example in request.node.dtest.examples) if request.node.dtest else ""
    needs_place = any(name in source for name in ("export/taemi-tiny", "talk.mp4", "corpus"))
    place = request.getfixturevalue("place_for_examples") if needs_place else tmp_path_factory.mktemp("example")
    monkeypatch.chdir(place)
