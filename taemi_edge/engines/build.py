"""A bundle of graphs and a target in, an engine bundle out: built part by part, timed, checked, verified or not.

The manifest says `verified` only after parity passed on the golden feeds in every presence pattern and batch corner.
What was built before of just the same things comes from the cache.
"""

from __future__ import annotations

import datetime
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from taemi_edge import __version__
from taemi_edge.bundle.atomic import new_folder, require_another_place
from taemi_edge.bundle.folder import (
    CHOICE,
    FILES,
    GOLDEN,
    MANIFEST,
    TOKENIZER,
    TOKENS,
    Bundle,
    open_bundle,
    read_manifest,
    sha256_of,
    write_manifest,
)
from taemi_edge.bundle.recipe import list_recipes, load_recipe, recipe_from_mapping
from taemi_edge.bundle.spec import (
    PARTS,
    Candidate,
    EngineRecord,
    Flavour,
    Manifest,
    Part,
    Parts,
    PartSpec,
    PartTolerances,
    Precision,
    StageVerdict,
)
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.engines.cache import EngineCache, copy_files, key_of
from taemi_edge.engines.compiler import BuildOptions, Compiler
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import EngineError, MissingExtraError, OutputError, UsageError
from taemi_edge.parity.comparison import ParityReport, check_parity, check_part
from taemi_edge.parity.golden import WINDOW, Case, load_cases
from taemi_edge.progress import SILENT, PrefixedCounts, Progress
from taemi_edge.runtime.sessions import Session
from taemi_edge.runtime.tensorrt.library import Machine, this_machine

Asked = Literal["auto", "fp32", "fp16", "int8"]
#: The golden case of each part whose time counts: what a hop of live video asks for.
USUAL_CASES = {"vision": "one frame", "audio": "longest", "text": "typical length", "fusion": WINDOW}
_ORDER: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class BuildResult:
    """The engine bundle, whether it came whole from the cache, and parity's report if it was run now."""

    bundle: Bundle
    from_cache: bool
    report: ParityReport | None

    @property
    def record(self) -> EngineRecord:
        record = self.bundle.manifest.engine
        if record is None:
            raise EngineError(f"{self.bundle.folder}: expected an engine bundle")
        return record


@dataclass(frozen=True)
class _Built:
    """One part in one precision, ready to be tried."""

    part: Part
    precision: Precision
    file: Path
    key: str
    seconds: float


@dataclass(frozen=True)
class _Plan:
    """Everything that decides what is built."""

    source: Path
    manifest: Manifest
    target: TargetRecipe
    asked: Asked
    library: str
    machine: Machine
    threads: int

    def flags(self) -> dict[str, str]:
        """What the target says of building, in words."""
        target = self.target
        return {
            "workspace_mib": str(target.workspace_mib),
            "tactic_sources": " ".join(target.tactic_sources) or "default",
            "optimisation_level": "default" if target.optimisation_level is None else str(target.optimisation_level),
            "tf32": str(target.tf32).lower(),
            "constrain_precision": str(target.constrain_precision).lower(),
            "sm": target.sm if target.ahead_of_time else "",
            "profiles": "shared by contexts",
        }

    def part_key(self, part: str, precision: Precision, graph_sha256: str) -> str:
        return key_of(
            graph=graph_sha256,
            precision=precision,
            spans=self.target.spans(part),
            backend=self.target.backend,
            library=self.library,
            machine=msgspec.to_builtins(self.machine),
            flags=self.flags(),
        )

    def build_key(self) -> str:
        """Of the whole bundle: its source's every file, the target, the device, and what was asked for."""
        return key_of(
            files=self.manifest.sha256,
            parts=msgspec.to_builtins(self.manifest.parts),
            tolerances=msgspec.to_builtins([self.manifest.tolerances, self.manifest.tolerances_by]),
            calibration=None if self.manifest.calibration is None else self.manifest.calibration.ranges_sha256,
            target=msgspec.to_builtins(self.target),
            asked=self.asked,
            library=self.library,
            machine=msgspec.to_builtins(self.machine),
            threads=self.threads,
            made_by=__version__,
        )


