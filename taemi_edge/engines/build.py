"""Building an engine bundle for a device: engines of every part, timed, checked and marked verified or not.

A build is planned (`plan.py`), its parts are built (`part_builder.py`) and chosen (`choose.py`), and the new bundle is
verified (`verify.py`). What was built before of exactly the same things comes from the cache.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.atomic import new_folder, require_another_place, scratch_folder
from taemi_edge.bundle.card_record import MODEL_CARD
from taemi_edge.bundle.derived import copy_shared_files, derive_manifest
from taemi_edge.bundle.folder import (
    CHOICE,
    MANIFEST,
    SOURCE_SIGNATURE,
    Bundle,
    open_bundle,
    replaceable_files,
    sha256_of,
    with_tokens,
)
from taemi_edge.bundle.graph_source import find_graphs, seen_from
from taemi_edge.bundle.precisions import RequestedPrecision
from taemi_edge.bundle.recipe import load_recipe, recipe_from_mapping
from taemi_edge.bundle.records import TIMED, Candidate, EngineRecord, HostPlan
from taemi_edge.bundle.seal import seal_manifest
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import PartSpec
from taemi_edge.engines.asked_shapes import declared_layout
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.choose import PartChoice, choose_parts
from taemi_edge.engines.host_plans import plan_host
from taemi_edge.engines.part_builder import BuiltPart, PartBuilder
from taemi_edge.engines.plan import BuildPlan, plan_build
from taemi_edge.engines.profiles import profiles_in_words
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.engines.tolerances import tolerances_of_mix
from taemi_edge.engines.verify import verify_engines
from taemi_edge.errors import EngineError, MissingExtraError, OutputError
from taemi_edge.parity.comparison import ParityReport
from taemi_edge.parity.golden import golden_cases
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.tensorrt.machine import described, is_same_machine


@dataclass(frozen=True)
class BuildResult:
    """An engine bundle and how it came about.

    Attributes:
        bundle: the new one.
        from_cache: whether all of it was built before.
        report: of parity; None where it was not run now.
    """

    bundle: Bundle
    from_cache: bool
    report: ParityReport | None

    @property
    def record(self) -> EngineRecord:
        """What the manifest says about the engines.

        Raises:
            EngineError: the bundle holds no engines.
        """
        record = self.bundle.manifest.engine
        if record is None:
            raise EngineError(f"{self.bundle.folder}: expected an engine bundle")
        return record


def build_engine(
    source: Path | str | Bundle,
    target: TargetRecipe | str,
    precision: RequestedPrecision,
    output: Path | str,
    *,
    threads: int = 0,
    cache: EngineCache | None = None,
    progress: Progress = SILENT,
) -> BuildResult:
    """Build a bundle's engines for a target; the new bundle is written whole or not at all.

    Args:
        source: the folder of a bundle of graphs, as `export` or `calibrate` makes it; or that bundle. One that was
            opened with `require_signature` binds the engines to its signature: this device can then require it of
            them as well.
        target: the device, and how engines are built for it; a recipe, its name or its TOML file.
        precision: one precision for all parts, or "auto": for each part the fastest that stays inside the target's
            budget, as timed on this machine.
        output: the folder of the engine bundle.
        threads: of each session that times or checks an engine; 0 for all cores.
        cache: where engines are looked up and kept; None builds everything anew and keeps nothing.
        progress: receives the stages and how much of each is done.

    Raises:
        UsageError: the target is not this device, or its library or its GPU is not here.
        EngineError: the bundle has no graph of that precision, or TensorRT refuses one.
        OutputError: `output` cannot be written, or is the folder that is read.

    Example:
        >>> import taemi_edge as te
        >>> te.build_engine("export/taemi-tiny", "cpu", "fp32", "engines/tiny-cpu").bundle.manifest.verified
        True
    """
    opened, output = source if isinstance(source, Bundle) else None, Path(output)
    source = source.folder if isinstance(source, Bundle) else Path(source)
    device = load_recipe("engines", target, TargetRecipe) if isinstance(target, str) else target
    require_another_place(source, output)
    plan = plan_build(source, device, precision, threads)
    signed = opened is not None and opened.signed_by is not None
    key = plan.build_key(opened)
    digests = {**plan.manifest.sha256, MANIFEST: sha256_of(source / MANIFEST)} if opened is None else opened.digests
    named = _named_source(output, source, digests)
    if cache is not None and (manifest := cache.copy_bundle(key, output, seal=signed, named=named)) is not None:
        return BuildResult(_just_written(output, manifest), from_cache=True, report=None)
    manifest, report = _build(plan, opened or open_bundle(source), output, cache, progress)
    return BuildResult(_just_written(output, manifest), from_cache=False, report=report)


def _build(
    plan: BuildPlan, bundle: Bundle, output: Path, cache: EngineCache | None, progress: Progress
) -> tuple[Manifest, ParityReport | None]:
    """Build, choose and verify the engines of a plan, and write them as a bundle."""
    if bundle.manifest != plan.manifest:  # the keys of the cache would be those of other graphs
        raise EngineError(
            f"{plan.source}: expected the bundle that the build was planned for, another one took its place"
        )
    key = plan.build_key(bundle)
    with (
        new_folder(output, replaceable_files(output)) as draft,
        scratch_folder() as scratch,
    ):
        builder = PartBuilder(plan, bundle, Path(scratch), cache, progress)
        choice = choose_parts(plan, bundle, builder)
        made = {f"{b.part}{b.file.suffix}": sha256_of(b.file) for b in choice.kept.values()}
        for built in choice.kept.values():
            shutil.move(built.file, draft / f"{built.part}{built.file.suffix}")
        copy_shared_files(bundle, draft)
        if plan.precision == "auto":
            _draw_choice(plan, choice.candidates, draft / CHOICE)
        if bundle.signed_by is not None:
            (draft / SOURCE_SIGNATURE).write_bytes(bundle.signed_by.content)
        record = _record(plan, bundle, choice, key, output)
        record = msgspec.structs.replace(record, host=_host_plan(plan, bundle, (choice, record), draft, progress))
        record = msgspec.structs.replace(record, flags={**record.flags, **_shapes_in_words(plan, builder, choice)})
        manifest, report = verify_engines(draft, _manifest(bundle, choice, plan), record, plan, progress)
        if cache is not None and (manifest.verified or report is None):
            cache.write_bundle(key, draft)
        if bundle.signed_by is not None:
            _seal(draft, bundle, manifest, made)
    return manifest, report


def _host_plan(
    plan: BuildPlan, bundle: Bundle, made: tuple[PartChoice, EngineRecord], draft: Path, progress: Progress
) -> HostPlan | msgspec.UnsetType:
    """How the engines share this processor, where `auto` builds for it; they are opened as their record says."""
    if plan.precision != "auto" or plan.target.backend != "onnxruntime-cpu":
        return msgspec.UNSET
    progress.stage("timing threads")
    manifest = msgspec.structs.replace(_manifest(bundle, made[0], plan), engine=made[1])
    return plan_host(
        replace(bundle, manifest=manifest),
        {part: draft / spec.file for part, spec in manifest.parts.items()},
        golden_cases(bundle),
        declared_layout(manifest, plan.target.sources),
        runs=plan.target.runs,
        threads=plan.threads,
    )


def _seal(draft: Path, source: Bundle, manifest: Manifest, made: Mapping[str, str]) -> None:
    """Seal a bundle as built here, if what lies there is what was built and nothing else.

    Args:
        draft: the folder of the new bundle.
        source: the bundle of graphs.
        manifest: what was written for the new bundle.
        made: the sha256 of every engine, by its file's name.
    """
    found = open_bundle(draft)
    own = (MANIFEST, MODEL_CARD)  # engines have a card of their own, whose hash stands in their manifest
    taken = {name: digest for name, digest in source.digests.items() if name in found.digests and name not in own}
    of_signature = {} if source.signed_by is None else {SOURCE_SIGNATURE: sha256(source.signed_by.content).hexdigest()}
    want = {**taken, **made, **of_signature}
    same = msgspec.json.encode(found.manifest) == msgspec.json.encode(manifest)
    if not same or any(found.digests.get(name) != digest for name, digest in want.items()):
        raise EngineError(
            f"{draft.name}: expected what was built a moment ago, it was changed by somebody: build again"
        )
    seal_manifest(found.digests[MANIFEST])


def rebuild_if_foreign(bundle: Bundle, progress: Progress = SILENT, *, require_signature: Path | None = None) -> Bundle:
    """Build the engines of a bundle anew where they were built by another library or on another machine.

    Args:
        bundle: any one; a bundle of graphs, and engines that may run here, are given back as they are.
        progress: receives the stages and how much of each is done.
        require_signature: a file with the public key that must have signed the graphs; None asks for no signature.

    Raises:
        SignatureError: the graphs are not signed with that key.
        BundleError: the graphs that the engines were built from are gone.
    """
    record = bundle.manifest.engine
    if record is None:
        return bundle
    target = recipe_from_mapping(record.recipe, TargetRecipe, f"{bundle.folder / MANIFEST}, engine.recipe")
    precision: RequestedPrecision = msgspec.convert(record.asked, RequestedPrecision)
    source = find_graphs(bundle)
    plan = plan_build(source, target, precision, 0)
    if plan.library == record.library and is_same_machine(record.machine, plan.machine):
        return bundle
    progress.stage(f"building anew for {plan.library} on {described(plan.machine)}")
    graphs = open_bundle(source, require_signature=require_signature)
    build_engine(graphs, target, precision, bundle.folder, cache=EngineCache(), progress=progress)
    return open_bundle(bundle.folder, require_signature=require_signature)


def _named_source(output: Path, source: Path, digests: Mapping[str, str]) -> dict[str, Any]:
    """What the record of engines says of the graphs that they were built from."""
    return {
        "source": seen_from(output, source),
        "source_place": os.path.realpath(source),
        "source_digests": dict(digests),
    }


def _record(plan: BuildPlan, bundle: Bundle, choice: PartChoice, key: str, output: Path) -> EngineRecord:
    return EngineRecord(
        target=plan.target.name,
        backend=plan.target.backend,
        library=plan.library,
        machine=msgspec.to_builtins(plan.machine),
        **_named_source(output, plan.source, bundle.digests),
        asked=plan.precision,
        recipe=msgspec.to_builtins(plan.target),
        flags={**plan.flags(), **_workarounds(choice)},
        build_key=key,
        part_keys={part: built.key for part, built in choice.kept.items()},
        candidates=tuple(choice.candidates),
        sessions={part: b.variant.session for part, b in choice.kept.items() if b.variant.session} or msgspec.UNSET,
    )


def _workarounds(choice: PartChoice) -> dict[str, str]:
    """The flags that parts were built with around an error of this TensorRT."""
    used = [f"{part}: {built.workaround}" for part, built in choice.kept.items() if built.workaround]
    return {"workarounds": ", ".join(used)} if used else {}


def _shapes_in_words(plan: BuildPlan, builder: PartBuilder, choice: PartChoice) -> dict[str, str]:
    """What engines were built for and timed at, by part; older readers take it as they take any flag."""
    profiles = {f"profiles of {part}": profiles_in_words(found) for part, found in builder.profiles.items()}
    timed = {f"{TIMED}{part}": words for part, words in choice.timed.items()}
    return {**(profiles if plan.target.is_tensorrt else {}), **timed}


def _manifest(bundle: Bundle, choice: PartChoice, plan: BuildPlan) -> Manifest:
    return derive_manifest(
        bundle,
        {part: _part_spec(bundle, part, built) for part, built in choice.kept.items()},
        {"python": platform.python_version(), "numpy": version("numpy"), "library": plan.library},
        tolerances=tolerances_of_mix(bundle, {p: built.precision for p, built in choice.kept.items()}),
        tolerances_by={},
        graphs={},
    )


def _part_spec(bundle: Bundle, part: str, built: BuiltPart) -> PartSpec:
    spec: PartSpec = msgspec.structs.replace(
        bundle.manifest.parts[part], file=f"{part}{built.file.suffix}", precision=built.precision
    )
    return spec


def _just_written(folder: Path, manifest: Manifest) -> Bundle:
    """Open a bundle without hashing its files: they were hashed a moment ago, and are again when they are read."""
    sizes = {name: (folder / name).stat().st_size for name in manifest.sha256}
    return with_tokens(Bundle(folder, manifest, {}, manifest.sha256, sizes, folder.resolve()))


def _draw_choice(plan: BuildPlan, candidates: list[Candidate], file: Path) -> None:
    """Draw the choice of "auto" where matplotlib is installed; a device may do without."""
    from taemi_edge.engines.plot import plot_choice

    device = plan.machine.gpu or plan.machine.architecture
    try:
        plot_choice(candidates, f"{plan.manifest.name} on {device}, {plan.library}", file)
    except (MissingExtraError, OutputError):
        return
