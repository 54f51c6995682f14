"""Brings a device to another model, or leaves it with the one that it has.

    pull -> verify -> build -> parity -> rehearse -> switch -> watch -> done

Nothing that runs is touched before `switch`, which points one link elsewhere. After it the running services take the
new model up by themselves (`taemi_edge.live.takeover`) and are watched; where they do not run it well, the link is
pointed back. Whatever fails, and wherever the process is killed, `current` leads to a whole bundle: the old one or the
new one. The next update goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from taemi_edge.bundle.precisions import RequestedPrecision
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.trusted_keys import read_trusted_keys
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import (
    CheckFailedError,
    InaccurateEngineError,
    MediaError,
    OutputError,
    TaemiError,
    UpdateError,
    UsageError,
)
from taemi_edge.fleet.candidate import Candidate, Recipe, build_candidate, check_candidate, fetch, find_version
from taemi_edge.fleet.rehearsal import rehearse
from taemi_edge.fleet.versions import UpdateFolder
from taemi_edge.fleet.watching import count_services, watch_services
from taemi_edge.live.update_root import CURRENT, PREVIOUS, VERSIONS, UpdateResult, read_result
from taemi_edge.progress import SILENT, Progress

#: Steps whose failure lies in the version itself: it is not tried again unless somebody asks for it.
_OF_THE_VERSION = ("parity", "rehearse", "watch")
#: What may go wrong in these steps without a fault of the version: a full disk, no memory, a clip of the user's own.
_OF_THE_DEVICE = (OSError, MemoryError, OutputError, MediaError)

_ROLLBACK = "--rollback"


def ignore_step(_name: str) -> None:
    """Do nothing with the name of a step: the default of `update`."""


@dataclass(frozen=True)
class UpdateOptions:
    """What an update is asked for.

    Attributes:
        source: oci://HOST/NAME[:TAG][@sha256:DIGEST], or the folder of a bundle; "" rolls back to the previous version.
        key: the public key that must have signed the bundle; None asks for no signature.
        target: the device that engines are built for: a recipe, its name or its TOML file; None takes the one that the
            bundle in use was built for, and the first time TensorRT where it is installed, or else the CPU.
        precision: of every part, or "auto"; None takes what the bundle in use was asked for, the first time "auto".
        clip: what is rehearsed on; None for the clip that ships with the package.
        watch_s: how long the services must run the new model well.
        retry: whether a version is tried again that failed here before.
        threads: of each part while engines are built and tried; 0 builds with all cores, and tries them as their plan
            says.
    """

    source: str = ""
    key: Path | None = None
    target: TargetRecipe | str | None = None
    precision: RequestedPrecision | None = None
    clip: Path | None = None
    watch_s: float = 60.0
    retry: bool = False
    threads: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.watch_s <= 3600:
            raise UsageError(f"--watch-s {self.watch_s:g}: expected seconds above 0, up to 3600")
        for option, file in (("--key", self.key), ("--clip", self.clip)):
            if file is not None and not file.is_file():
                raise UsageError(f"{option} {file}: expected a file, found none there")
        if self.key is not None:
            read_trusted_keys(self.key)
        if isinstance(self.target, str):
            load_recipe("engines", self.target, TargetRecipe)


def update(
    root: Path,
    options: UpdateOptions,
    *,
    on_step: Callable[[str], None] = ignore_step,
    progress: Progress = SILENT,
) -> UpdateResult:
    """Bring the device to what `options` ask for; also finishes an update that was killed before.

    Args:
        root: the folder of the models of the device; `run` is given `root/current` as its bundle.
        options: what is asked for.
        on_step: called with the name of each step as it begins.
        progress: receives the stages and how much of each is done.

    Returns:
        How it went, as `root/update.json` has it too.

    Raises:
        UpdateError: the device runs what it ran before; the message says why.
        UsageError: there is no previous version to go back to.
    """
    folder = UpdateFolder(root)
    if not options.source and not (folder.root / VERSIONS).is_dir():
        raise UsageError(f"{folder.root}: expected a previous version to go back to, found no models: look at --root")
    with folder.held():
        run = _Update(folder, options, on_step, progress)
        run.finish_what_was_killed()
        return run.rolled_back() if not options.source else run.updated()


@dataclass
class _Update:
    """One update under way."""

    folder: UpdateFolder
    options: UpdateOptions
    on_step: Callable[[str], None]
    progress: Progress
    result: UpdateResult = field(default_factory=UpdateResult)
    _began: float = field(default_factory=time.monotonic)

    def updated(self) -> UpdateResult:
        """Fetch, build, check and switch to what `options.source` names."""
        self._begin(self.options.source)
        with self._ending():
            self._step("pull")
            known = fetch(self.folder, self.options.source, self._recipe(), self.options.key, self.progress)
            if known.already_runs(self._recipe(), self.options.key):
                return self._done(f"{self.result.before} runs already")
            self._step("verify")
            candidate = find_version(self.folder, known, self._recipe(), self.options.key)
            is_in_use = candidate.version == self.result.before
            if is_in_use and candidate.is_built:
                return self._done(f"{candidate.version} runs already")
            self._note(candidate=candidate.version)
            self._require_not_refused(candidate.version)
            self._prepare(candidate)
            if not is_in_use:
                self._switch(candidate.version)
        return self._done(f"{candidate.version} {'is whole again' if is_in_use else 'runs'}")

    def rolled_back(self) -> UpdateResult:
        """Switch to the previous version, and do not come back to this one by itself."""
        before, previous = self.folder.version_at(CURRENT), self.folder.version_at(PREVIOUS)
        if not previous or previous == before:
            raise UsageError(f"{self.folder.root}: expected a previous version to go back to, there is none")
        self._begin(f"{_ROLLBACK} from {before}")
        with self._ending():
            self._step("verify")
            check_candidate(self.folder, previous, self.options.key)
            self._note(candidate=previous)
            self._switch(previous)
            self._refuse_rolled_back(before)
        return self._done(f"{previous} runs again")

    def finish_what_was_killed(self) -> None:
        """Watch what an update had switched to when it was killed, or undo the half of a switch."""
        last = read_result(self.folder.root)
        if last is None or last.ok is not None or last.step not in ("switch", "watch"):
            return
        self.result = msgspec.structs.replace(last, source=f"{last.source} (an update that was killed goes on)")
        if self.folder.version_at(CURRENT) != last.candidate:
            self.folder.point(PREVIOUS, last.previous)
            reason = "it was killed before it had switched"
            if last.step == "watch":
                reason = "the services did not run it well"
                self.folder.refuse(last.candidate, f"watch: {reason}")
            self._write(ok=False, reason=reason)
            return
        try:
            with self._ending():
                self._watch(last.candidate, count_services(self.folder))
        except UpdateError:
            return  # it is switched back and told in the file; what is asked for now is another update
        if last.source.startswith(_ROLLBACK):
            self._refuse_rolled_back(last.before)
        self._done(f"{last.candidate} runs")

    def _refuse_rolled_back(self, version: str) -> None:
        self.folder.refuse(version, "it was rolled back by hand")

    def _prepare(self, candidate: Candidate) -> None:
        """Build the engines of a candidate and check them, while nothing else changes."""
        self._step("build")
        built = build_candidate(self.folder, candidate, self.progress)
        self._step("parity")
        bundle = built.checked(self.options.key, self.options.threads)
        self._step("rehearse")
        self.folder.ask_for_reports()  # so that nobody waits for them later
        self.progress.stage("rehearsing")
        rehearse(bundle, self.options.clip, self.options.threads)

    def _switch(self, version: str) -> None:
        """Point `current` to a version; watch, and point it back where the services do not run it well."""
        services = count_services(self.folder)
        self._note(previous=self.folder.version_at(PREVIOUS))
        self._step("switch")
        if self.result.before:
            self.folder.point(PREVIOUS, self.result.before)
        self.folder.point(CURRENT, version)
        self._watch(version, services)

    def _watch(self, version: str, services: int) -> None:
        self._step("watch")
        self.progress.stage("watching the service" if services else "no service runs: nothing is watched")
        verdict = watch_services(self.folder, version, self.options.watch_s, services)
        self.result = msgspec.structs.replace(self.result, watched=verdict.watched)
        if verdict.problem is not None and self.result.before:
            self.on_step("back")
            self.folder.point(CURRENT, self.result.before)
            self.folder.point(PREVIOUS, self.result.previous)
        if verdict.problem is not None:
            raise CheckFailedError(verdict.problem)
        self.folder.refuse(version, None)

    def _require_not_refused(self, version: str) -> None:
        why = self.folder.refusals().get(version)
        if why is not None and not self.options.retry:
            raise UpdateError(f"{version} failed here before: {why}: --retry tries it again")

    def _recipe(self) -> Recipe:
        return Recipe(self.options.target, self.options.precision, self.options.threads)

    def _begin(self, source: str) -> None:
        before = self.folder.version_at(CURRENT)
        self.result = UpdateResult(source=source, before=before, started_at=time.time())

    def _step(self, name: str) -> None:
        now = time.monotonic()
        if self.result.step:
            self.result.seconds[self.result.step] = round(now - self._began, 3)
        self._began = now
        self._note(step=name)
        self.on_step(name)

    def _note(self, **changes: str) -> None:
        self.result = msgspec.structs.replace(self.result, **changes)
        self.folder.write_result(self.result)

    def _done(self, reason: str) -> UpdateResult:
        self._step("done")
        self.folder.prune()
        watched = self.result.watched or "switch" not in self.result.seconds
        self._write(ok=True, reason=reason if watched else f"{reason}; no service runs, so nothing was watched")
        return self.result

    def _write(self, ok: bool, reason: str, after: str | None = None) -> None:
        now_runs = self.folder.version_at(CURRENT) if after is None else after
        self.result = msgspec.structs.replace(self.result, ok=ok, reason=reason, after=now_runs, ended_at=time.time())
        with suppress(OutputError):  # the exit code tells, too
            self.folder.write_result(self.result)
        self.folder.ask_no_more()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Where anything fails, write why the old one goes on, and raise that as an `UpdateError`."""
        try:
            yield
        except (TaemiError, OSError, MemoryError) as error:
            inaccurate = isinstance(error, InaccurateEngineError)  # found while building, as parity would find it
            its_fault = inaccurate or (self._can_refuse() and not isinstance(error, _OF_THE_DEVICE))
            self._fail(str(error) or type(error).__name__, its_fault)
            raise UpdateError(self._sentence(str(error) or type(error).__name__)) from error
        except Exception as error:  # whatever a bundle from outside sets off, the reason must be in the file
            self._fail(f"{type(error).__name__}: {error}", self._can_refuse())
            raise UpdateError(self._sentence(f"{type(error).__name__}: {error}")) from error

    def _can_refuse(self) -> bool:
        """Whether what fails in this step is as a rule the version's own fault."""
        return self.result.step in _OF_THE_VERSION

    def _fail(self, reason: str, is_its_fault: bool) -> None:
        step, version = self.result.step, self.result.candidate
        self.result.seconds[step] = round(time.monotonic() - self._began, 3)
        if step == "switch" and self.folder.version_at(CURRENT) != version:
            with suppress(TaemiError, OSError):
                self.folder.point(PREVIOUS, self.result.previous)
        self.folder.prune()  # first: on a full disk nothing else can be written
        if version and is_its_fault and self.folder.version_at(CURRENT) != version:
            with suppress(OutputError):
                self.folder.refuse(version, f"{step}: {reason}")
        self._write(ok=False, reason=reason)

    def _sentence(self, reason: str) -> str:
        after = self.result.after
        goes_on = f"{after} goes on" if after else "there is no older model"
        return f"{self.result.step}: {reason}: {goes_on}"