def build_engine(
    source: Path,
    target: TargetRecipe,
    asked: Asked,
    output: Path,
    *,
    threads: int = 0,
    cache: EngineCache | None = None,
    progress: Progress = SILENT,
) -> BuildResult:
    """Build a bundle's engines for a target, whole or not at all.

    Args:
        asked: one precision for all parts, or "auto": for each part the fastest that stays inside the target's budget,
            as timed here.
        cache: where engines are kept; None builds everything anew and keeps nothing.

    Raises:
        UsageError: the target is not this device, or its library or GPU is not here.
        EngineError: the bundle has no graph of that precision, or TensorRT refuses one.

    Example:
        >>> target = load_recipe("engines", "cpu", TargetRecipe)                          # doctest: +SKIP
        >>> build_engine(Path("export/taemi-mobile"), target, "auto",                     # doctest: +SKIP
        ...              Path("engines/taemi-mobile-cpu")).bundle.manifest.verified
        True
    """
    require_another_place(source, output)
    plan = _plan(source, target, asked, threads)
    key = plan.build_key()
    if cache is not None and (found := cache.read_bundle(key)) is not None:
        folder, manifest = found
        with new_folder(output, FILES) as draft:
            copy_files(folder, draft, {name: name for name in (*manifest.sha256, MANIFEST)})
        return BuildResult(_trusted(output, manifest), from_cache=True, report=None)
    bundle = open_bundle(source)
    with new_folder(output, FILES) as draft, tempfile.TemporaryDirectory(prefix="taemi-edge-") as scratch:
        builder = _Builder(plan, bundle, Path(scratch), cache, progress)
        candidates, kept = _choose(plan, bundle, builder)
        for built in kept.values():
            shutil.move(built.file, draft / f"{built.part}{built.file.suffix}")
        for name in (TOKENS, TOKENIZER, GOLDEN):
            shutil.copyfile(source / name, draft / name)
        if asked == "auto":
            _draw_choice(plan, candidates, draft / CHOICE)
        record = EngineRecord(
            target=target.name,
            backend=target.backend,
            library=plan.library,
            machine=msgspec.to_builtins(plan.machine),
            source=str(source.resolve()),
            asked=asked,
            recipe=msgspec.to_builtins(target),
            flags=plan.flags(),
            build_key=key,
            part_keys={part: built.key for part, built in kept.items()},
            candidates=tuple(candidates),
        )
        manifest, report = _verify(draft, _manifest(bundle, kept, record), plan, progress)
        if cache is not None and (manifest.verified or report is None):
            cache.write_bundle(key, draft)
    return BuildResult(_trusted(output, manifest), from_cache=False, report=report)


def rebuild_if_foreign(bundle: Bundle, progress: Progress = SILENT) -> Bundle:
    """A bundle as it is where it may run here; else its engines built anew from the graphs that they were made of.

    Raises:
        EngineError: the graphs are gone.
    """
    record = bundle.manifest.engine
    if record is None:
        return bundle
    target = recipe_from_mapping(record.recipe, TargetRecipe, f"{bundle.folder / MANIFEST}, engine.recipe")
    asked: Asked = msgspec.convert(record.asked, Asked)
    source = Path(record.source)
    if not source.is_dir():
        raise EngineError(f"{bundle.folder}: expected the graphs that it was built from in {source}, found none there")
    plan = _plan(source, target, asked, 0)
    same = plan.library == record.library and msgspec.to_builtins(plan.machine) == record.machine
    if same:
        return bundle
    progress.stage(f"building anew for {plan.library} on {plan.machine.gpu or plan.machine.architecture}")
    return build_engine(source, target, asked, bundle.folder, cache=EngineCache(), progress=progress).bundle


