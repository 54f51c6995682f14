"""Times the candidates of a part and holds them against the golden outputs, unless just that was measured here before.

They are timed on the shapes that ordinary hops of all sources have: those that the runtime warms up with.

What was measured is kept in the engine cache under everything that it depends on: the engines, the shapes, the golden
cases of the part, its tolerances. So a model whose head alone changed has only its head measured again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256

import msgspec
import numpy as np

from taemi_edge import __version__
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Precision
from taemi_edge.bundle.values import HEAD, Frozen, PartSpec
from taemi_edge.engines.asked_shapes import Shapes
from taemi_edge.engines.cache import EngineCache, key_of
from taemi_edge.engines.part_builder import BuiltPart
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.engines.profiles import dynamic_sizes, hop_shapes
from taemi_edge.engines.timers import SessionTimer, Timer, engine_timers, stretched
from taemi_edge.engines.tolerances import tolerances_of
from taemi_edge.parity.comparison import check_part
from taemi_edge.parity.golden import Case, usual_case
from taemi_edge.runtime.sessions import Session

#: Runs of each candidate before timing starts; the first ones fill caches.
_WARM_UP_RUNS = 3


class Measured(Frozen, frozen=True):
    """What was measured of the candidates of one part, by precision.

    Attributes:
        times_ms: the mean over all shapes of each turn, the candidates in turn.
        faults: how a candidate is outside its tolerance; empty where it is not.
        timed: at which shapes and how they were timed, in words.
    """

    times_ms: dict[Precision, list[float]]
    faults: dict[Precision, str]
    timed: str


def measure(
    plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart], cases: Sequence[Case], cache: EngineCache | None
) -> Measured:
    """Measure the candidates of one part, or give what was measured of just these before.

    Args:
        plan: what is built for which device.
        bundle: the graphs.
        built: the candidates, one a precision.
        cases: the golden cases of all parts.
        cache: where measurements are looked up and kept; None measures now and keeps nothing.
    """
    shapes = hop_shapes(bundle.manifest, plan.target, cases, built[0].part)
    key = _key(plan, bundle, built, cases, shapes)
    if cache is not None and (kept := cache.read_part(key)) is not None:
        return msgspec.json.decode(kept[0], type=Measured)
    measured = _measured_now(plan, bundle, built, cases, shapes)
    if cache is not None:
        cache.write_part(key, msgspec.json.encode(measured), 0.0)
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
    plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart], cases: Sequence[Case], shapes: Sequence[Shapes]
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
        engines={b.precision: b.key for b in built},
        part=part,
        spec=msgspec.to_builtins(manifest.parts[part]),
        cases=cases_digest(cases, part),
        shapes=shapes,
        tolerances={b.precision: msgspec.to_builtins(tolerances_of(bundle, b.precision)[part]) for b in built},
        runs=plan.target.runs,
        threads=plan.threads,
        made_by=__version__,
    )


def shapes_in_words(part: PartSpec, shapes: Sequence[Shapes]) -> str:
    """The lengths of the dynamic dimensions of some shapes, such as "batch 2, tokens 32 or batch 8, tokens 32"."""
    return " or ".join(
        ", ".join(f"{name} {size}" for name, size in dynamic_sizes(part, each).items()) or "its only shape"
        for each in shapes
    )


def _measured_now(
    plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart], cases: Sequence[Case], shapes: Sequence[Shapes]
) -> Measured:
    """Run each candidate on all cases of its part, and then all of them in turn on what ordinary hops bring."""
    part = built[0].part
    spec, usual = bundle.manifest.parts[part], usual_case(list(cases), part).feeds
    feeds = [stretched(each, usual) for each in shapes]
    times_ms: dict[Precision, list[float]] = {b.precision: [] for b in built}
    with _opened(plan, bundle, built) as sessions:
        faults = {p: _tolerance_fault(bundle, part, p, session, cases) for p, session in sessions.items()}
        if not plan.target.is_tensorrt:
            timers: dict[Precision, Timer] = {p: SessionTimer(session, feeds) for p, session in sessions.items()}
            how = _time_in_turn(timers, plan.target.runs, times_ms)
    if plan.target.is_tensorrt:
        with engine_timers(plan.target.backend, bundle.manifest, built, feeds) as opened:
            how = _time_in_turn(opened, plan.target.runs, times_ms)
    return Measured(times_ms=times_ms, faults=faults, timed=f"{shapes_in_words(spec, shapes)}; {how}")


def _time_in_turn(timers: Mapping[Precision, Timer], runs: int, times_ms: Mapping[Precision, list[float]]) -> str:
    """Time candidates in turn, so that a clock that changes changes for all; gives how they were timed, in words."""
    for turn in range(_WARM_UP_RUNS + runs):
        for precision, timer in timers.items():
            took_ms = timer.run_ms()
            if turn >= _WARM_UP_RUNS:
                times_ms[precision].append(took_ms)
    return " or ".join(dict.fromkeys(timer.how for timer in timers.values()))


def _tolerance_fault(bundle: Bundle, part: str, precision: Precision, session: Session, cases: Sequence[Case]) -> str:
    """Say how a candidate is outside its tolerance on the golden feeds; empty where it is not."""
    tolerance = tolerances_of(bundle, precision)[part]
    result = check_part(session.run, part, cases, bundle.tokens, tolerance, bundle.manifest)
    if result.ok:
        return ""
    worst = next((case for case in result.cases if not case.ok), None)
    if worst is None:
        flips = "" if result.most_flips is None else f", {result.most_flips:.4f} of the labels differ"
        return f"outside its tolerance over all rows: Pearson {result.lowest_pearson or 0:.4f}{flips}"
    error = f"max error {worst.max_abs:.3g} (at most {result.limit_of(worst):.3g})"
    return f"outside its tolerance in {worst.case}: {error}, cosine {worst.cosine:.5f}"


@contextmanager
def _opened(plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart]) -> Iterator[Mapping[Precision, Session]]:
    """Open the candidates of one part; they are closed at the end."""
    if plan.target.is_tensorrt:
        with _opened_engines(plan, bundle, built) as sessions:
            yield sessions
        return
    from taemi_edge.runtime.onnx_sessions import OrtSession

    device = "cuda" if plan.target.backend == "onnxruntime-cuda" else "cpu"
    yield {
        b.precision: OrtSession.from_file(b.file, b.part, bundle.manifest.parts[b.part], device, plan.threads)
        for b in built
    }


@contextmanager
def _opened_engines(
    plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart]
) -> Iterator[Mapping[Precision, Session]]:
    from taemi_edge.runtime.tensorrt.engine import EngineSession
    from taemi_edge.runtime.tensorrt.gpu import Gpu
    from taemi_edge.runtime.tensorrt.library import load_library

    gpu = Gpu(load_library(plan.target.backend))
    sessions: dict[Precision, Session] = {}
    try:
        for b in built:
            spec = bundle.manifest.parts[b.part]
            sessions[b.precision] = EngineSession(gpu, b.file.read_bytes(), b.part, spec)
        yield sessions
    finally:
        for session in sessions.values():
            session.close()
        gpu.close()
