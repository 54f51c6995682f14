"""Hops as the inputs of a Triton model, for the tests: what a client makes of what its sources give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values

#: How long the hops of the tests last.
HOP_S = 0.5


def hops_of_noise(count: int, streams: Sequence[str]) -> list[Hop]:
    """Hops of the streams of `tests.runtime.tensorrt.mixed`, each of which brings something to every stream."""
    rng = np.random.default_rng(5)
    hops = []
    for start_s in np.arange(count) * HOP_S:
        pictures = rng.integers(0, 255, (8, 9, 12, 3)).astype(np.uint8)
        times_s = start_s + (np.arange(8) + 1) / 16
        frames = [Frame(float(t), picture) for t, picture in zip(times_s, pictures, strict=True)]
        sound = SoundPiece(float(start_s), rng.normal(size=50).astype(np.float32))
        imu, heart = (Values(times_s, rng.normal(size=(8, width)).astype(np.float32)) for width in (3, 2))
        pieces: dict[str, list[Any]] = {"front": frames, "gait": frames, "mic": [sound], "imu": [imu], "heart": [heart]}
        hops.append(Hop(float(start_s) + HOP_S, {name: pieces[name] for name in streams}))
    return hops


def tensors_of(manifest: Manifest, hop: Hop) -> dict[str, Array]:
    """The inputs of a hop; a stream that it loses is left out, and one of which nothing came is empty."""
    tensors: dict[str, Array] = {"end_s": np.array([[hop.end_s]])}
    for name, spec in manifest.streams.items():
        if name not in hop.losses:
            tensors |= _stream_tensors(name, spec, hop.pieces.get(name, []))
    return tensors


def _stream_tensors(name: str, spec: Any, pieces: Sequence[Any]) -> dict[str, Array]:
    if isinstance(spec, VideoSpec):
        if not pieces:
            return {name: np.zeros((1, 0, 1, 1, 3), np.uint8)}
        times_s = [frame.time_s for frame in pieces]
        return {name: np.stack([frame.image for frame in pieces])[None], f"{name}_times_s": np.array([times_s])}
    if isinstance(spec, AudioSpec):
        if not pieces:
            return {name: np.zeros((1, 0), np.float32)}
        values = np.concatenate([piece.values for piece in pieces])
        return {name: values[None], f"{name}_time_s": np.array([[pieces[0].time_s]])}
    if isinstance(spec, SeriesSpec):
        rows = [piece.rows for piece in pieces]
        times_s = [time_s for piece in pieces for time_s in piece.times_s]
        joined = np.concatenate(rows) if rows else np.zeros((0, spec.channels), np.float32)
        return {name: joined[None], f"{name}_times_s": np.array([times_s], np.float64)}
    assert isinstance(spec, TextSpec)
    lines = [json.dumps({"start": w.start_s, "end": w.end_s, "text": w.text}, ensure_ascii=False) for w in pieces]
    return {name: np.frombuffer("\n".join(lines).encode("utf-8"), np.uint8)[None]}


def infer(
    client: Any, model: str, tensors: Mapping[str, Array], further: Sequence[Any] = (), **sequence: Any
) -> dict[str, Array]:
    """Ask a server: the outputs by name.

    Args:
        client: of `tritonclient.grpc` or `tritonclient.http`.
        further: inputs that are made already.
        sequence: sequence_id, sequence_start and sequence_end.
    """
    import importlib

    module = importlib.import_module(type(client).__module__.rpartition(".")[0])
    types = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64"}
    inputs = list(further)
    for name, array in tensors.items():
        tensor = module.InferInput(name, list(array.shape), types[array.dtype.name])
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    result = client.infer(model, inputs, **sequence)
    response = result.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [output["name"] if isinstance(output, dict) else output.name for output in outputs]
    return {name: result.as_numpy(name) for name in names}