def _plan(source: Path, target: TargetRecipe, asked: Asked, threads: int) -> _Plan:
    manifest = read_manifest(source)
    if manifest.engine is not None:
        raise EngineError(
            f"{source}: expected a bundle of graphs, got engines for {manifest.engine.target}: name the bundle that "
            f"`export` or `calibrate` made"
        )
    _require_target(target, asked)
    if not target.is_tensorrt:
        from taemi_edge.runtime.onnx_sessions import library_version

        machine = this_machine(with_gpu=target.backend == "onnxruntime-cuda")
        return _Plan(source, manifest, target, asked, library_version(), machine, threads)
    library = f"{target.backend} {Compiler(target.backend).version}"
    machine = this_machine(with_gpu=not target.ahead_of_time)
    if target.sm and not target.ahead_of_time and machine.sm != target.sm:
        raise UsageError(
            f"--target {target.name} is for compute capability {target.sm}, found {machine.gpu} with {machine.sm}: "
            f"build on the device itself, or use --target tensorrt for this one"
        )
    return _Plan(source, manifest, target, asked, library, machine, threads)


def _require_target(target: TargetRecipe, asked: Asked) -> None:
    here = platform.machine()
    if target.architecture and target.architecture != here:
        raise UsageError(
            f"--target {target.name} is for {target.architecture}, this machine is {here}: run build-engine on the "
            f"device that will run the engines (copy the bundle there), or use --target rtx to try the compiler here"
        )
    if target.ahead_of_time and asked == "auto":
        raise UsageError(
            f"--precision auto times engines, and --target {target.name} builds without their GPU: name fp32, fp16 "
            f"or int8"
        )


class _Builder:
    """Makes one part in one precision, from the cache where it can."""

    def __init__(
        self,
        plan: _Plan,
        bundle: Bundle,
        scratch: Path,
        cache: EngineCache | None,
        progress: Progress,
    ) -> None:
        self._plan, self._bundle, self._scratch, self._cache = plan, bundle, scratch, cache
        self._progress = progress
        self._compiler = Compiler(plan.target.backend) if plan.target.is_tensorrt else None

    def build(self, part: Part, precision: Precision) -> _Built:
        """Raises EngineError where there is no such graph or it cannot be built."""
        graph = self._graph(part, precision)
        suffix = ".engine" if self._compiler else ".onnx"
        target = self._scratch / f"{part}-{precision}{suffix}"
        key = self._plan.part_key(part, precision, sha256_of(graph))
        started = time.perf_counter()
        if self._cache is not None and (content := self._cache.read_part(key)) is not None:
            engine, seconds = content
            target.write_bytes(engine)
            return _Built(part, precision, target, key, seconds)
        self._progress.stage(f"building {part} in {precision}")
        if self._compiler is not None:
            target.write_bytes(self._compile(self._compiler, graph, part, precision))
        elif self._plan.target.backend == "onnxruntime-cpu":
            from taemi_edge.runtime.onnx_sessions import optimise

            optimise(graph, target)
        else:
            shutil.copyfile(graph, target)  # ONNX Runtime rewrites it for the GPU when it is opened
        seconds = round(time.perf_counter() - started, 2)
        if self._cache is not None:
            self._cache.write_part(key, target.read_bytes(), seconds)
        return _Built(part, precision, target, key, seconds)

    def _compile(self, compiler: Compiler, graph: Path, part: Part, precision: Precision) -> bytes:
        target = self._plan.target
        timing = None
        if target.timing_cache and self._cache is not None:
            timing = self._cache.timing_cache(self._plan.library, self._plan.machine.sm)
        options = BuildOptions(
            spans=target.spans(part),
            workspace_mib=target.workspace_mib,
            tactic_sources=target.tactic_sources,
            optimisation_level=target.optimisation_level,
            sm=target.sm if target.ahead_of_time else "",
            tf32=target.tf32,
            constrain_precision=target.constrain_precision,
            timing_cache=timing,
        )
        return compiler.compile(
            graph,
            precision,
            options,
            PrefixedCounts(self._progress, f"{part} {precision}: "),
        )

    def _graph(self, part: Part, precision: Precision) -> Path:
        flavour: Flavour = self._compiler.flavour_of(precision) if self._compiler else precision
        name = self._bundle.manifest.graph_file(part, flavour)
        if name is not None:
            return self._bundle.folder / name
        if precision == "fp16" and self._bundle.manifest.graph_file(part, "fp32"):
            return self._cast(part)
        raise EngineError(
            f"{self._bundle.folder} has no {precision} graph of {part}: run `taemi-edge calibrate "
            f"{self._bundle.folder} --data CORPUS` and build from what it makes"
        )

    def _cast(self, part: Part) -> Path:
        """FP16 of a bundle that was never calibrated: islands by what the golden feeds show."""
        try:
            from taemi_edge.calibration.fp16_cast import cast_part
        except ModuleNotFoundError as error:
            raise MissingExtraError("onnx", "export", "casting a graph to FP16") from error
        file = self._scratch / f"{part}.fp16-graph.onnx"
        cast_part(self._bundle, part, file)
        return file


