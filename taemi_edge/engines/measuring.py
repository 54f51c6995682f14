"""Times the candidates of a part and holds them against the golden outputs, unless just that was measured here before.

They are timed on the shapes that ordinary hops of all sources have: those that the runtime warms up with.

What was measured is kept in the engine cache under everything that it depends on: the engines, the shapes, the golden
cases of the part, its tolerances. So a model whose head alone changed has only its head measured again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256

import msgspec
import numpy as np

from taemi_edge import __version__
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import HEAD, Frozen, PartSpec
from taemi_edge.engines.asked_shapes import Shapes
from taemi_edge.engines.cache import EngineCache, key_of
from taemi_edge.engines.part_builder import BuiltPart
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.engines.profiles import dynamic_sizes, hop_shapes
from taemi_edge.engines.timers import Runs, SessionTimer, Timer, engine_timers, stretched, time_in_turn
from taemi_edge.engines.tolerances import tolerances_of
from taemi_edge.errors import BackendError
from taemi_edge.parity.comparison import check_part
from taemi_edge.parity.golden import Case, usual_case
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.cores import usable_cores
from taemi_edge.runtime.sessions import Session

#: How the fault of a candidate begins that fails on golden feeds.
_CANNOT_RUN = "cannot be run"
#: A part of a processor is timed more often where its turns together take no longer than this.
_ENOUGH_MS = 150.0
#: What is enough to see which candidates are far slower than others.
_LOOK = Runs(5, warm_up=1)


class Measured(Frozen, frozen=True):
    """What was measured of the candidates of one part, by their names.

    Attributes:
        times_ms: the mean over all shapes of each turn, the candidates in turn.
        faults: how a candidate is outside its tolerance; empty where it is not.
        timed: at which shapes and how they were timed, in words.
    """

    times_ms: dict[str, list[float]]
    faults: dict[str, str]
    timed: str

    def median_ms(self, name: str) -> float:
        """The median time of a candidate; infinite where it could not be run."""
        return statistics.median(self.times_ms[name] or [math.inf])


@dataclass(frozen=True)
class Measuring:
    """Measures candidates of the parts of one bundle, or gives what was measured of just these before.

    Attributes:
        plan: what is built for which device.
        bundle: the graphs.
        cases: the golden cases of all parts.
        cache: where measurements are looked up and kept; None measures now and keeps nothing.
        progress: receives how many turns of timing are done.
    """

    plan: BuildPlan
    bundle: Bundle
    cases: Sequence[Case]
    cache: EngineCache | None
    progress: Progress = SILENT

    def measure(self, built: Sequence[BuiltPart], faults: Mapping[str, str] | None = None) -> Measured:
        """Measure the candidates of one part.

        Args:
            built: the candidates.
            faults: those of candidates that were held against the golden outputs already.
        """
        enough_ms = 0.0 if self.plan.target.is_tensorrt else _ENOUGH_MS
        return self._kept_or_now(built, Runs(self.plan.target.runs, enough_ms=enough_ms), faults or {})

    def look_at(self, built: Sequence[BuiltPart]) -> Measured:
        """Hold the candidates of one part against the golden outputs, and time each a few times."""
        return self._kept_or_now(built, _LOOK, {})

    def _kept_or_now(self, built: Sequence[BuiltPart], runs: Runs, faults: Mapping[str, str]) -> Measured:
        shapes = hop_shapes(self.bundle.manifest, self.plan.target, self.cases, built[0].part)
        key = _key(self.plan, self.bundle, built, self.cases, (shapes, runs))
        if self.cache is not None and (kept := self.cache.read_part(key)) is not None:
            return msgspec.json.decode(kept[0], type=Measured)
        measured = _measured_now(self, built, shapes, runs, faults)
        if self.cache is not None:
            self.cache.write_part(key, msgspec.json.encode(measured), 0.0)
        return measured


def cases_digest(cases: Sequence[Case], part: str) -> str:
    """Give a hash over the golden cases of one part: what is fed, and what must come out."""
    digest = sha256()
    for case in cases:
        if case.part != part:
            continue
        digest.update(f"{case.name} {None if case.pattern is None else sorted(case.pattern)}".encode())
        for arrays in (case.feeds, case.expected or {}):
            for name in sorted(arrays):
                values = np.ascontiguousarray(arrays[name])
                digest.update(f"{name} {values.dtype.str} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def _key(
    plan: BuildPlan,
    bundle: Bundle,
    built: Sequence[BuiltPart],
    cases: Sequence[Case],
    asked: tuple[Sequence[Shapes], Runs],
) -> str:
    """Everything that times and faults depend on; the device and the library are in the keys of the engines."""
    part, manifest = built[0].part, bundle.manifest
    of_the_head = {}
    if part == HEAD:
        tokens = {
            name: sha256(np.ascontiguousarray(value).tobytes()).hexdigest() for name, value in bundle.tokens.items()
        }
        of_the_head = {
            "tokens": tokens,
            "model": msgspec.to_builtins([manifest.streams, manifest.outputs, manifest.head]),
        }
    return key_of(
        **of_the_head,
        what="times",
        engines={b.name: b.key for b in built},
        part=part,
        spec=msgspec.to_builtins(manifest.parts[part]),
        cases=cases_digest(cases, part),
        shapes=asked[0],
        tolerances={b.name: msgspec.to_builtins(tolerances_of(bundle, b.precision)[part]) for b in built},
        runs=asdict(asked[1]),
        threads=plan.threads,
        **({} if plan.target.is_tensorrt else {"cores": usable_cores()}),
        made_by=__version__,
    )


def shapes_in_words(part: PartSpec, shapes: Sequence[Shapes]) -> str:
    """The lengths of the dynamic dimensions of some shapes, such as "batch 2, tokens 32 or batch 8, tokens 32"."""
    return " or ".join(
        ", ".join(f"{name} {size}" for name, size in dynamic_sizes(part, each).items()) or "its only shape"
        for each in shapes
    )


def how_in_words(hows: Mapping[str, str]) -> str:
    """How candidates were timed; where that differs, with their names.

    >>> how_in_words({"fp32": "by runs of the session", "int8-dynamic": "by runs of the session, row by row"})
    'by runs of the session (fp32); by runs of the session, row by row (int8-dynamic)'
    """
    ways = list(dict.fromkeys(hows.values()))
    if len(ways) < 2:
        return "".join(ways)
    return "; ".join(f"{way} ({' | '.join(name for name, how in hows.items() if how == way)})" for way in ways)


def _measured_now(
    given: Measuring, built: Sequence[BuiltPart], shapes: Sequence[Shapes], runs: Runs, known: Mapping[str, str]
) -> Measured:
    """Run each candidate on all cases of its part, and then all of them in turn on what ordinary hops bring."""
    plan, bundle, part = given.plan, given.bundle, built[0].part
    spec, usual = bundle.manifest.parts[part], usual_case(list(given.cases), part).feeds
    feeds = [stretched(each, usual) for each in shapes]
    what = f"{part}: timing {len(built)} candidate{'s' if len(built) > 1 else ''}"

    def told(done: int, of: int) -> None:
        given.progress.count(done, of, what)

    def timed(timers: Mapping[str, Timer]) -> tuple[dict[str, list[float]], str]:
        return time_in_turn(timers, runs, told), how_in_words({name: timer.how for name, timer in timers.items()})

    with _opened(plan, bundle, built) as sessions:
        faults = {
            b.name: known[b.name] if b.name in known else _fault(bundle, b, sessions[b.name], given.cases)
            for b in built
        }
        runnable = [name for name, fault in faults.items() if not fault.startswith(_CANNOT_RUN)]
        if not plan.target.is_tensorrt:
            times_ms, how = timed({name: SessionTimer(sessions[name], feeds) for name in runnable})
    if plan.target.is_tensorrt:
        fit = [b for b in built if b.name in runnable]
        with engine_timers(plan.target.backend, bundle.manifest, fit, feeds) as opened:
            times_ms, how = timed(opened)
    times_ms = {b.name: times_ms.get(b.name, []) for b in built}
    return Measured(times_ms=times_ms, faults=faults, timed=f"{shapes_in_words(spec, shapes)}; {how}")


def _fault(bundle: Bundle, built: BuiltPart, session: Session, cases: Sequence[Case]) -> str:
    """Say how a candidate is outside its tolerance on the golden feeds, or fails on them; empty where it is right."""
    part, tolerance = built.part, tolerances_of(bundle, built.precision)[built.part]
    try:
        result = check_part(session.run, part, cases, bundle.tokens, tolerance, bundle.manifest)
    except BackendError as failure:
        return f"{_CANNOT_RUN}: {failure}"
    if result.ok:
        return ""
    worst = next((case for case in result.cases if not case.ok), None)
    if worst is None:
        flips = "" if result.most_flips is None else f", {result.most_flips:.4f} of the labels differ"
        return f"outside its tolerance over all rows: Pearson {result.lowest_pearson or 0:.4f}{flips}"
    error = f"max error {worst.max_abs:.3g} (at most {result.limit_of(worst):.3g})"
    return f"outside its tolerance in {worst.case}: {error}, cosine {worst.cosine:.5f}"


@contextmanager
def _opened(plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart]) -> Iterator[Mapping[str, Session]]:
    """Open the candidates of one part; they are closed at the end."""
    if plan.target.is_tensorrt:
        with _opened_engines(plan, bundle, built) as engines:
            yield engines
        return
    from taemi_edge.runtime.onnx_sessions import OrtSession

    device = "cuda" if plan.target.backend == "onnxruntime-cuda" else "cpu"
    sessions: dict[str, Session] = {}
    try:
        for b in built:
            spec = msgspec.structs.replace(bundle.manifest.parts[b.part], precision=b.precision)
            sessions[b.name] = OrtSession.from_file(b.file, b.part, spec, device, plan.threads, b.variant.session)
        yield sessions
    finally:
        for session in sessions.values():
            session.close()


@contextmanager
def _opened_engines(plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart]) -> Iterator[Mapping[str, Session]]:
    from taemi_edge.runtime.tensorrt.engine import EngineSession
    from taemi_edge.runtime.tensorrt.gpu import Gpu
    from taemi_edge.runtime.tensorrt.library import load_library

    gpu = Gpu(load_library(plan.target.backend))
    sessions: dict[str, Session] = {}
    try:
        for b in built:
            spec = bundle.manifest.parts[b.part]
            sessions[b.name] = EngineSession(gpu, b.file.read_bytes(), b.part, spec)
        yield sessions
    finally:
        for session in sessions.values():
            session.close()
        gpu.close()
