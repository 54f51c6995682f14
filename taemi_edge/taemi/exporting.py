"""Exporting a TAEMI checkpoint as an ONNX bundle.

The three encoders and the fusion head become one ONNX file each. Every graph is checked, and the whole bundle is
compared with PyTorch, before the folder appears. How any module is traced and checked stands in `taemi_edge.export`;
this module declares TAEMI's parts.
"""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from taemi_edge import __version__
from taemi_edge.bundle.atomic import new_folder
from taemi_edge.bundle.folder import (
    GOLDEN,
    TOKENIZER,
    Bundle,
    open_bundle,
    replaceable_files,
    write_manifest,
    write_tokens,
)
from taemi_edge.bundle.recipe import recipe_hash
from taemi_edge.bundle.records import Provenance
from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, PARTS, SCHEMA, HeadSpec, Manifest
from taemi_edge.bundle.values import PartSpec, TensorSpec
from taemi_edge.errors import CheckpointError
from taemi_edge.export.checks import require_parity
from taemi_edge.export.tracing import export_module
from taemi_edge.parity.clip_cases import make_clip_cases
from taemi_edge.parity.comparison import ParityReport
from taemi_edge.parity.golden import demo_clip, save_cases
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.checkpoint import Checkpoint
from taemi_edge.taemi.reference import OUTPUTS, Reference, encoder_sha256, part_of, stream_specs_of, tokens_of


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path | str,
    *,
    source: str,
    clip: tuple[Path, Path | None] | None = None,
    untrained_tokens: bool = False,
    progress: Progress = SILENT,
) -> tuple[Bundle, ParityReport]:
    """Export a model as a bundle. When anything fails, no folder is left behind.

    Args:
        checkpoint: the model with its recipe and tokenizer.
        output: the folder to make; an older bundle there is replaced.
        source: where the checkpoint came from, for the manifest: a folder or the name of a recipe.
        clip: a video with a face and speech, and its transcript, for the golden feeds; the demo clip by default.
        untrained_tokens: export even though training never reached some of the missing-modality tokens.
        progress: receives every stage.

    Returns:
        The bundle, and how far each of its parts is from PyTorch.

    Raises:
        CheckpointError: a token never received a gradient.
        ExportError: a graph lost a dynamic dimension.
        CheckFailedError: a part is further from PyTorch than its tolerance.
        InputError: `clip` has no face, no sound or no words.
        OutputError: `output` holds something else than a bundle.

    Example:
        >>> import taemi_edge as te
        >>> bundle, report = te.export_checkpoint(te.open_checkpoint("taemi-tiny"), "export/mine", source="taemi-tiny")
        >>> bundle.manifest.name, report.ok
        ('taemi-tiny', True)
    """
    output = Path(output)
    _require_trained_tokens(checkpoint, source, untrained_tokens)
    with new_folder(output, replaceable_files(output)) as draft:
        parts = {}
        for part in PARTS:
            progress.stage(f"exporting {part}")
            parts[part] = _export_part(checkpoint, part, draft)
        progress.stage("recording golden outputs")
        write_tokens(draft, tokens_of(checkpoint.model))
        (draft / TOKENIZER).write_text(checkpoint.tokenizer_json, encoding="utf-8")
        _record_golden(checkpoint, draft, clip or demo_clip())
        write_manifest(draft, _manifest(checkpoint, parts, source))
        progress.stage("checking parity")
        report = require_parity(draft)
    return open_bundle(output), report


def _require_trained_tokens(checkpoint: Checkpoint, source: str, untrained_tokens: bool) -> None:
    if checkpoint.state.untrained_tokens and not untrained_tokens:
        raise CheckpointError(
            f"{source}: expected trained tokens, but that of {' and '.join(checkpoint.state.untrained_tokens)} never "
            f"received a gradient: train with modality dropout, or pass --untrained-tokens and never lose that stream"
        )


