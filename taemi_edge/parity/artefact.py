"""Opening a bundle or another form of a model as an artefact: its parts as functions on named arrays.

What compares or evaluates models works on artefacts, so that it need not know where a part runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from taemi_edge.bundle.drafts import final_place
from taemi_edge.bundle.folder import MANIFEST, Bundle, open_bundle
from taemi_edge.bundle.guests import ask_guests
from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.streams import StreamSpec, TextSpec
from taemi_edge.bundle.values import Array, Frozen, PartTolerances
from taemi_edge.errors import InputError
from taemi_edge.media.inputs import Run
from taemi_edge.parity.golden import Case, ModelSpecs, Runner, golden_cases
from taemi_edge.parity.judge import UserMetric
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.sessions import Device, Sessions, require_device

#: Which parts of a bundle are opened: what compares runs all of them, what makes features the encoders alone.
OpenedParts = Literal["all", "encoders", "nothing"]

#: What a stream's spec says of the window and of presence, and not of the encoder's work.
_NOT_OF_THE_ENCODER = ("presence", "missing", "required", "min_steps", "max_steps", "tokenizer")


class EncoderKey(Frozen, frozen=True):
    """Recognises features of one stream that the same encoder made.

    Attributes:
        sha256: over everything that the features depend on: weights, precision, chunking and tokenizer.
        feature_dim: the width D of the features.
        made_by: the chunking in words, for messages.
    """

    sha256: str
    feature_dim: int
    made_by: str


@dataclass(frozen=True, eq=False)
class Artefact:
    """A model whose parts can be run: a bundle on its backend, or the model itself, as a rule in PyTorch.

    Attributes:
        name: what messages call it.
        is_bundle: whether it is a bundle; else it is a declared model, a checkpoint or a recipe.
        run: runs one part: takes the name of the part and its feeds, gives its outputs by name.
        specs: the streams, and how the head reads them.
        outputs: what the head gives, by name.
        metric: the name of the metric that judges the model, or the function itself.
        tokens: what stands for each missing stream, float32 (D,) or (steps, D).
        tokenizers: the text of tokenizer.json of each stream of text.
        tolerances: how far each part may be from the reference.
        trained_on: what the head was trained on, in words; empty where it was not trained.
        cases: gives the cases to compare on: the golden feeds of a bundle, or fresh ones.
        weights_sha256: gives the hash of each encoder's weights, by stream.
        device: where the parts run; "cpu" for the model itself.
        mixes_rows: whether the rows of a batch of a part change each other's results, so that each wants its own call.
    """

    name: str
    is_bundle: bool
    run: Runner
    specs: ModelSpecs
    outputs: Mapping[str, OutputSpec]
    metric: str | UserMetric
    tokens: Mapping[str, Array]
    tokenizers: Mapping[str, str]
    tolerances: PartTolerances
    trained_on: str
    cases: Callable[[], list[Case]]
    weights_sha256: Callable[[], Mapping[str, str]]
    device: Device = "cpu"
    mixes_rows: Callable[[str], bool] = lambda part: False

    @property
    def streams(self) -> Mapping[str, StreamSpec]:
        """The streams by name, in the model's order."""
        return self.specs.streams

    def part(self, name: str) -> Run:
        """One part as a function from feeds to outputs."""
        return partial(self.run, name)

    def encoder_keys(self) -> dict[str, EncoderKey]:
        """The key of each encoder, by which a feature store is matched to the artefact."""
        weights = self.weights_sha256()
        keys: dict[str, EncoderKey] = {}
        for name, spec in self.streams.items():
            chunking = {k: v for k, v in msgspec.to_builtins(spec).items() if k not in _NOT_OF_THE_ENCODER}
            tokenizer = sha256(self.tokenizers[name].encode()).hexdigest() if name in self.tokenizers else ""
            content = msgspec.json.encode([name, weights[name], chunking, tokenizer], order="sorted")
            made_by = ", ".join(f"{k} {v}" for k, v in chunking.items() if k not in ("feature_dim", "kind"))
            keys[name] = EncoderKey(sha256=sha256(content).hexdigest(), feature_dim=spec.feature_dim, made_by=made_by)
        return keys


@contextmanager
def open_artefact(
    source: str, device: Device | None = None, threads: int | None = None, opened: OpenedParts = "all"
) -> Iterator[Artefact]:
    """Open a bundle folder, or what a guest knows: a declared model, a checkpoint folder or a recipe.

    Args:
        source: what to open; the artefact keeps it as its name.
        device: "cpu", "cuda" or "tensorrt"; by default what suits the bundle.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
        opened: which parts of a bundle will be run: the others are not opened.

    Raises:
        InputError: none of these is there.
        MissingExtraError: a checkpoint needs PyTorch, which is not installed.
        BundleError: the bundle is damaged.
        CheckpointError: the checkpoint is damaged.
        BackendError: the backend cannot run the bundle.
    """
    folder = Path(source)
    if not os.path.isfile(folder / MANIFEST) and (artefact := ask_guests("model", source)) is not None:
        yield artefact
        return
    if not os.path.exists(folder):  # unlike pathlib, it takes names that no file system has
        raise InputError(
            f"{source:.300}: expected a bundle folder, a checkpoint folder or a recipe, or file.py:function of a model "
            f"of your own, found nothing there"
        )
    bundle = open_bundle(folder)
    chosen = require_device(bundle, device)
    streams = tuple(bundle.manifest.streams)
    parts = {"all": bundle.manifest.part_names, "encoders": streams, "nothing": ()}[opened]
    with open_sessions(bundle, chosen, threads, parts) as sessions:
        yield _bundle_artefact(bundle, sessions, chosen)


def _bundle_artefact(bundle: Bundle, sessions: Sessions, device: Device) -> Artefact:
    manifest = bundle.manifest

    def weights_sha256() -> dict[str, str]:
        """The hash of the checkpoint's weights where only the format changed (a store serves both), else the file's."""
        original = manifest.provenance.encoder_sha256
        specs = {name: manifest.parts[name] for name in manifest.streams}
        return {
            name: original[name] if name in original and spec.precision == "fp32" else manifest.sha256[spec.file]
            for name, spec in specs.items()
        }

    texts = [name for name, spec in manifest.streams.items() if isinstance(spec, TextSpec)]
    return Artefact(
        name=str(final_place(bundle.folder)),
        is_bundle=True,
        run=lambda part, feeds: sessions[part].run(feeds),
        specs=ModelSpecs.of(manifest),
        outputs=manifest.outputs,
        metric=manifest.metric,
        tokens=bundle.tokens,
        tokenizers={name: bundle.read_tokenizer(name) for name in texts},
        tolerances=manifest.tolerances,
        trained_on=manifest.trained_on,
        cases=lambda: golden_cases(bundle),
        weights_sha256=weights_sha256,
        device=device,
        mixes_rows=sessions.mixes_rows,
    )
