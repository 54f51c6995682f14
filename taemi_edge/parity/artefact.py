"""Opening a bundle, a checkpoint or a recipe as an artefact: its four parts as functions on named arrays.

What compares or evaluates models works on artefacts, so that it need not know where a part runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from taemi_edge.bundle.folder import MANIFEST, Bundle, open_bundle
from taemi_edge.bundle.recipe import list_recipes
from taemi_edge.bundle.spec import MODALITIES, VisionSpec
from taemi_edge.bundle.streams import AudioSpec, TextSpec
from taemi_edge.bundle.values import Array, Frozen, PartTolerances
from taemi_edge.errors import InputError, MissingExtraError
from taemi_edge.media.inputs import Run
from taemi_edge.parity.golden import Case, Runner, demo_clip, load_cases, make_cases
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.sessions import Device

if TYPE_CHECKING:
    from taemi_edge.taemi.checkpoint import Checkpoint


class EncoderKey(Frozen, frozen=True):
    """Recognises features of one modality that the same encoder made.

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
    """A model whose parts can be run: a bundle on its backend, or a checkpoint in PyTorch.

    Attributes:
        name: what messages call it.
        is_bundle: whether it is a bundle; else it is a checkpoint or a recipe.
        run: runs one part: takes the name of the part and its feeds, gives its outputs by name.
        tokens: the missing-modality tokens, float32 (D,) each.
        tokenizer_json: the text of its tokenizer.json.
        tolerances: how far each part may be from the reference.
        trained_on: what the fusion head was trained on, in words; empty where it was not trained.
        cases: gives the cases to compare on: the golden feeds of a bundle, or fresh ones from the demo clip.
    """

    name: str
    is_bundle: bool
    run: Runner
    tokens: Mapping[str, Array]
    tokenizer_json: str
    tolerances: PartTolerances
    vision: VisionSpec
    audio: AudioSpec
    text: TextSpec
    trained_on: str
    cases: Callable[[], list[Case]]
    _weights_sha256: Callable[[], Mapping[str, str]]

    def part(self, name: str) -> Run:
        """One part as a function from feeds to outputs."""
        return partial(self.run, name)

    def encoder_keys(self) -> dict[str, EncoderKey]:
        """The key of each encoder, by which a feature store is matched to the artefact."""
        weights = self._weights_sha256()
        text_sha256 = sha256(self.tokenizer_json.encode()).hexdigest()
        inputs: dict[str, tuple[Frozen, str]] = {
            "vision": (self.vision, ""),
            "audio": (self.audio, ""),
            "text": (self.text, text_sha256),
        }
        keys: dict[str, EncoderKey] = {}
        for m in MODALITIES:
            spec, extra = inputs[m]
            chunking = {k: v for k, v in msgspec.to_builtins(spec).items() if k != "presence"}
            content = msgspec.json.encode([m, weights[m], chunking, extra], order="sorted")
            made_by = ", ".join(f"{k} {v}" for k, v in chunking.items() if k != "feature_dim")
            keys[m] = EncoderKey(
                sha256=sha256(content).hexdigest(), feature_dim=chunking["feature_dim"], made_by=made_by
            )
        return keys


@contextmanager
def open_artefact(source: str, device: Device | None = None, threads: int = 0) -> Iterator[Artefact]:
    """Open a bundle folder, a checkpoint folder or a recipe (its name or TOML file).

    Args:
        source: what to open; the artefact keeps it as its name.
        device: "cpu", "cuda" or "tensorrt"; by default what suits the bundle.
        threads: of the backend on the CPU; 0 leaves the number to it.

    Raises:
        InputError: none of these is there.
        MissingExtraError: a checkpoint needs PyTorch, which is not installed.
        BundleError: the bundle is damaged.
        CheckpointError: the checkpoint is damaged.
        BackendError: the backend cannot run the bundle.
    """
    folder = Path(source)
    if not folder.exists() and source not in list_recipes("export"):
        raise InputError(f"{source}: expected a bundle folder, a checkpoint folder or a recipe, found nothing there")
    if (folder / MANIFEST).is_file() or (folder.exists() and not _looks_like_checkpoint(folder)):
        bundle = open_bundle(folder)
        with open_sessions(bundle, device, threads) as sessions:
            yield _bundle_artefact(bundle, lambda part, feeds: sessions[part].run(feeds))
    else:
        yield checkpoint_artefact(_open_checkpoint(source), source)


def _looks_like_checkpoint(path: Path) -> bool:
    return (path / "recipe.json").is_file() or path.suffix == ".toml"


def _bundle_artefact(bundle: Bundle, run: Runner) -> Artefact:
    manifest = bundle.manifest

    def weights_sha256() -> dict[str, str]:
        """The hash of the checkpoint's weights where only the format changed (a store serves both), else the file's."""
        original = manifest.provenance.encoder_sha256
        specs = {m: manifest.parts[m] for m in MODALITIES}
        return {
            m: original[m] if m in original and specs[m].precision == "fp32" else manifest.sha256[specs[m].file]
            for m in MODALITIES
        }

    return Artefact(
        name=str(bundle.folder),
        is_bundle=True,
        run=run,
        tokens={m: bundle.tokens[m] for m in MODALITIES},
        tokenizer_json=bundle.tokenizer_file("text").read_text(encoding="utf-8"),
        tolerances=manifest.tolerances,
        vision=manifest.vision,
        audio=manifest.audio,
        text=manifest.text,
        trained_on=manifest.trained_on,
        cases=lambda: load_cases(bundle.golden_file),
        _weights_sha256=weights_sha256,
    )


def checkpoint_artefact(checkpoint: Checkpoint, name: str) -> Artefact:
    """Make an artefact of a checkpoint in memory; `name` is what messages call it."""
    from taemi_edge.taemi.reference import Reference, encoder_sha256

    reference = Reference(checkpoint)
    return Artefact(
        name=name,
        is_bundle=False,
        run=reference.run,
        tokens=reference.tokens,
        tokenizer_json=reference.tokenizer_json,
        tolerances=reference.tolerances,
        vision=reference.specs.vision,
        audio=reference.specs.audio,
        text=reference.specs.text,
        trained_on=checkpoint.state.trained_on,
        cases=lambda: make_cases(
            reference.specs, reference.tokenizer_json, reference.run, reference.tokens, *demo_clip()
        ),
        _weights_sha256=lambda: encoder_sha256(checkpoint.model),
    )


def _open_checkpoint(source: str) -> Checkpoint:
    try:
        from taemi_edge.taemi.checkpoint import open_checkpoint
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "export", f"opening the checkpoint {source}") from error
    return open_checkpoint(source)