def _offered(plan: _Plan, bundle: Bundle) -> list[Precision]:
    """What auto may try: the target's precisions of which the bundle has graphs, or FP16 where it can be cast here."""
    has = {p for p in _ORDER if all(bundle.manifest.graph_file(part, p) for part in PARTS)}
    castable: set[Precision] = {"fp16"} if find_spec("onnx") else set()
    return [p for p in plan.target.precisions if p in has | castable]


def _choose(plan: _Plan, bundle: Bundle, builder: _Builder) -> tuple[list[Candidate], dict[Part, _Built]]:
    """Build what was asked for; for auto all candidates, of which each part keeps its fastest inside the budget."""
    if plan.asked != "auto":
        kept = {part: builder.build(part, plan.asked) for part in PARTS}
        reason = f"asked for by --precision {plan.asked}"
        return [_candidate(built, None, True, reason) for built in kept.values()], kept
    cases = load_cases(bundle.golden_file)
    candidates: list[Candidate] = []
    chosen: dict[Part, _Built] = {}
    for part in PARTS:
        found, best = _choose_part(plan, bundle, builder, part, cases)
        candidates += found
        chosen[part] = best
    return candidates, chosen


def _choose_part(
    plan: _Plan, bundle: Bundle, builder: _Builder, part: Part, cases: list[Case]
) -> tuple[list[Candidate], _Built]:
    built: list[_Built] = []
    rejected: list[Candidate] = []
    for precision in _offered(plan, bundle):
        try:
            built.append(builder.build(part, precision))
        except EngineError as error:
            failed = _Built(part, precision, Path(), "", 0.0)
            rejected.append(_candidate(failed, None, False, str(error)))
    if not built:
        raise EngineError(f"{part}: no precision can be built: {rejected[0].reason}")
    times, faults = _time(plan, bundle, built, cases)
    inside = [b for b in built if not faults[b.precision]]
    if not inside:
        raise EngineError(f"{part}: no precision is inside its tolerance: {faults[built[0].precision]}")
    medians = {b.precision: statistics.median(times[b.precision]) for b in inside}
    kept = fastest_worth_it(medians, plan.target.gain)
    best = next(b for b in inside if b.precision == kept)
    for b in built:
        if b is best:
            reason = "the fastest inside the budget" if len(built) > 1 else "the only precision that the bundle has"
        elif faults[b.precision]:
            reason = faults[b.precision]
        else:
            ratio = medians[b.precision] / medians[kept]
            reason = f"{ratio:.2f} x the time of {kept}"
            reason += f": it would have to save {plan.target.gain:.0%}" if ratio < 1 else ""
        rejected.append(_candidate(b, times[b.precision], b is best, reason))
    return rejected, best


def fastest_worth_it(medians: Mapping[Precision, float], gain: float) -> Precision:
    """The fastest precision, where a lower one counts only if it saves that share of the time of a higher one.

    Example:
        >>> fastest_worth_it({"fp32": 1.00, "fp16": 0.98, "int8": 0.50}, 0.05)
        'int8'
        >>> fastest_worth_it({"fp32": 1.00, "fp16": 0.98}, 0.05)
        'fp32'
    """
    offered = [precision for precision in _ORDER if precision in medians]
    best = offered[0]
    for precision in offered[1:]:
        if medians[precision] < medians[best] * (1 - gain):
            best = precision
    return best


