"""What a run has recorded: hops, predictions and inputs as lines of JSON, in a file that anybody may have written."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec, StreamSpec, TextSpec
from taemi_edge.parity.prediction_differences import DifferenceCounter, differences_json
from taemi_edge.runtime.recorded_run import METADATA, RecordedRun
from tests.fuzz.harness import Harness, as_file
from tests.fuzz.mutation.trees import mutate_json_lines

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
STREAMS: dict[str, tuple[str, StreamSpec]] = {
    "imu": ("wrist", SeriesSpec(feature_dim=4, channels=2, presence=TIMES)),
    "talk": ("talk", TextSpec(feature_dim=4, max_tokens=8, tokenizer="talk.json", presence=TIMES)),
}


def _recorded_run(content: bytes) -> None:
    """Each line is [TOPIC, what it says]; that of an empty topic is the metadata."""
    file = as_file(_mcap(content), "run.mcap")
    counter = DifferenceCounter()
    with RecordedRun(file) as run:
        for source in run.sources.values():
            fed = {name: found for name, found in STREAMS.items() if found[0] in source.streams}
            for moment in run.moments(source, fed):
                for pieces in moment.hop.pieces.get("imu", []):
                    assert np.isfinite(pieces.times_s).all()
                    assert pieces.rows.shape[1] == 2
                if moment.prediction is not None:
                    counter.add(moment.prediction, moment.prediction)
    json.dumps(differences_json(counter.differences()))


def _mcap(content: bytes) -> bytes:
    from mcap.writer import CompressionType, Writer

    made = BytesIO()
    writer = Writer(made, compression=CompressionType.NONE)
    writer.start(library="fuzz")
    channels: dict[str, int] = {}
    for at, line in enumerate(content.splitlines()[:200]):
        topic, said = _parts(line)
        if topic == "" and isinstance(said, dict):
            writer.add_metadata(METADATA, {str(key): str(value) for key, value in said.items()})
        elif topic:
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "json", 0)
            data = said.encode(errors="replace") if isinstance(said, str) else json.dumps(said).encode()
            writer.add_message(channels[topic], at, data, at, at)
    writer.finish()
    return made.getvalue()


def _parts(line: bytes) -> tuple[str, Any]:
    try:
        topic, said = json.loads(line)
        return str(topic).encode(errors="replace").decode()[:200], said
    except (ValueError, TypeError, RecursionError):
        return "/any/hop", line.decode(errors="replace")


HARNESSES = (Harness("recorded-run", _recorded_run, mutate_json_lines, needs=("mcap",)),)
