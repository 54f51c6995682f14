"""The folder in which a device keeps its models: two versions, and the link to the one that runs.

    ROOT/versions/NAME/graphs, graphs.sig    what was pulled
    ROOT/versions/NAME/engines               what was built of it here
    ROOT/versions/NAME/version.json          where it came from
    ROOT/current, ROOT/previous              links to `versions/NAME/engines`
    ROOT/incoming, incoming.sig              what is being pulled
    ROOT/cache                               built engines (`taemi_edge.engines.cache`)
    ROOT/refused.json                        versions that failed here, each with the reason
    ROOT/lock                                held by the update that is at work

`taemi_edge.live.update_root` has the files that a running service reads and writes. Each step leaves the folder such
that a service that is started finds a whole bundle behind `current`, and the next update goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from taemi_edge.bundle.atomic import replace_link
from taemi_edge.bundle.drafts import sweep
from taemi_edge.bundle.json_files import write_json
from taemi_edge.engines.cache import EngineCache, bytes_in
from taemi_edge.errors import OutputError, UpdateError
from taemi_edge.live.update_root import CURRENT, PREVIOUS, RESULT, VERSIONS, WATCHED, UpdateResult, is_watched

GRAPHS, ENGINES, INCOMING, CACHE = "graphs", "engines", "incoming", "cache"
#: The cache may take so much, or twice as much as the versions that are kept.
_LEAST_CACHE_BYTES = 1 << 30
_LOCK, _REFUSED, _VERSION, _METRICS = "lock", "refused.json", "version.json", "update.prom"


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version came from.

    Attributes:
        source: the address or the folder, as it was given.
        digest: of the source in its registry; "" for a folder.
        build_key: what its engines were built of, and by what.
    """

    source: str = ""
    digest: str = ""
    build_key: str = ""


class UpdateFolder:
    """The folder of the models of one device.

    Args:
        root: where it lies; it is made where it is missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.incoming, self.cache = self.root / INCOMING, self.root / CACHE

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock, and remove what killed updates left of their drafts.

        Raises:
            UpdateError: another update is at work.
            OutputError: the folder cannot be written.
        """
        try:
            (self.root / VERSIONS).mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise OutputError(f"{self.root}: cannot be written: {error.strerror}: name another --root") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UpdateError(f"{self.root}: another update is at work: wait until it is done") from None
            for folder in (self.root, self.root / VERSIONS, *(self.root / VERSIONS).iterdir()):
                sweep(folder)
            yield
        finally:
            os.close(lock)

    def version_at(self, link: str) -> str:
        """The version that a link leads to; "" where there is none."""
        with suppress(OSError, IndexError):
            return Path(os.readlink(self.root / link)).parts[-2]
        return ""

    def folder(self, version: str) -> Path:
        """The folder of a version."""
        return self.root / VERSIONS / version

    def target(self, version: str) -> str:
        """What a link to a version holds."""
        return f"{VERSIONS}/{version}/{ENGINES}"

    def point(self, link: str, version: str) -> None:
        """Point a link to a version; "" removes it.

        Raises:
            OutputError: it cannot be written.
        """
        if version:
            replace_link(self.root / link, self.target(version))
        else:
            (self.root / link).unlink(missing_ok=True)

    def place_incoming(self, version: str, origin: Version) -> Path:
        """Move what was pulled to its version; the bundle comes last, so that none is without what belongs to it."""
        folder = self.folder(version)
        folder.mkdir(exist_ok=True)
        graphs = folder / GRAPHS
        shutil.rmtree(graphs, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.replace(_signature(self.incoming), _signature(graphs))
        write_json(folder / _VERSION, origin)
        os.replace(self.incoming, graphs)
        return graphs

    def origin(self, version: str) -> Version:
        """Where a version came from, as far as that is known."""
        with suppress(OSError, ValueError, RecursionError):
            return msgspec.json.decode((self.folder(version) / _VERSION).read_bytes(), type=Version)
        return Version()

    def graphs(self) -> list[Path]:
        """The graphs of all versions that are here."""
        return sorted((self.root / VERSIONS).glob(f"*/{GRAPHS}"))

    def prune(self) -> None:
        """Remove all versions but the current and the previous one, what was being pulled, and what the cache has of
        models long gone.
        """
        kept = {self.version_at(CURRENT), self.version_at(PREVIOUS)}
        for folder in (self.root / VERSIONS).iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
        self.drop_incoming()
        with suppress(OSError):
            EngineCache(self.cache).trim(max(_LEAST_CACHE_BYTES, 2 * bytes_in(self.root / VERSIONS)))

    def drop_incoming(self) -> None:
        """Remove what was pulled and has no version."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        _signature(self.incoming).unlink(missing_ok=True)

    def refusals(self) -> dict[str, str]:
        """Versions that failed here, each with the reason."""
        with suppress(OSError, ValueError, RecursionError):
            return msgspec.json.decode((self.root / _REFUSED).read_bytes(), type=dict[str, str])
        return {}

    def refuse(self, version: str, reason: str | None) -> None:
        """Remember that a version failed here, or forget it (None): the last fifty are kept."""
        refusals = {name: why for name, why in self.refusals().items() if name != version}
        if reason is not None:
            refusals[version] = reason
        write_json(self.root / _REFUSED, dict(list(refusals.items())[-50:]))

    def write_result(self, result: UpdateResult) -> None:
        """Write how the update went or how far it has come, for programs and for Prometheus' node exporter."""
        write_json(self.root / RESULT, result)
        if result.ok is not None:
            with suppress(OSError):
                draft = self.root / f"{_METRICS}.draft"
                draft.write_text(_metrics(result), encoding="utf-8")
                os.replace(draft, self.root / _METRICS)

    def ask_for_reports(self) -> None:
        """Ask the services that follow this folder to report, for a minute from now on."""
        (self.root / WATCHED).touch()

    def asked_for_reports_s(self) -> float:
        """For how long services have been asked to report; 0 where they are not."""
        return time.time() - (self.root / WATCHED).stat().st_ctime if is_watched(self.root) else 0.0

    def ask_no_more(self) -> None:
        """Let services be silent."""
        with suppress(OSError):
            (self.root / WATCHED).unlink(missing_ok=True)


def _signature(folder: Path) -> Path:
    return Path(f"{folder}.sig")


def _metrics(result: UpdateResult) -> str:
    """The result in the text format of Prometheus."""
    quoted = result.reason.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")[:200]
    labels = f'step="{result.step}",version="{result.after}",reason="{"" if result.ok else quoted}"'
    return (
        "# HELP taemi_edge_update_ok 1 where the last update holds, 0 where the old model goes on.\n"
        "# TYPE taemi_edge_update_ok gauge\n"
        f"taemi_edge_update_ok {int(bool(result.ok))}\n"
        "# HELP taemi_edge_update_time_seconds When the last update ended, since 1970.\n"
        "# TYPE taemi_edge_update_time_seconds gauge\n"
        f"taemi_edge_update_time_seconds {result.ended_at or time.time():.3f}\n"
        "# HELP taemi_edge_update_info The last step of the last update.\n"
        "# TYPE taemi_edge_update_info gauge\n"
        f"taemi_edge_update_info{{{labels}}} 1\n"
    )
