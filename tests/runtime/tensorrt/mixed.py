"""Bundles of streams of every kind with heads of every sort, and one source of noise that any executor can be fed.

Nothing here has a fixed number of streams: what an executor gives is held against ONNX Runtime on each part alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.folder import GOLDEN, Bundle, open_bundle, write_manifest
from taemi_edge.bundle.outputs import ClassesSpec, RegressionSpec
from taemi_edge.bundle.records import EngineRecord, Provenance
from taemi_edge.bundle.spec import SCHEMA, HeadSpec, Manifest, WindowSpec
from taemi_edge.bundle.streams import (
    AudioSpec,
    MissingSpec,
    PresenceSpec,
    SeriesSpec,
    StreamSpec,
    TextSpec,
    VideoSpec,
)
from taemi_edge.bundle.token_file import write_tokens
from taemi_edge.bundle.values import HEAD, PartSpec, Tolerance
from taemi_edge.parity.golden import ModelSpecs, Runner, save_cases
from taemi_edge.parity.sample_cases import make_cases
from taemi_edge.runtime.onnx_sessions import OrtSession
from taemi_edge.runtime.rings import RingIndex, Span
from taemi_edge.runtime.sessions import Sessions
from taemi_edge.runtime.tensorrt.machine import this_machine
from taemi_edge.runtime.work import Item, Work

_PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)

#: A head that reads rings, one that reads windows in order, and one that is never padded.
HEADS = {
    "rings": HeadSpec(),
    "in order": HeadSpec(order_matters=True),
    "without masks": HeadSpec(masks=False, order_matters=True),
}


def mixed_profiles() -> dict[str, tuple[int, int, int]]:
    """What the stand-ins for engines take: (min, opt, max) of each dimension."""
    profiles = {"batch": (1, 1, 4), "samples": (50, 75, 75), "tokens": (1, 20, 40), "rows": (10, 20, 20)}
    return profiles | {f"{name}_steps": (1, 10, 120) for name in streams_of_every_kind()}


def streams_of_every_kind() -> dict[str, StreamSpec]:
    """Two videos, sound, words, a series in chunks and one without a rate; stand-ins of one step and of several."""
    learned, masked = MissingSpec(steps=3), MissingSpec(kind="mask")
    return {
        "front": VideoSpec(feature_dim=6, presence=_PRESENCE, size_hw=(4, 6), frames_per_second=4.0),
        "gait": VideoSpec(feature_dim=5, presence=_PRESENCE, size_hw=(4, 4), frames_per_second=8.0, clip_frames=3),
        "mic": AudioSpec(
            feature_dim=5, presence=_PRESENCE, missing=learned, sample_rate_hz=100, chunk_s=0.5, context_s=0.25
        ),
        "words": TextSpec(feature_dim=4, presence=_PRESENCE, max_tokens=40),
        "imu": SeriesSpec(
            feature_dim=3, presence=_PRESENCE, missing=masked, channels=3, rate_hz=20.0, chunk_s=0.5, context_s=0.5
        ),
        "heart": SeriesSpec(feature_dim=2, presence=_PRESENCE, channels=2),
    }


def write_mixed_bundle(folder: Path, head: HeadSpec, names: tuple[str, ...] = ()) -> Bundle:
    """Export networks with random weights: an encoder for each stream, and a head of this sort.

    Args:
        names: of the streams that the model has; all by default.
    """
    from tests.runtime.tensorrt.mixed_networks import export_encoder, export_head, seed

    seed(len(names))
    every = streams_of_every_kind()
    streams = {name: every[name] for name in names or every}
    if not head.masks:
        streams = {n: msgspec.structs.replace(s, missing=MissingSpec(steps=2)) for n, s in streams.items()}
    folder.mkdir(parents=True)
    parts = {name: export_encoder(folder, name, spec) for name, spec in streams.items()}
    parts[HEAD] = export_head(folder, streams, head)
    rng = np.random.default_rng(7)
    tokens = {
        n: (rng.normal(size=(s.missing.steps, s.feature_dim)) * s.missing.mask).astype(np.float32)
        for n, s in streams.items()
    }
    write_tokens(folder, tokens)
    (folder / "tokenizer.json").write_text("{}")
    manifest = _manifest(streams, parts, head)
    run, close = runner_of(folder, manifest)
    save_cases(make_cases(ModelSpecs.of(manifest), {}, run, tokens, noisy_samples(manifest)), folder / GOLDEN)
    close()
    write_manifest(folder, manifest)
    return open_bundle(folder)


def runner_of(folder: Path, manifest: Manifest) -> tuple[Runner, Callable[[], None]]:
    """Run the graphs of a folder with ONNX Runtime, and close them."""
    sessions = Sessions({p: OrtSession.from_file(folder / s.file, p, s, "cpu", 1) for p, s in manifest.parts.items()})
    return lambda part, feeds: sessions[part].run(feeds), sessions.close


def noisy_samples(manifest: Manifest, count: int = 4) -> list[dict[str, np.ndarray]]:
    """Samples of a window of noise, of which each is longer than the one before."""
    rng = np.random.default_rng(3)
    samples = []
    for number in range(count):
        steps, sample = 5 + 2 * number, {}
        for name, spec in manifest.streams.items():
            if isinstance(spec, VideoSpec):
                sample[f"{name}/pixels"] = rng.integers(0, 255, (steps, *spec.size_hw, 3)).astype(np.uint8)
            elif isinstance(spec, AudioSpec):
                sample[f"{name}/samples"] = rng.normal(size=50 * steps).astype(np.float32)
            elif isinstance(spec, TextSpec):
                sample[f"{name}/ids"] = rng.integers(1, 90, steps).astype(np.int32)
            else:
                sample[f"{name}/values"] = rng.normal(size=(10 * steps, spec.channels)).astype(np.float32)
        samples.append(sample)
    return samples


def _manifest(streams: dict[str, StreamSpec], parts: dict[str, PartSpec], head: HeadSpec) -> Manifest:
    return Manifest(
        schema=SCHEMA,
        name="mixed",
        trained=False,
        parts=parts,
        streams=streams,
        outputs={"mood": RegressionSpec(names=("x", "y", "z")), "state": ClassesSpec(names=("open", "shut"))},
        window=WindowSpec(length_s=2.0, hop_s=0.5),
        tolerances=dict.fromkeys(parts, Tolerance(max_abs=1e-4, cosine=0.9999)),
        provenance=Provenance(made_by="", made_at="", source="", recipe_sha256="", versions={}, weights={}),
        sha256={},
        head=head,
    )


def as_engines(bundle: Bundle) -> Bundle:
    """The bundle as one of engines for this machine: on the stand-in for a GPU a graph is its own engine.

    It lies beside the bundle of graphs, and is made once.
    """
    folder = bundle.folder.with_name(f"{bundle.folder.name}-engines")
    if folder.is_dir():
        return open_bundle(folder)
    folder.mkdir()
    for file in bundle.folder.iterdir():
        shutil.copyfile(file, folder / (f"{file.stem}.engine" if file.suffix == ".onnx" else file.name))
    parts = {n: msgspec.structs.replace(s, file=f"{n}.engine") for n, s in bundle.manifest.parts.items()}
    record = EngineRecord(
        target="stand-in",
        backend="tensorrt",
        library="tensorrt 0.0.0",
        machine=msgspec.to_builtins(this_machine()),
        source=str(bundle.folder),
        asked="fp32",
        recipe={},
        flags={},
        build_key="",
        part_keys={},
        candidates=(),
    )
    write_manifest(folder, msgspec.structs.replace(bundle.manifest, parts=parts, verified=True, engine=record))
    return open_bundle(folder)


class NoisySource:
    """One source whose streams bring noise: its works, and what the parts give for them one by one.

    Args:
        graphs: the bundle whose graphs are the reference.
        executor: says how many rows each ring has, and how many steps a chunk gives.
        index: the source's number.
        seed: of the noise.
    """

    def __init__(self, graphs: Bundle, executor: Any, index: int = 0, seed: int = 0) -> None:
        self._bundle, self._manifest, self._executor, self._index = graphs, graphs.manifest, executor, index
        self._rng = np.random.default_rng(seed)
        self._run, _ = runner_of(graphs.folder, graphs.manifest)
        self._rings = {name: RingIndex(rows) for name, rows in executor.capacity.items()}
        self._features = {
            name: np.zeros((rows, self._manifest.streams[name].feature_dim), np.float32)
            for name, rows in executor.capacity.items()
        }
        self._tick = dict.fromkeys(self._manifest.streams, 0)

    def work(self, live: frozenset[str], new: int = 1, steps: int = 5) -> Work:
        """A hop with so many new inputs of each live stream, and windows of so many steps.

        Args:
            live: the streams that are there.
            new: how many inputs of each of them are new.
            steps: how many of the newest feature vectors the window has, where the ring has as many.
        """
        items = {name: [self._item(name) for _ in range(1 if self._is_text(name) else new)] for name in live}
        window = {}
        for name in live:
            if self._is_text(name):
                window[name] = items[name][0].rows
            else:
                tick = self._tick[name]
                window[name] = self._rings[name].window(tick - steps, tick)
        return Work(self._index, items, window)

    def features(self, stream: str) -> np.ndarray:
        """What the ring of a stream must hold, float32 (rows, D)."""
        return self._features[stream]

    def expected(self, work: Work) -> dict[str, np.ndarray]:
        """What the head gives for a work's window alone, in order and without padding."""
        feeds = {}
        for name, spec in self._manifest.streams.items():
            rows = work.window.get(name)
            ring = self._features[name]
            feeds[name] = (self._bundle.tokens[name] if rows is None else ring[rows.rows(len(ring))])[None]
            if self._manifest.head.masks:
                value = 1 if rows is not None else spec.missing.mask
                feeds[f"{name}_mask"] = np.full(feeds[name].shape[:2], value, np.int32)
        return {name: values[0] for name, values in self._run(HEAD, feeds).items()}

    def _is_text(self, stream: str) -> bool:
        return isinstance(self._manifest.streams[stream], TextSpec)

    def _item(self, stream: str) -> Item:
        """A new input, with its rows; what its encoder gives for it alone is kept."""
        part = self._manifest.parts[stream]
        if self._is_text(stream):
            ids = self._rng.integers(1, 90, self._rng.integers(1, 41)).astype(np.int32)
            feeds, alone = {"ids": ids}, {"ids": ids[None], "mask": np.ones((1, len(ids)), np.int32)}
        else:
            [tensor] = part.inputs
            length = self._length(stream)
            shape = tuple(length if isinstance(n, str) else n for n in tensor.shape[1:])
            value = (
                self._rng.normal(size=shape) if tensor.dtype == "float32" else self._rng.integers(0, 255, shape)
            ).astype(tensor.dtype)
            feeds = {tensor.name: value}
            alone = {tensor.name: value[None]}
        features = self._run(stream, alone)["features"].reshape(-1, self._manifest.streams[stream].feature_dim)
        rows = self._placed(stream, features)
        return Item(feeds, rows, 0 if self._is_text(stream) else len(features) - rows.count)

    def _length(self, stream: str) -> int:
        lengths = self._executor.steps[stream].lengths
        return int(lengths[0] if self._tick[stream] == 0 else lengths[-1])

    def _placed(self, stream: str, features: np.ndarray) -> Span:
        """Rows for what the encoder gave; only the last features are kept, those of an input without its context."""
        if self._is_text(stream):
            rows = Span(0, len(features))
        else:
            kept = self._executor.steps[stream].kept(self._length(stream))
            rows = self._rings[stream].push([self._tick[stream] + 1.0 + step for step in range(kept)])
            self._tick[stream] += kept
        ring = self._features[stream]
        ring[rows.rows(len(ring))] = features[len(features) - rows.count :]
        return rows