def _time(
    plan: _Plan, bundle: Bundle, built: list[_Built], cases: list[Case]
) -> tuple[dict[Precision, list[float]], dict[Precision, str]]:
    """Milliseconds of each candidate on the usual shape, in turn; and why a candidate may not be kept, if so."""
    part = built[0].part
    usual = next(case.feeds for case in cases if case.part == part and case.name == USUAL_CASES[part])
    times: dict[Precision, list[float]] = {b.precision: [] for b in built}
    faults: dict[Precision, str] = {}
    with _opened(plan, bundle, built) as sessions:
        for precision, session in sessions.items():
            faults[precision] = _fault(plan, bundle, part, precision, session, cases)
        for turn in range(plan.target.runs + 3):
            for precision, session in sessions.items():
                started = time.perf_counter()
                session.run(usual)
                if turn >= 3:  # the first ones warm caches up
                    times[precision].append((time.perf_counter() - started) * 1e3)
    return times, faults


def _fault(plan: _Plan, bundle: Bundle, part: Part, precision: Precision, session: Session, cases: list[Case]) -> str:
    """Why a candidate is outside its tolerance or the budget; empty where it is inside both."""
    limit = _limits(bundle.manifest, precision).of(part)
    result = check_part(session.run, part, cases, bundle.tokens, limit)
    if not result.ok:
        worst = next((case for case in result.cases if not case.ok), result.cases[0])
        return f"outside its tolerance in {worst.case}: max error {worst.max_abs:.3g}, cosine {worst.cosine:.5f}"
    record = bundle.manifest.calibration
    if precision != "int8" or record is None or part not in record.closeness:
        return ""
    found, exact, budget = record.closeness[part]["int8"], record.mean_pearson.get("fp32"), plan.target.budget
    if not (found.pearson or 0) >= budget.pearson:
        return f"Pearson {found.pearson or 0:.4f} with FP32 on held-out clips, the budget wants {budget.pearson:g}"
    if exact is not None and exact - (found.mean_pearson or 0) > budget.mean_pearson_drop:
        return f"mean Pearson on labels falls from {exact:.3f} to {found.mean_pearson or 0:.3f}"
    return ""


def _candidate(built: _Built, times: list[float] | None, kept: bool, reason: str) -> Candidate:
    return Candidate(
        part=built.part,
        precision=built.precision,
        median_ms=None if not times else round(statistics.median(times), 4),
        p95_ms=None if not times else round(float(np.quantile(times, 0.95)), 4),
        bytes=built.file.stat().st_size if built.file.is_file() else 0,
        build_s=built.seconds,
        kept=kept,
        reason=reason,
    )


@contextmanager
def _opened(plan: _Plan, bundle: Bundle, built: list[_Built]) -> Iterator[Mapping[Precision, Session]]:
    """Candidates of one part, ready to run."""
    if plan.target.is_tensorrt:
        from taemi_edge.runtime.tensorrt.engine import EngineSession
        from taemi_edge.runtime.tensorrt.gpu import Gpu
        from taemi_edge.runtime.tensorrt.library import load_library

        gpu = Gpu(load_library(plan.target.backend))
        sessions: dict[Precision, Session] = {}
        try:
            for b in built:
                spec = bundle.manifest.parts.of(b.part)
                sessions[b.precision] = EngineSession(gpu, b.file.read_bytes(), b.part, spec)
            yield sessions
        finally:
            for session in sessions.values():
                session.close()
            gpu.close()
        return
    from taemi_edge.runtime.onnx_sessions import OrtSession

    device = "cuda" if plan.target.backend == "onnxruntime-cuda" else "cpu"
    yield {
        b.precision: OrtSession.from_file(b.file, b.part, bundle.manifest.parts.of(b.part), device, plan.threads)
        for b in built
    }


