"""A checkpoint in, an ONNX bundle out: four parts, checked graph by graph and against PyTorch before it exists."""

from __future__ import annotations

import datetime
import platform
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor

from taemi_edge import __version__
from taemi_edge.bundle.atomic import new_folder
from taemi_edge.bundle.folder import FILES, GOLDEN, TOKENIZER, Bundle, open_bundle, write_manifest, write_tokens
from taemi_edge.bundle.recipe import recipe_hash
from taemi_edge.bundle.spec import (
    EMOTIONS,
    MODALITIES,
    PARTS,
    SCHEMA,
    Manifest,
    Parts,
    PartSpec,
    Provenance,
    TensorSpec,
)
from taemi_edge.errors import CheckFailedError, CheckpointError, ExportError
from taemi_edge.parity.comparison import ParityReport, check_parity
from taemi_edge.parity.golden import demo_clip, make_cases, save_cases
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.checkpoint import Checkpoint
from taemi_edge.taemi.reference import Reference, encoder_sha256, part_of, seams_of, tokens_of


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path,
    *,
    source: str,
    clip: tuple[Path, Path | None] | None = None,
    untrained_tokens: bool = False,
    progress: Progress = SILENT,
) -> tuple[Bundle, ParityReport]:
    """Export a model as a bundle, whole or not at all.

    Args:
        source: where the checkpoint came from, for the manifest.
        clip: a video with a face, speech and its transcript for the golden feeds; the demo clip by default.
        untrained_tokens: export even though training never reached some of the tokens.
        progress: hears of every stage.

    Raises:
        CheckpointError: a token never received a gradient.
        ExportError: a graph lost a dynamic dimension or failed the ONNX checker.
        CheckFailedError: a part is further from PyTorch than its tolerance.
    """
    if checkpoint.state.untrained_tokens and not untrained_tokens:
        raise CheckpointError(
            f"{source}: expected trained tokens, but that of {' and '.join(checkpoint.state.untrained_tokens)} never "
            f"received a gradient: train with modality dropout, or pass --untrained-tokens and never lose that stream"
        )
    reference = Reference(checkpoint)
    with new_folder(output, FILES) as draft:
        parts = {}
        for part in PARTS:
            progress.stage(f"exporting {part}")
            parts[part] = _export_part(checkpoint, part, draft)
        progress.stage("recording golden outputs")
        write_tokens(draft, tokens_of(checkpoint.model))
        (draft / TOKENIZER).write_text(checkpoint.tokenizer_json, encoding="utf-8")
        cases = make_cases(
            reference.seams, checkpoint.tokenizer_json, reference.run, reference.tokens, *(clip or demo_clip())
        )
        save_cases(cases, draft / GOLDEN)
        write_manifest(draft, _manifest(checkpoint, Parts(**parts), source))
        progress.stage("checking parity")
        report, _ = check_parity(str(draft))
        if not report.ok:
            raise CheckFailedError(_failure(report))
    return open_bundle(output), report


