"""What each example becomes on its way; a class of `tests/examples/whole_way.py` says which example it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.bundle.recipe import load_recipe
from tests.conftest import FEW_CLIPS
from tests.engines.targets import target
from tests.examples.loading import EXAMPLES

#: Enough to try the way: one method, one strength, few samples.
FEW = {**FEW_CLIPS, "clips": "8", "methods": '["minmax"]', "alphas": "[0.5]"}


@pytest.fixture(scope="class")
def place(request, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp(request.cls.example)


@pytest.fixture(scope="class")
def exported(request, cli, place) -> Path:
    """The bundle of the example, by the command of its README."""
    way = request.cls
    done = cli("export", EXAMPLES / way.example / way.declared, "--output", place / "export")
    assert done.returncode == 0, done.stderr
    return place / "export"


@pytest.fixture(scope="class")
def corpus(request, place) -> Path:
    """Samples by the example's own script, or the clips that its README makes."""
    if request.cls.corpus_fixture:
        return request.getfixturevalue(request.cls.corpus_fixture)
    request.cls.write_corpus(place / "corpus")
    return place / "corpus"


@pytest.fixture(scope="class")
def calibrated(exported, corpus, place):
    """The result of `calibrate` on those samples."""
    from taemi_edge.calibration.calibrate import calibrate_bundle
    from taemi_edge.calibration.recipe import CalibrationRecipe
    from taemi_edge.corpora.opening import open_any_corpus

    recipe = load_recipe("calibration", "default", CalibrationRecipe, FEW)
    return calibrate_bundle(exported, open_any_corpus(corpus), recipe, place / "calibration", workers=1)


@pytest.fixture(scope="class")
def built(calibrated, place):
    """Its engines for this processor, each part in the precision that was fastest and right."""
    from taemi_edge.engines.build import build_engine

    return build_engine(calibrated.bundle.folder, target(runs="2"), "auto", place / "cpu", threads=1, cache=None)
