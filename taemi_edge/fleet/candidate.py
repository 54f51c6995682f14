"""A candidate of an update: what was pulled, its version on this device, and the engines that are built of it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec

from taemi_edge.bundle.atomic import new_folder
from taemi_edge.bundle.folder import MANIFEST, Bundle, open_bundle, read_manifest, replaceable_files
from taemi_edge.bundle.precisions import RequestedPrecision
from taemi_edge.bundle.recipe import load_recipe, recipe_from_mapping
from taemi_edge.bundle.records import EngineRecord
from taemi_edge.bundle.signatures import signature_file
from taemi_edge.bundle.trusted_keys import read_small_file
from taemi_edge.engines.build import BuildResult, build_engine
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.plan import BuildPlan, plan_build
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import BundleError, CheckFailedError, EngineError, MissingExtraError, TaemiError
from taemi_edge.fleet.versions import ENGINES, GRAPHS, UpdateFolder, Version
from taemi_edge.live.update_root import CURRENT
from taemi_edge.parity.comparison import ParityReport, check_parity
from taemi_edge.progress import Progress

_REGISTRY = "oci://"


@dataclass(frozen=True)
class Recipe:
    """What engines are built for.

    Attributes:
        target: the device; None for that of the version in use.
        precision: of every part, or "auto"; None for what the version in use was asked for.
        threads: of each session that times or checks an engine; 0 for all cores.
    """

    target: TargetRecipe | str | None = None
    precision: RequestedPrecision | None = None
    threads: int = 0


@dataclass(frozen=True)
class Fetched:
    """What a source holds.

    Attributes:
        folder: of the device.
        origin: the source, and its digest where it is a registry.
        key: that must have signed it.
    """

    folder: UpdateFolder
    origin: Version

    def already_runs(self, recipe: Recipe, key: Path | None) -> bool:
        """Whether the version in use was built of just this, for just that: then nothing needs to be fetched."""
        version = self.folder.version_at(CURRENT)
        known = self.folder.origin(version)
        if not self.origin.digest or known.digest != self.origin.digest:
            return False
        with suppress(TaemiError):
            graphs = open_bundle(self.folder.folder(version) / GRAPHS, require_signature=key)
            plan = _plan(self.folder, graphs.folder, recipe)
            in_use = Candidate(version, graphs, plan, self.folder.folder(version) / ENGINES)
            return in_use.build_key == known.build_key and in_use.is_built
        return False


@dataclass(frozen=True)
class Candidate:
    """A version that is to run.

    Attributes:
        version: its name: the first digits of the bundle's hash, and of what its engines are built of.
        graphs: what was pulled, at its place.
        plan: how its engines are built.
        engines: where they belong.
    """

    version: str
    graphs: Bundle
    plan: BuildPlan
    engines: Path

    @property
    def is_built(self) -> bool:
        """Whether its engines are there, whole and verified."""
        with suppress(TaemiError):
            manifest = open_bundle(self.engines).manifest
            return (
                manifest.engine is not None and manifest.engine.build_key == self.build_key and bool(manifest.verified)
            )
        return False

    @property
    def build_key(self) -> str:
        """What its engines are built of, and by what."""
        return self.plan.build_key(self.graphs)


@dataclass(frozen=True)
class Built:
    """Engines that were built, now or by an update that was killed.

    Attributes:
        folder: where they lie.
        report: of parity, where it was made now.
    """

    folder: Path
    report: ParityReport | None

    def checked(self, key: Path | None, threads: int) -> Bundle:
        """Open them, and hold them against the golden outputs on this device.

        Raises:
            BundleError: they are not what was built.
            CheckFailedError: an output left its tolerance.
        """
        bundle = open_bundle(self.folder, require_signature=key)
        report = self.report or check_parity(self.folder, threads=threads or None)[0]
        if not report.ok or not bundle.manifest.verified:
            raise CheckFailedError(f"{report.first_failure or 'an output'} left its tolerance on this device")
        return bundle


def fetch(folder: UpdateFolder, source: str, recipe: Recipe, key: Path | None, progress: Progress) -> Fetched:
    """Bring what a source holds to `incoming`; a registry is first asked for the digest, and what runs is not fetched.

    Args:
        folder: of the device.
        source: an address of a registry, or the folder of a bundle, such as a USB stick.
        recipe: what is built for.
        key: a public key; a bundle that it did not sign is refused.
        progress: receives how much is there.

    Raises:
        TaemiError: the source cannot be reached or read, or is no sound bundle.
    """
    if not source.startswith(_REGISTRY):
        _copy(Path(source), folder.incoming, key, progress)
        return Fetched(folder, Version(source=source))
    try:
        from taemi_edge.fleet.pull import find_digest, pull_bundle
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "fleet", "--from oci://...") from error

    reference = find_digest(source)
    fetched = Fetched(folder, Version(source=source, digest=reference.digest))
    if not fetched.already_runs(recipe, key):
        pull_bundle(str(reference), folder.incoming, require_signature=key, reuse=folder.graphs(), progress=progress)
    return fetched


def find_version(folder: UpdateFolder, fetched: Fetched, recipe: Recipe, key: Path | None) -> Candidate:
    """Check what was fetched, and put it where its version belongs.

    Raises:
        BundleError: it is not sound, or not signed as it must be.
        EngineError: it holds engines: a device builds its own.
        UsageError: the target is not this device.
    """
    incoming = open_bundle(folder.incoming, require_signature=key)
    build_key = _plan(folder, folder.incoming, recipe).build_key(incoming)
    version = f"{incoming.digests[MANIFEST][:12]}-{build_key[:8]}"
    place = folder.folder(version) / GRAPHS
    if not _opens(place, key):
        folder.place_incoming(version, msgspec.structs.replace(fetched.origin, build_key=build_key))
    graphs = open_bundle(place, require_signature=key)
    return Candidate(version, graphs, _plan(folder, place, recipe), folder.folder(version) / ENGINES)


def build_candidate(folder: UpdateFolder, candidate: Candidate, progress: Progress) -> Built:
    """Build the engines of a candidate, unless an update that was killed has built them.

    Parts that have not changed come from the cache.

    Raises:
        EngineError: TensorRT refuses a graph.
        OutputError: there is no room.
    """
    if candidate.is_built:
        return Built(candidate.engines, None)
    shutil.rmtree(candidate.engines, ignore_errors=True)
    built: BuildResult = build_engine(
        candidate.graphs,
        candidate.plan.target,
        candidate.plan.precision,
        candidate.engines,
        threads=candidate.plan.threads,
        cache=EngineCache(folder.cache),
        progress=progress,
    )
    return Built(candidate.engines, built.report)


def check_candidate(folder: UpdateFolder, version: str, key: Path | None) -> None:
    """Check that a version is whole, before the device goes back to it.

    Raises:
        BundleError: it is not, or not signed as it must be.
    """
    bundle = open_bundle(folder.folder(version) / ENGINES, require_signature=key)
    if not bundle.manifest.verified:
        raise BundleError(f"{bundle.folder}: expected a bundle that parity has passed, got one that is not verified")


def _copy(source: Path, incoming: Path, key: Path | None, progress: Progress) -> None:
    """Copy a bundle and its signature."""
    progress.stage(f"copying {source}")
    bundle = open_bundle(source, require_signature=key)
    with new_folder(incoming, replaceable_files(incoming) | set(bundle.digests)) as draft:
        for name in bundle.digests:
            (draft / name).write_bytes(bundle.read(name))
    signature, beside = signature_file(source), signature_file(incoming)
    beside.unlink(missing_ok=True)
    if signature.is_file():
        beside.write_bytes(read_small_file(signature, "a signature"))


def _plan(folder: UpdateFolder, graphs: Path, recipe: Recipe) -> BuildPlan:
    """Plan the build of graphs for what is asked for, or else for what the version in use was built for."""
    target, precision = recipe.target, recipe.precision
    record = _record_in_use(folder)
    if target is None and record is not None:
        target = recipe_from_mapping(record.recipe, TargetRecipe, f"{folder.root / CURRENT / MANIFEST}, engine.recipe")
    if target is None:
        target = "tensorrt" if find_spec("tensorrt") is not None else "cpu"
    if precision is None:
        precision = "auto" if record is None else msgspec.convert(record.asked, RequestedPrecision)
    device = load_recipe("engines", target, TargetRecipe) if isinstance(target, str) else target
    if device.ahead_of_time:
        raise EngineError(f"--target {device.name}: expected one for this device, whose engines can be checked here")
    return plan_build(graphs, device, precision, recipe.threads)


def _record_in_use(folder: UpdateFolder) -> EngineRecord | None:
    with suppress(BundleError):
        return read_manifest(folder.root / CURRENT).engine
    return None


def _opens(graphs: Path, key: Path | None) -> bool:
    with suppress(BundleError):
        open_bundle(graphs, require_signature=key)
        return True
    return False
