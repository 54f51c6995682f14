"""The topics of what `taemi-edge run --record F.mcap` wrote: they have the names of the streams that they recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from taemi_edge.bundle.streams import SeriesSpec, StreamSpec, kind_name
from taemi_edge.errors import UsageError
from taemi_edge.media.messages.topic_field import TopicField
from taemi_edge.media.recordings.recording import Recording

#: The metadata record that a run writes, and where the inputs of a source stand below its own name.
METADATA, INPUTS = "taemi-edge", "inputs"


def with_inputs_of_run(
    recording: Recording, streams: Mapping[str, StreamSpec], given: Mapping[str, str | TopicField]
) -> dict[str, str | TopicField]:
    """The topics that are given, and those of streams that a run has recorded under the same name and as the same kind.

    Args:
        recording: any; one that no run has written adds nothing.
        streams: of the model.
        given: topics by stream, which stand.

    Raises:
        UsageError: the run had several sources with such a stream.
    """
    held = recording.metadata.get(METADATA)
    kinds = _kinds(held.get("streams", "")) if held is not None else {}
    found: dict[str, str | TopicField] = {}
    for topic in sorted(recording.topics):
        root, _, name = topic.rpartition(f"/{INPUTS}/")
        spec = streams.get(name)
        if not root or spec is None or name in given or kinds.get(name) != kind_name(spec):
            continue
        if name in found:
            raise UsageError(
                f"{recording.path}: expected one source with the stream {name}, got {found[name]} and {topic}: choose "
                f"one with --map {name}=TOPIC"
            )
        found[name] = topic + (".values" if isinstance(spec, SeriesSpec) else "")
    return {**found, **given}


def _kinds(text: str) -> dict[str, str]:
    """The kinds of streams by name, as the metadata says; nothing where it says something else."""
    try:
        held: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return {name: str(entry.get("kind")) for name, entry in held.items() if isinstance(entry, dict)}
