"""The folder that `taemi-edge update` keeps on a device, as far as a running service and an updater meet in it.

    ROOT/current -> versions/NAME/engines     the bundle that runs; a service follows this link
    ROOT/previous -> versions/NAME/engines    the one before it
    ROOT/update.json                          how the last update went (`UpdateResult`)
    ROOT/watched                              touched by an updater that watches; services report while it is fresh
    ROOT/services/PID-....json                what a service says of itself (`ServiceReport`)

The two may run as different processes, users or containers. They share files alone, and judge by their age whether
anybody is there. Nothing is written each second on a device that nobody updates: flash memory wears out.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

CURRENT, PREVIOUS, VERSIONS = "current", "previous", "versions"
RESULT, WATCHED, SERVICES = "update.json", "watched", "services"
#: How long after its last touch `watched` still asks services to report.
WATCHED_FOR_S = 60.0
#: A service whose report is older than this does not run any more; it writes one each second.
FRESH_S = 5.0


class ServiceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a running service says of itself. Fields that another version of this package writes are ignored.

    Attributes:
        pid: of the process.
        link: the link to its bundle.
        target: where that link pointed when the bundle that runs was opened, as the link says it.
        model_id: the first twelve digits of the hash of that bundle's manifest.
        made: predictions with this model.
        healthy: those of them that came in time and rest on numbers.
        opening: the target that is being opened and run beside this one; "" for none.
        refused: the target that could not be taken up; "" for none.
        reason: why not.
        hop_s: the time between two predictions of a source.
        restarting: whether the service ends now, so that its service manager starts it with the new target.
    """

    pid: int
    link: str
    target: str
    model_id: str
    made: int = 0
    healthy: int = 0
    opening: str = ""
    refused: str = ""
    reason: str = ""
    hop_s: float = 1.0
    restarting: bool = False


class UpdateResult(msgspec.Struct, frozen=True, kw_only=True):
    """How an update went, or how far it has come.

    Attributes:
        ok: None while it is under way; whether the device runs what was asked for.
        step: the last step that was begun.
        reason: in one sentence, why the old model goes on, or what was done.
        source: where the model came from.
        before: the version that ran before; "" for none.
        candidate: the version that was to run.
        after: the version that `current` leads to at the end.
        previous: where `previous` led before.
        started_at, ended_at: in seconds since 1970; `ended_at` is 0 while it is under way.
        seconds: how long each step took.
        watched: how many services were watched.
    """

    ok: bool | None = None
    step: str = ""
    reason: str = ""
    source: str = ""
    before: str = ""
    candidate: str = ""
    after: str = ""
    previous: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    seconds: dict[str, float] = msgspec.field(default_factory=dict)
    watched: int = 0


def is_update_root(folder: Path) -> bool:
    """Whether a folder is one that `taemi-edge update` keeps."""
    return (folder / VERSIONS).is_dir()


def is_watched(root: Path) -> bool:
    """Whether an updater waits for reports at this moment."""
    return _age_s(root / WATCHED) < WATCHED_FOR_S


def read_result(root: Path) -> UpdateResult | None:
    """How the last update went; None where there was none, or its record cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        return msgspec.json.decode((root / RESULT).read_bytes(), type=UpdateResult)
    return None


def write_report(file: Path, report: ServiceReport) -> None:
    """Write a report whole; it is not synced, since it is of no use after a power cut.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(report))
    os.replace(draft, file)


def fresh_reports(root: Path) -> dict[str, ServiceReport]:
    """What the services that run now say, by the name of their files; older files are removed."""
    reports: dict[str, ServiceReport] = {}
    for file in sorted((root / SERVICES).glob("*.json")):
        age_s = _age_s(file)
        with suppress(OSError, ValueError, RecursionError):
            if age_s < FRESH_S:
                reports[file.name] = msgspec.json.decode(file.read_bytes(), type=ServiceReport)
            elif age_s > WATCHED_FOR_S:
                file.unlink(missing_ok=True)
    return reports


def _age_s(file: Path) -> float:
    """How far a file's time is from now, infinite where there is none: a clock that was set back makes it old, too."""
    try:
        return abs(time.time() - file.stat().st_mtime)
    except OSError:
        return math.inf
