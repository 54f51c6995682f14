"""Exports a declared model as a bundle: graphs of its parts, what stands for missing streams, and golden feeds.

Every graph is checked against the reference, and so is the whole bundle in all presence patterns, before the folder
appears. How a part becomes a graph is told in `taemi_edge.export.parts`.
"""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import onnx

from taemi_edge import __version__
from taemi_edge.bundle.atomic import new_folder
from taemi_edge.bundle.card_record import CARD_RECORD, NOTHING_SAID, ReportedEvaluation, reported_evaluation
from taemi_edge.bundle.folder import GOLDEN, Bundle, open_bundle, replaceable_files, write_manifest
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.outputs import ClassesSpec
from taemi_edge.bundle.records import Provenance
from taemi_edge.bundle.spec import SCHEMA, Manifest, WindowSpec
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.token_file import write_tokens
from taemi_edge.bundle.values import END_TO_END, HEAD, PartSpec, PartTolerances, tolerance_by_output
from taemi_edge.errors import ContractError, InputError
from taemi_edge.export.checks import require_parity
from taemi_edge.export.contract import Model
from taemi_edge.export.inspection import Inspected, inspect_model, parts_of
from taemi_edge.export.purity import require_rows_apart
from taemi_edge.export.stand_ins import CaseMaker, Probed, probe_head
from taemi_edge.parity.comparison import ParityReport
from taemi_edge.parity.golden import Case, ModelSpecs, save_cases
from taemi_edge.parity.sample_cases import make_cases
from taemi_edge.progress import SILENT, Progress

