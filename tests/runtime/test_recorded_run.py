"""What a run has recorded, as others may have left it: out of order, incomplete, of another shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap", reason="recordings are read with mcap")

from mcap.writer import Writer

from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec, StreamSpec, TextSpec
from taemi_edge.errors import InputError, UsageError
from taemi_edge.runtime.recorded_run import METADATA, RecordedRun

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
IMU = SeriesSpec(feature_dim=4, channels=2, presence=TIMES)
TALK = TextSpec(feature_dim=4, max_tokens=8, tokenizer="talk.json", presence=TIMES)
FED: dict[str, tuple[str, StreamSpec]] = {"imu": ("wrist", IMU), "talk": ("talk", TALK)}


def prediction(time_s: float) -> dict[str, Any]:
    return {
        "source": "door", "time_s": time_s, "window_s": [0.0, time_s], "pull": {"x": 0.5}, "presence": {"imu": "live"},
        "age_ms": {}, "latency_ms": {}, "reason": {}, "status": "ok", "backend": "cpu",
    }  # fmt: skip


def recorded(file: Path, *said: tuple[str, Any], metadata: dict[str, str] | None = None) -> Path:
    """A recording of lines of JSON, in their order."""
    with file.open("wb") as stream:
        writer = Writer(stream)
        writer.start(library="tests")
        writer.add_metadata(METADATA, metadata or {})
        channels: dict[str, int] = {}
        for at, (topic, line) in enumerate(said):
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "json", 0)
            writer.add_message(channels[topic], at, json.dumps(line).encode(), at)
        writer.finish()
    return file


def hop(time_s: float, **pieces: list[float]) -> tuple[str, Any]:
    return "/door/hop", {"time_s": time_s, "pieces": pieces}


def row(time_s: float, *values: float) -> tuple[str, Any]:
    return "/door/inputs/wrist", {"time_s": time_s, "values": list(values)}


def moments(file: Path, fed: dict[str, tuple[str, StreamSpec]] | None = None) -> tuple[list[Any], list[str]]:
    with RecordedRun(file) as run:
        source = run.source(None)
        wanted = {name: found for name, found in (fed or FED).items() if found[0] in source.streams}
        return list(run.moments(source, wanted)), run.notes


def test_hops_get_what_was_theirs(tmp_path: Path):
    word = ("/door/inputs/talk", {"start_s": 0.1, "end_s": 0.4, "text": "so"})
    file = recorded(
        tmp_path / "run.mcap",
        row(0.1, 1, 2), word, row(0.3, 3, 4), hop(0.5, wrist=[2], talk=[1]), ("/door/prediction", prediction(0.5)),
        row(0.6, 5, 6), hop(1.0, wrist=[1]), hop(1.5), ("/door/prediction", prediction(1.5)),
    )  # fmt: skip
    (first, second, third), notes = moments(file)
    assert [piece.rows.tolist() for piece in first.hop.pieces["imu"]] == [[[1, 2], [3, 4]]]
    assert first.hop.pieces["imu"][0].times_s.tolist() == [0.1, 0.3]
    assert [piece.text for piece in first.hop.pieces["talk"]] == ["so"]
    assert [moment.prediction is not None for moment in (first, second, third)] == [True, False, True]
    assert (third.hop.end_s, third.hop.pieces, notes) == (1.5, {}, [])


def test_the_recording_says_what_its_sources_were(tmp_path: Path):
    entry = {
        "name": "front door",
        "topic": "door",
        "absent": {"eye": "no file"},
        "drops": ["wrist@1-2"],
        "patience_s": 1,
    }
    held = {"model": "robot", "window_s": "2.0", "hop_s": "0.5", "lossless": "true", "sources": json.dumps([entry])}
    file = recorded(
        tmp_path / "run.mcap", row(0.1, 1, 2), hop(0.5), ("/door/prediction", prediction(0.5)), metadata=held
    )
    with RecordedRun(file) as run:
        source = run.source("front door")
        assert (source.absent, source.drops, source.patience_s) == ({"eye": "no file"}, ("wrist@1-2",), 1.0)
        assert (run.model, run.window_s, run.hop_s, run.is_lossless) == ("robot", 2.0, 0.5, True)
        with pytest.raises(UsageError, match="expected one of its sources front door, got 'door'"):
            run.source("door")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([hop(0.5)], "expected the hops and predictions that"),
        ([hop(0.5), ("/door/prediction", prediction(0.5))], "found predictions alone"),
        ([row(0.1, 1), hop(0.5, wrist=[1]), ("/door/prediction", prediction(0.5))], "expected rows of 2 numbers"),
        ([row(0.1, 1, 2), hop(0.5), ("/door/prediction", {"time_s": 1})], "expected the lines of a run"),
        ([row(0.1, 1, 2), hop(0.5), ("/door/prediction", [])], "expected predictions as JSON objects"),
        ([row(0.1, 1, 2), hop(1.0), hop(0.5), ("/door/prediction", prediction(1))], "hops that follow each other"),
        ([row(0.1, 1, 2), ("/door/hop", {}), ("/door/prediction", prediction(1))], "expected a hop of a recorded run"),
    ],
)
def test_what_is_no_recorded_run_is_one_sentence(tmp_path: Path, said: list[Any], message: str):
    with pytest.raises(InputError, match=message):
        moments(recorded(tmp_path / "run.mcap", *said))


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "0", "soon", "9" * 5000])
def test_metadata_that_are_no_times_count_as_none(tmp_path: Path, number: str):
    held = {"window_s": number, "hop_s": number, "session_start_ns": f"{'1' * 20}{number}"}
    said = [row(0.1, 1e300, 0.0), hop(0.5, wrist=[1]), ("/door/prediction", prediction(0.5))]
    file = recorded(tmp_path / "run.mcap", *said, metadata=held)
    with RecordedRun(file) as run:
        assert (run.window_s, run.hop_s) == (None, None)
    ((moment,), _) = moments(file)
    assert moment.hop.pieces["imu"][0].rows.tolist() == [[float("inf"), 0.0]]


def test_inputs_that_cannot_be_used_are_faults_of_their_hop(tmp_path: Path):
    file = recorded(
        tmp_path / "run.mcap",
        ("/door/inputs/wrist", "nothing"), row(0.1, 1, 2), hop(0.5, wrist=[1]), ("/door/prediction", prediction(0.5)),
    )  # fmt: skip
    [moment], notes = moments(file)
    assert len(moment.hop.pieces["imu"]) == 1
    assert "expected a line of a recorded run" in moment.hop.faults["imu"]
    assert notes[-1].startswith("1 of the inputs of wrist could not be used")
