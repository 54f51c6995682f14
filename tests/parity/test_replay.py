"""Another bundle on what a run has recorded: the same hops, the same presence, and the two predictions of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("foxglove", reason="recordings are written with foxglove-sdk")
pytest.importorskip("mcap", reason="recordings are read with mcap")
pytest.importorskip("rosbags")

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.errors import InputError, UsageError
from taemi_edge.parity.prediction_differences import DifferenceCounter
from taemi_edge.parity.replay import ReplayOptions, line_of, replay_run
from taemi_edge.runtime.files import RunOptions, predict_file
from tests.parity.recorded_runs import record
from tests.robots.drives import write_mcap
from tests.robots.messages import Form, messages

DROPS = ("eye@2-4", "wrist@3-5")


@pytest.fixture(scope="module")
def recorded(robot_folder: Path, drive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over six seconds with two rehearsed losses, recorded without loss, and once more compressed."""
    folder = tmp_path_factory.mktemp("recorded")
    record(robot_folder, folder / "lossless.mcap", dict(drive.files), *DROPS, lossless=True)
    record(robot_folder, folder / "usual.mcap", dict(drive.files), *DROPS)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with other weights, and another window."""
    torch = pytest.importorskip("torch")
    from tests.robots.model import export_robot

    folder, seed = tmp_path_factory.mktemp("other") / "robot", torch.manual_seed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "manual_seed", lambda _: seed(7))
        export_robot(folder)
    return folder


def replayed(file: Path, bundle: Path, **options: Any) -> tuple[list[Any], Any, list[str]]:
    counter, hops, notes = DifferenceCounter(), [], []
    for hop in replay_run(file, open_bundle(bundle), ReplayOptions(threads=1, **options), notes):
        counter.add(hop.recorded, hop.new)
        hops.append(hop)
    return hops, counter.differences(), notes


def test_the_same_bundle_predicts_the_same_to_the_last_digit(recorded: Path, robot_folder: Path):
    hops, found, notes = replayed(recorded / "lossless.mcap", robot_folder)
    assert (len(hops), found.largest, notes) == (12, 0.0, [])
    for hop in hops:
        assert (hop.new.time_s, hop.new.presence, hop.new.reason, hop.new.age_ms) == (
            hop.recorded.time_s, hop.recorded.presence, hop.recorded.reason, hop.recorded.age_ms,
        )  # fmt: skip
    states = {hop.new.presence["eye"] for hop in hops}
    assert {"live", "missing"} <= states


def test_compressed_pictures_are_nearly_those_that_were_seen(recorded: Path, robot_folder: Path):
    _, found, notes = replayed(recorded / "usual.mcap", robot_folder)
    assert 0 < found.largest < 0.05
    assert all(presence.changed == 0 for presence in found.presence.values())
    assert notes == ["pictures and sound were compressed when they were recorded: --lossless keeps them as they are"]


def test_another_bundle_is_shown_beside_the_recorded_one(recorded: Path, other: Path):
    hops, found, _ = replayed(recorded / "lossless.mcap", other)
    group = found.groups["effort"]
    assert set(group.numbers) == {"push", "turn"}
    assert found.largest > 0.01
    line = json.loads(line_of(hops[3]))
    change = line["new"]["outputs"]["effort"]["push"] - line["recorded"]["outputs"]["effort"]["push"]
    assert line["difference"]["effort"]["push"] == pytest.approx(change, abs=1e-6)
    assert line["recorded"]["presence"] == line["new"]["presence"]


def test_streams_may_have_other_names_and_be_left_out(recorded: Path, tiny_folder: Path, robot_folder: Path):
    with pytest.raises(UsageError, match="expected a stream of the bundle, eye"):
        replayed(recorded / "usual.mcap", robot_folder, streams={"nose": "eye"})
    with pytest.raises(UsageError, match="expected a recorded stream, eye"):
        replayed(recorded / "usual.mcap", robot_folder, streams={"eye": "nose"})
    with pytest.raises(InputError, match="expected series for the stream wrist, got eye, which is video"):
        replayed(recorded / "usual.mcap", robot_folder, streams={"wrist": "eye"})
    with pytest.raises(UsageError, match="expected a bundle that takes what was recorded"):
        replayed(recorded / "usual.mcap", tiny_folder)
    with pytest.raises(InputError, match="one of the recorded outputs effort, got one with intensities"):
        replayed(recorded / "usual.mcap", tiny_folder, streams={"text": "talk", "vision": "eye"})
    with pytest.raises(UsageError, match="expected one of its sources"):
        replayed(recorded / "usual.mcap", robot_folder, source="door")


def test_a_recording_of_a_robot_is_none_of_a_run(drive: Any, robot_folder: Path, tmp_path: Path):
    file = write_mcap(tmp_path / "drive.mcap", messages(drive, Form(pictures="none", others=False)))
    with pytest.raises(InputError, match="expected the hops and predictions .* found /imu/data, /transcript"):
        replayed(file, robot_folder)
    with pytest.raises(InputError, match="expected the recording of a run"):
        replayed(drive.files["wrist"], robot_folder)


def test_a_recording_that_was_cut_off_is_replayed_up_to_there(recorded: Path, robot_folder: Path, tmp_path: Path):
    whole = (recorded / "lossless.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) * 2 // 3])
    try:
        hops, found, notes = replayed(tmp_path / "cut.mcap", robot_folder)
    except InputError as error:  # its one chunk is all that it has
        assert "cut off" in str(error) or "expected" in str(error)
        return
    assert 0 < len(hops) < 12
    assert found.largest == 0
    assert "cut off" in notes[-1]


def test_a_recorded_run_is_a_recording_whose_topics_have_the_names_of_streams(recorded: Path, robot_folder: Path):
    again = list(predict_file(open_bundle(robot_folder), recorded / "lossless.mcap", RunOptions(threads=1)))
    drops = {2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0}  # rehearsed losses are the recorded run's own
    hops, _, _ = replayed(recorded / "lossless.mcap", robot_folder)
    before = [(hop.recorded.outputs, one.outputs) for hop, one in zip(hops, again, strict=False)
              if hop.recorded.time_s < min(drops)]  # fmt: skip
    assert len(before) == 3
    assert all(ours == theirs for ours, theirs in before)


def test_a_later_part_of_a_run_says_that_it_is_one(drive: Any, robot_folder: Path, tmp_path: Path):
    record(robot_folder, tmp_path / "run.mcap", dict(drive.files), lossless=True, split_mib=0.2)
    parts = sorted(tmp_path.glob("run*.mcap"))
    if len(parts) < 2:
        pytest.skip("the recording was not split")
    hops, _, notes = replayed(parts[0] if parts[0].name != "run.mcap" else parts[1], robot_folder)
    assert hops[0].new.time_s > 0.5
    assert any("the recorded predictions knew what is not in it" in note for note in notes)