OPSET = 17
#: FP32 against FP32, other kernels and another order of sums: errors grow with the values themselves.
_RELATIVE_ERROR = {"encoder": 1e-3, "head": 1e-4}
_COSINE = 0.9999


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a model comes from, for the manifest.

    Attributes:
        source: what it was declared in.
        trained: whether it was trained.
        trained_on: on what, in words.
        recipe_sha256: of the declaration, where it is a file.
        weights: where each weight comes from, in words.
    """

    source: str = ""
    trained: bool = True
    trained_on: str = ""
    recipe_sha256: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)


def export_model(
    model: Model,
    folder: Path | str,
    *,
    source: str = "",
    opset: int = OPSET,
    evaluations: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> tuple[Bundle, ParityReport]:
    """Export a declared model as a bundle. When anything fails, no folder is left behind.

    Args:
        model: its parts are put into evaluation mode.
        folder: the folder to make; an older bundle there is replaced.
        source, evaluations: where the model was declared, and what `evaluate --json` wrote of it, for the card.
        opset: the ONNX opset; 17 is the lowest, and what TensorRT 8.6 reads.
        progress: receives every stage.

    Returns:
        The bundle, and how far each of its parts is from the model.

    Raises:
        ContractError: the model does not do what it declares.
        ExportError: a part cannot be exported; the message says what to write instead.
        CheckFailedError: a part is further from the model than its tolerance.
        OutputError: `folder` holds something else than a bundle.

    Example:
        >>> import taemi_edge as te, torch
        >>> class Head(torch.nn.Module):
        ...     def forward(self, imu, imu_mask):
        ...         return (imu * (imu_mask / imu_mask.sum(1, keepdim=True))[..., None]).sum(1)[:, :2]
        >>> model = te.Model(
        ...     streams={"imu": te.Stream(te.Series(channels=6), torch.nn.Linear(6, 4))},
        ...     head=Head(), outputs={"state": te.Classes(["still", "moving"])},
        ...     samples=[{"imu/values": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}], window_s=1.0, hop_s=0.5)
        >>> bundle, report = te.export_model(model, "export/imu")
        >>> report.ok, list(bundle.manifest.streams)
        (True, ['imu'])
    """
    model = with_evaluations(model, evaluations)
    samples = model.read_samples()
    origin = Origin(source=source, trained_on=model.trained_on)
    progress.stage("looking at the model")
    found = inspect_model(model, samples, parts_of(model))

    def cases_of(inspected: Inspected, specs: ModelSpecs) -> list[Case]:
        return make_cases(specs, inspected.tokenizers, inspected.run, inspected.tokens, samples)

    return write_bundle(model, found, cases_of, folder, origin=origin, opset=opset, progress=progress)


def with_evaluations(model: Model, files: Sequence[Path]) -> Model:
    """Give a model whose card has the figures of these reports as well.

    Raises:
        InputError: a file is no report of an evaluation, or of a model with other outputs.
    """
    if not files:
        return model
    card = model.card or NOTHING_SAID
    reported = [_fitting(reported_evaluation(file), model, file) for file in files]
    try:
        card = msgspec.structs.replace(card, evaluations=(*card.evaluations, *reported))
    except ValueError as error:
        raise InputError(f"{files[-1]}: {error}") from error
    return replace(model, card=card)


def _fitting(found: ReportedEvaluation, model: Model, file: Path) -> ReportedEvaluation:
    """Refuse the report of a model with other outputs: its figures would be taken for those of this one."""
    specs = model.output_specs()
    own = {name for spec in specs.values() for name in spec.names}
    own |= {f"{group}.{name}" for group, spec in specs.items() for name in spec.names}
    if strange := [name for name in found.by_name if name not in own]:
        raise InputError(
            f"{file}: expected figures of this model's outputs, got {strange[0]!r:.80}, which is none: evaluate this "
            f"model with `taemi-edge evaluate --json`"
        )
    return found


def write_bundle(
    model: Model,
    found: Inspected,
    cases_of: CaseMaker,
    folder: Path | str,
    *,
    origin: Origin,
    opset: int = OPSET,
    progress: Progress = SILENT,
) -> tuple[Bundle, ParityReport]:
    """Write the bundle of a model whose shapes are known; see `export_model`.

    Args:
        model: as it was declared.
        found: what `inspect_model` gave.
        cases_of: makes the golden cases.
        folder: the folder to make.
        origin: for the manifest.
        opset: the ONNX opset.
        progress: receives every stage.
    """
    folder = Path(folder)
    newest = onnx.defs.onnx_opset_version()
    if not isinstance(opset, int) or not OPSET <= opset <= newest:
        raise ContractError(
            f"expected an opset from {OPSET} to {newest}, got {opset!r}: older ones lack LayerNormalization"
        )
    with new_folder(folder, replaceable_files(folder)) as draft:
        progress.stage("recording golden feeds")
        probed = probe_head(model, found, cases_of)
        found = probed.found
        parts: dict[str, PartSpec] = {}
        for name, part in found.parts.items():
            progress.stage(f"exporting {name}")
            inputs, outputs, lengths = found.inputs[name], found.outputs_of[name], found.lengths[name]
            parts[name] = part.export(draft / f"{name}.onnx", inputs, outputs, lengths, opset, found.examples[name])
            feeds = next(case.feeds for case in probed.cases if case.part == name)
            require_rows_apart(name, partial(found.run, name), feeds)
        write_tokens(draft, {name: value[0] if len(value) == 1 else value for name, value in found.tokens.items()})
        _write_tokenizers(found, draft)
        save_cases(probed.cases, draft / GOLDEN)
        if model.card is not None and model.card != NOTHING_SAID:
            write_json(draft / CARD_RECORD, model.card)
        manifest = _manifest(model, probed, parts, folder.name, origin)
        write_manifest(draft, manifest)
        progress.stage("checking parity")
        report = require_parity(draft)
    return open_bundle(folder), report


def _write_tokenizers(found: Inspected, draft: Path) -> None:
    for name, spec in found.streams.items():
        if isinstance(spec, TextSpec):
            (draft / spec.tokenizer).write_text(found.tokenizers[name], encoding="utf-8")


def _manifest(
    model: Model, probed: Probed, parts: Mapping[str, PartSpec], folder_name: str, origin: Origin
) -> Manifest:
    found = probed.found
    return Manifest(
        schema=SCHEMA,
        name=model.name or folder_name,
        trained=origin.trained,
        parts=dict(parts),
        streams=probed.streams,
        outputs=found.outputs,
        window=WindowSpec(length_s=float(model.window_s), hop_s=float(model.hop_s)),
        tolerances=model_tolerances(model, found, probed.cases),
        provenance=Provenance(
            made_by=f"taemi-edge {__version__}",
            made_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            source=origin.source,
            recipe_sha256=origin.recipe_sha256 or hashlib.sha256(b"").hexdigest(),
            versions={
                "python": platform.python_version(),
                **_package_versions("torch", "transformers", "onnx", "onnxruntime"),
            },
            weights=dict(origin.weights),
            encoder_sha256={name: found.parts[name].sha256() for name in found.streams},
        ),
        sha256={},
        head=probed.head,
        metric=metric_name(model),
        declared_patterns=tuple(tuple(pattern) for pattern in model.patterns),
        trained_on=origin.trained_on,
    )


def metric_name(model: Model) -> str:
    """The name of the metric that judges a model: its own, else accuracy for classes, and Pearson for numbers."""
    if isinstance(model.metric, str):
        return model.metric
    if model.metric is not None:
        return "own"
    return "accuracy" if isinstance(next(iter(model.output_specs().values())), ClassesSpec) else "pearson"


def model_tolerances(model: Model, found: Inspected, cases: Sequence[Case]) -> PartTolerances:
    """The tolerances that the model declares; those of other parts follow from how large each of its outputs is."""
    given = model.given_tolerances()
    chosen: PartTolerances = {}
    for part in (*found.streams, HEAD):
        peaks: dict[str, float] = {}
        for values in (case.expected or {} for case in cases if case.part == part):
            peaks |= {name: max(peaks.get(name, 1.0), float(np.abs(value).max())) for name, value in values.items()}
        relative = _RELATIVE_ERROR["head" if part == HEAD else "encoder"]
        limits = {name: relative * peak for name, peak in peaks.items()} or {"features": relative}
        chosen[part] = given.get(part, tolerance_by_output(limits, _COSINE))
    if END_TO_END in given:
        chosen[END_TO_END] = given[END_TO_END]
    return chosen


def _package_versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages if find_spec(package)}
