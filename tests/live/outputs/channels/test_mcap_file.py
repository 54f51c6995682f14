"""Files of a recording: their names, their size, full disks, and what is left when one is abandoned."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("foxglove", reason="recordings are written with foxglove-sdk")
pytest.importorskip("mcap", reason="recordings are read with mcap")

import foxglove
import mcap.writer

from taemi_edge.errors import OutputError
from taemi_edge.live.outputs.channels import mcap_file
from taemi_edge.live.outputs.channels.mcap_file import McapFile
from taemi_edge.live.viewer_config import McapConfig
from tests.live.outputs.recordings import read


class Recording:
    """A recording of one channel with messages that cannot be compressed."""

    def __init__(self, config: McapConfig) -> None:
        context = foxglove.Context()
        self.parts = 0
        self.channel = foxglove.Channel("/a", schema={"type": "object", "title": "t"}, context=context)
        self.file = McapFile(config, context, {"model": "any"}, self._begin)
        self._noise = np.random.default_rng(0)
        self.said = 0

    def _begin(self) -> None:
        self.parts += 1

    def say(self, count: int, kib: int = 8) -> None:
        for _ in range(count):
            noise = self._noise.integers(0, 256, kib * 512, np.uint8).tobytes().hex()
            self.channel.log(f'{{"n": {self.said}, "noise": "{noise}"}}', log_time=1000 + self.said)
            self.said += 1
            self.file.after_hop()


@pytest.fixture(autouse=True)
def chunks_at_once(monkeypatch):
    """Every hop is brought to the file, as if two seconds lay between two of them."""
    monkeypatch.setattr(mcap_file, "_CHUNK_S", 0.0)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 256 kB, where mounting one is allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount") or "mount", shutil.which("umount") or "umount"
    words = [mount, "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run([umount, str(folder)], check=True)


def numbers(file: Path, whole: bool = True) -> list[int]:
    return [message["n"] for message in read(file, whole).of("/a")]


def test_a_file_that_is_there_is_left_alone(tmp_path, caplog):
    (tmp_path / "run.mcap").write_bytes(b"")
    (tmp_path / "run-7.mcap").write_bytes(b"")
    (tmp_path / "run-other.mcap").write_bytes(b"")
    with caplog.at_level(logging.INFO, "taemi_edge.live"):
        recording = Recording(McapConfig(file=str(tmp_path / "run.mcap")))
        recording.say(2)
        recording.file.close()
    assert numbers(tmp_path / "run-8.mcap") == [0, 1]
    assert (tmp_path / "run.mcap").read_bytes() == b""
    assert "is there already: the recording goes to" in caplog.text


def test_at_its_size_it_ends_whole(tmp_path, caplog):
    file = tmp_path / "deep" / "run.mcap"
    recording = Recording(McapConfig(file=str(file), most_mib=0.1))
    recording.say(100)
    recording.file.close()
    kept = numbers(file)
    assert kept == list(range(len(kept)))
    assert 5 < len(kept) < 100
    assert file.stat().st_size < 0.13 * 2**20
    [line] = [record.getMessage() for record in caplog.records]
    assert "has reached 0.1 MiB: raise mcap.most_mib, or set mcap.split_mib" in line


def test_parts_begin_anew_and_the_oldest_are_removed(tmp_path, caplog):
    file = tmp_path / "run.mcap"
    recording = Recording(McapConfig(file=str(file), most_mib=0.2, split_mib=0.05))
    recording.say(100)
    recording.file.close()
    parts = sorted(tmp_path.iterdir(), key=lambda part: int(part.stem.partition("-")[2] or 1))
    assert not file.exists()
    assert sum(part.stat().st_size for part in parts) < 0.22 * 2**20
    kept = [number for part in parts for number in numbers(part)]
    assert kept == list(range(kept[0], 100))
    assert recording.parts == int(parts[-1].stem.partition("-")[2])
    assert not caplog.records


def test_recordings_of_others_are_never_removed_to_make_room(tmp_path):
    file = tmp_path / "drive.mcap"
    with file.open("wb") as stream:
        writer = mcap.writer.Writer(stream)
        writer.start("ros2", "a robot's recorder")
        writer.add_attachment(0, 0, "map", "application/octet-stream", bytes(2**20))
        writer.finish()
    content = file.read_bytes()
    recording = Recording(McapConfig(file=str(file), most_mib=0.2, split_mib=0.05))
    recording.say(60)
    recording.file.close()
    assert file.read_bytes() == content
    assert not (tmp_path / "drive-2.mcap").exists()
    assert sum(part.stat().st_size for part in tmp_path.glob("drive-*.mcap")) < 0.22 * 2**20


def test_a_full_disk_costs_a_pause_and_one_sentence(small_disk, caplog, monkeypatch):
    file = small_disk / "run.mcap"
    recording = Recording(McapConfig(file=str(file)))
    ballast = small_disk / "ballast"
    recording.say(5)
    ballast.write_bytes(bytes(100 * 1024))
    recording.say(60)
    assert (recording.file.failures, recording.file.path) == (1, None)
    [line] = [record.getMessage() for record in caplog.records]
    assert "the recording pauses, and the run goes on" in line
    assert "no space left on the device" in line
    kept = numbers(file, whole=False)
    assert kept == list(range(len(kept)))
    assert len(kept) > 5
    monkeypatch.setattr(mcap_file, "_AGAIN_S", 0.0)
    recording.file._again_s = 0.0  # a minute later, and the disk is full all the same
    recording.say(3)
    assert recording.file.path is None
    assert len(caplog.records) <= 3
    ballast.unlink()
    said = recording.said
    recording.say(4)
    recording.file.close()
    assert numbers(small_disk / "run-2.mcap")[-3:] == [said + 1, said + 2, said + 3]


def test_a_disk_that_is_full_from_the_beginning_is_said_before_the_run(small_disk):
    (small_disk / "ballast").write_bytes(bytes(256 * 1024))
    with pytest.raises(OutputError, match="no space left on the device"):
        Recording(McapConfig(file=str(small_disk / "run.mcap")))
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_what_was_brought_to_the_file_can_be_read_before_it_ends(tmp_path):
    recording = Recording(McapConfig(file=str(tmp_path / "run.mcap")))
    recording.say(7)
    assert numbers(tmp_path / "run.mcap", whole=False) == list(range(7))
    recording.file.close()


def test_a_run_over_files_says_what_became_of_its_recording(small_disk, cli_here, robot_folder, drive, tmp_path):
    files = drive.files
    words = ["run", robot_folder, files["eye"], "--stream", f"wrist={files['wrist']}", "--lossless", "--record"]
    full = cli_here(*words, small_disk / "run.mcap", "--output", tmp_path / "full.jsonl")
    assert full.returncode != 0
    assert "run.mcap: no space left on the device" in full.stderr.splitlines()[-1]
    assert len((tmp_path / "full.jsonl").read_text().splitlines()) == 12  # the run itself went on
    (tmp_path / "run.mcap").write_bytes(b"kept")
    there = cli_here(*words, tmp_path / "run.mcap")
    assert there.returncode == 0, there.stderr
    assert "run.mcap is there already: the recording goes to" in there.stderr