def part_seams(checkpoint: Checkpoint, part: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of a part; a string names a dimension that stays dynamic."""
    seams, dims = seams_of(checkpoint), checkpoint.model.feature_dims
    if part == "vision":
        pixels = TensorSpec(name="pixels", dtype="uint8", shape=("frames", *seams.vision.size_hw, 3))
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
    inputs, outputs = part_seams(checkpoint, part)
    module = part_of(checkpoint.model, part).eval()
    file = folder / f"{part}.onnx"
    lengths = _traced_lengths(checkpoint)
    _trace(module, _example(inputs, lengths), inputs, outputs, file, checkpoint.recipe.export.opset)
    onnx.checker.check_model(onnx.load(file), full_check=True)
    if frozen := _frozen_dimensions(file, module, inputs, lengths):
        raise ExportError(f"{part}: expected dynamic dimensions, the exporter froze {', '.join(frozen)}")
    return PartSpec(
        file=file.name,
        inputs=inputs,
        outputs=outputs,
        precision="fp32",
        opset=checkpoint.recipe.export.opset,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
    )


def _trace(
    module: torch.nn.Module,
    example: dict[str, Tensor],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    file: Path,
    opset: int,
) -> None:
    """The TorchScript exporter: the one that reaches opset 17, which TensorRT 8.6 reads."""
    dynamic = {
        spec.name: {i: d for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in (*inputs, *outputs)
    }
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # the tracer warns of every Python branch on a shape; that no length was frozen is asserted afterwards
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(example.values()),
                str(file),
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_axes=dynamic,
                opset_version=opset,
                dynamo=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _traced_lengths(checkpoint: Checkpoint) -> dict[str, int]:
    """What each dynamic dimension is while tracing: a batch of 2, lengths that differ from each other."""
    audio = seams_of(checkpoint).audio
    lengths = {"batch": 2, "frames": 2, "samples": audio.chunk_samples + audio.context_samples + 320, "tokens": 7}
    return lengths | {"vision_steps": 5, "audio_steps": 11, "text_steps": 8}


def _example(inputs: tuple[TensorSpec, ...], lengths: dict[str, int]) -> dict[str, Tensor]:
    example = {}
    for spec in inputs:
        shape = [lengths[d] if isinstance(d, str) else d for d in spec.shape]
        dtype = getattr(torch, spec.dtype)
        example[spec.name] = torch.ones(shape, dtype=dtype) if spec.dtype == "int32" else _ramp(shape, dtype)
    return example


def _ramp(shape: list[int], dtype: torch.dtype) -> Tensor:
    """Values that are neither constant nor random."""
    count = int(torch.tensor(shape).prod())
    wave = torch.sin(torch.arange(count, dtype=torch.float32) * 0.1).view(shape)
    return (wave * 100 + 128).to(dtype) if dtype == torch.uint8 else wave.to(dtype)


@torch.no_grad()
def _frozen_dimensions(
    file: Path, module: torch.nn.Module, inputs: tuple[TensorSpec, ...], traced: dict[str, int]
) -> list[str]:
    """The dimensions at whose other lengths the graph fails or gives another shape than PyTorch.

    What a graph declares proves nothing: the exporter bakes lengths in and still declares them symbolic.
    """
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    frozen = []
    for dim in sorted({d for spec in inputs for d in spec.shape if isinstance(d, str)}):
        for length in (max(1, traced[dim] // 2), traced[dim] + traced[dim] // 2):
            example = _example(inputs, {**traced, dim: length})
            want = tuple(module(*example.values()).shape)
            got = _output_shape(session, {name: value.numpy() for name, value in example.items()})
            if got != want:
                frozen.append(f"{dim} (traced at {traced[dim]}; at {length} expected {want}, got {got or 'an error'})")
                break
    return frozen


def _output_shape(session: Any, feeds: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape of the only output, None where the graph cannot run."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # a failure is an answer here, not a message
    try:
        shape: tuple[int, ...] = session.run(None, feeds, options)[0].shape
    except Exception:  # noqa: BLE001  (ONNX Runtime's errors share no public base)
        return None
    return shape


def _manifest(checkpoint: Checkpoint, parts: Parts, source: str) -> Manifest:
    seams = seams_of(checkpoint)
    recipe = checkpoint.recipe
    return Manifest(
        schema=SCHEMA,
        name=recipe.name,
        trained=checkpoint.state.trained,
        parts=parts,
        vision=seams.vision,
        audio=seams.audio,
        text=seams.text,
        window=recipe.window,
        tolerances=recipe.tolerances,
        provenance=Provenance(
            made_by=f"taemi-edge {__version__}",
            made_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            source=source,
            recipe_sha256=recipe_hash(recipe),
            versions={"python": platform.python_version(), **_versions("torch", "transformers", "onnx", "onnxruntime")},
            weights=checkpoint.state.weights,
            encoder_sha256=encoder_sha256(checkpoint.model),
        ),
        sha256={},
        trained_on=checkpoint.state.trained_on,
    )


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages if find_spec(package)}


def _failure(report: ParityReport) -> str:
    stage = next(stage for stage in report.stages if not stage.ok)
    case = next((case for case in stage.cases if not case.ok), stage.cases[0])
    return (
        f"{stage.stage}, {case.case}: expected at most {stage.tolerance.max_abs:g} from PyTorch and a cosine of at "
        f"least {stage.tolerance.cosine:g}, got {case.max_abs:.3g} and {case.cosine:.6f}: nothing was written"
    )