def _record_golden(checkpoint: Checkpoint, folder: Path, clip: tuple[Path, Path | None]) -> None:
    """Write `golden.npz`: feeds from a clip, and what PyTorch gives for them."""
    reference = Reference(checkpoint)
    cases = make_clip_cases(
        reference.specs, {"text": checkpoint.tokenizer_json}, reference.run, reference.tokens, *clip
    )
    save_cases(cases, folder / GOLDEN)


def part_tensors(checkpoint: Checkpoint, part: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Describe the input and output tensors of a part; a string in a shape names a dimension that stays dynamic.

    Args:
        checkpoint: the model; its recipe and its encoders' widths give the fixed dimensions.
        part: "vision", "audio", "text" or "fusion".
    """
    specs, dims = stream_specs_of(checkpoint), checkpoint.model.feature_dims
    if part == "vision":
        pixels = TensorSpec(name="pixels", dtype="uint8", shape=("frames", *specs.vision.size_hw, 3))
        return (pixels,), (TensorSpec(name="features", dtype="float32", shape=("frames", dims["vision"])),)
    if part == "audio":
        samples = TensorSpec(name="samples", dtype="float32", shape=("batch", "samples"))
        return (samples,), (TensorSpec(name="features", dtype="float32", shape=("batch", "steps", dims["audio"])),)
    if part == "text":
        ids, mask = (TensorSpec(name=name, dtype="int32", shape=("batch", "tokens")) for name in ("ids", "mask"))
        return (ids, mask), (TensorSpec(name="features", dtype="float32", shape=("batch", "tokens", dims["text"])),)
    inputs = []
    for m in MODALITIES:
        inputs.append(TensorSpec(name=m, dtype="float32", shape=("batch", f"{m}_steps", dims[m])))
        inputs.append(TensorSpec(name=f"{m}_mask", dtype="int32", shape=("batch", f"{m}_steps")))
    return tuple(inputs), (TensorSpec(name="intensities", dtype="float32", shape=("batch", len(EMOTIONS))),)


def _export_part(checkpoint: Checkpoint, part: str, folder: Path) -> PartSpec:
    module = part_of(checkpoint.model, part).eval()
    inputs, outputs = part_tensors(checkpoint, part)
    return export_module(
        module,
        folder / f"{part}.onnx",
        inputs,
        outputs,
        lengths=_traced_lengths(checkpoint),
        opset=checkpoint.recipe.export.opset,
    )


def _traced_lengths(checkpoint: Checkpoint) -> dict[str, int]:
    """The length of each dynamic dimension while tracing: a batch of 2, and lengths that differ from each other."""
    audio = stream_specs_of(checkpoint).audio
    lengths = {"batch": 2, "frames": 2, "samples": audio.chunk_samples + audio.context_samples + 320, "tokens": 7}
    return lengths | {"vision_steps": 5, "audio_steps": 11, "text_steps": 8}


def _manifest(checkpoint: Checkpoint, parts: dict[str, PartSpec], source: str) -> Manifest:
    specs = stream_specs_of(checkpoint)
    recipe = checkpoint.recipe
    return Manifest(
        schema=SCHEMA,
        name=recipe.name,
        trained=checkpoint.state.trained,
        parts=parts,
        streams=dict(specs.streams),
        outputs=OUTPUTS,
        head=HeadSpec(masks=True, order_matters=bool(checkpoint.model.fusion.ordered)),
        metric="pearson",
        window=recipe.window,
        tolerances=recipe.tolerances,
        provenance=Provenance(
            made_by=f"taemi-edge {__version__}",
            made_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            source=source,
            recipe_sha256=recipe_hash(recipe),
            versions={
                "python": platform.python_version(),
                **_package_versions("torch", "transformers", "onnx", "onnxruntime"),
            },
            weights=checkpoint.state.weights,
            encoder_sha256=encoder_sha256(checkpoint.model),
        ),
        sha256={},
        trained_on=checkpoint.state.trained_on,
    )


def _package_versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages if find_spec(package)}