def _manifest(bundle: Bundle, kept: Mapping[Part, _Built], record: EngineRecord) -> Manifest:
    manifest = bundle.manifest
    specs: dict[str, PartSpec] = {}
    for part, built in kept.items():
        spec = manifest.parts.of(part)
        specs[part] = msgspec.structs.replace(spec, file=f"{part}{built.file.suffix}", precision=built.precision)
    provenance = msgspec.structs.replace(
        manifest.provenance,
        made_by=f"taemi-edge {__version__}",
        made_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        source=str(bundle.folder),
        versions={"python": platform.python_version(), "numpy": version("numpy"), "library": record.library},
    )
    complete: Manifest = msgspec.structs.replace(
        manifest,
        parts=Parts(**specs),
        tolerances=_tolerances(manifest, kept),
        tolerances_by={},
        graphs={},
        provenance=provenance,
        verified=False,
        engine=record,
    )
    return complete


def _tolerances(manifest: Manifest, kept: Mapping[Part, _Built]) -> PartTolerances:
    """Each part's own by its precision; the whole way is held to that of the lowest one."""
    by_part = {part: _limits(manifest, built.precision).of(part) for part, built in kept.items()}
    lowest = _limits(manifest, max((built.precision for built in kept.values()), key=_ORDER.index))
    return PartTolerances(**by_part, end_to_end=lowest.end_to_end or lowest.fusion)


def _limits(manifest: Manifest, precision: Precision) -> PartTolerances:
    """What a precision is held to; graphs that were cast to FP16 here, to what their calibration recipe says of it."""
    if precision != "fp16" or "fp16" in manifest.tolerances_by:
        return manifest.tolerances_of(precision)
    name = manifest.name if manifest.name in list_recipes("calibration") else "default"
    return load_recipe("calibration", name, CalibrationRecipe).fp16


def _verify(draft: Path, manifest: Manifest, plan: _Plan, progress: Progress) -> tuple[Manifest, ParityReport | None]:
    """Run parity on what was built and write down what came of it."""
    engine = manifest.engine
    write_manifest(draft, manifest)
    if engine is None:
        raise EngineError("expected a record of engines")
    if plan.target.ahead_of_time:
        failure = f"they were built ahead of time for SM {plan.target.sm} and have not run yet"
        complete: Manifest = msgspec.structs.replace(manifest, engine=msgspec.structs.replace(engine, failure=failure))
        write_manifest(draft, complete)
        return read_manifest(draft), None
    progress.stage("checking parity")
    report, _ = check_parity(str(draft), threads=plan.threads)
    verdicts = tuple(
        StageVerdict(
            stage=stage.stage,
            ok=stage.ok,
            cases=len(stage.cases),
            max_abs=stage.max_abs,
            cosine=stage.cosine,
            pearson=stage.lowest_pearson,
        )
        for stage in report.stages
    )
    failure = "" if report.ok else f"{report.first_failure} left its tolerance"
    complete = msgspec.structs.replace(
        manifest,
        verified=report.ok,
        engine=msgspec.structs.replace(engine, verification=verdicts, failure=failure),
    )
    write_manifest(draft, complete)
    return read_manifest(draft), report


def _trusted(folder: Path, manifest: Manifest) -> Bundle:
    """A bundle whose files were hashed a moment ago."""
    from safetensors.numpy import load_file

    tokens = load_file(folder / TOKENS)
    return Bundle(folder, manifest, {m: tokens[m] for m in ("vision", "audio", "text")})


def _draw_choice(plan: _Plan, candidates: list[Candidate], file: Path) -> None:
    """The picture of auto's choice, where matplotlib is installed: a device may do without."""
    from taemi_edge.engines.plot import plot_choice

    device = plan.machine.gpu or plan.machine.architecture
    try:
        plot_choice(candidates, f"{plan.manifest.name} on {device}, {plan.library}", file)
    except (MissingExtraError, OutputError):
        return
