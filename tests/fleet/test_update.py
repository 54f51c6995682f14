"""Updates of a device without a running service: what they leave, and what they remember."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.atomic import replace_link
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.errors import (
    BackendError,
    CheckFailedError,
    InaccurateEngineError,
    KeyFileError,
    MediaError,
    OutputError,
    RecipeError,
    SignatureError,
    UpdateError,
    UsageError,
)
from taemi_edge.fleet import update as update_module
from taemi_edge.fleet.update import UpdateOptions, update
from taemi_edge.fleet.versions import UpdateFolder
from taemi_edge.live.update_root import UpdateResult, read_result
from tests.fleet.updating import variant

#: The services are asked for three seconds whether there are any; nobody answers here.
FAST = {"target": "cpu", "precision": "fp32", "threads": 0}


@pytest.fixture(autouse=True)
def _nobody_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("taemi_edge.fleet.watching._FIRST_REPORTS_S", 0.0)
    return None


@pytest.fixture
def unrehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal has tests of its own, and takes seconds."""
    monkeypatch.setattr(update_module, "rehearse", lambda *_: 1.0)


def versions(root: Path) -> set[str]:
    return {folder.name for folder in (root / "versions").iterdir()}


def test_a_device_gets_its_first_model_and_then_two_versions_are_kept(tiny_folder, tmp_path, unrehearsed):
    root, seen = tmp_path / "root", []
    for name in ("a", "b", "c"):
        source = variant(tiny_folder, tmp_path / name, name)
        steps: list[str] = []
        result = update(root, UpdateOptions(source=str(source), **FAST), on_step=steps.append)
        assert steps == ["pull", "verify", "build", "parity", "rehearse", "switch", "watch", "done"]
        assert result.ok
        assert "nothing was watched" in result.reason
        seen.append(result.after)
        current = open_bundle(root / "current")
        assert current.manifest.trained_on == name
        assert current.manifest.verified
    assert versions(root) == set(seen[1:])
    assert os.readlink(root / "current") == f"versions/{seen[2]}/engines"
    assert os.readlink(root / "previous") == f"versions/{seen[1]}/engines"
    assert "taemi_edge_update_ok 1" in (root / "update.prom").read_text()
    again = update(root, UpdateOptions(source=str(tmp_path / "c")))
    assert (again.ok, again.reason) == (True, f"{seen[2]} runs already")
    assert "switch" not in again.seconds
    with (root / "current" / "fusion.onnx").open("ab") as part:  # as a disk that dies does
        part.write(b"x")
    mended = update(root, UpdateOptions(source=str(tmp_path / "c")))
    assert mended.reason == f"{seen[2]} is whole again"
    assert open_bundle(root / "current").manifest.verified
    assert os.readlink(root / "previous") == f"versions/{seen[1]}/engines"


def test_a_rollback_is_kept_until_somebody_asks_for_the_newer_one(tiny_folder, tmp_path, unrehearsed):
    root = tmp_path / "root"
    with pytest.raises(UsageError, match="expected a previous version to go back to"):
        update(root, UpdateOptions())
    first, second = (
        update(root, UpdateOptions(source=str(variant(tiny_folder, tmp_path / name, name)), **FAST)).after
        for name in ("a", "b")
    )
    back = update(root, UpdateOptions())
    assert (back.before, back.after, back.ok) == (second, first, True)
    with pytest.raises(UpdateError, match=f"{second} failed here before: it was rolled back by hand"):
        update(root, UpdateOptions(source=str(tmp_path / "b")))
    assert os.readlink(root / "current").split("/")[1] == first
    assert update(root, UpdateOptions(source=str(tmp_path / "b"), retry=True)).after == second


def test_a_model_that_leaves_its_tolerance_here_is_refused_and_remembered(tiny_folder, tmp_path, unrehearsed):
    root = tmp_path / "root"
    good = update(root, UpdateOptions(source=str(tiny_folder), **FAST)).after
    bad = variant(tiny_folder, tmp_path / "bad", "", token_scale=3.0)
    with pytest.raises(UpdateError, match=f"parity: .* left its tolerance on this device: {good} goes on") as error:
        update(root, UpdateOptions(source=str(bad)))
    assert error.value.exit_code == 1
    result = read_result(root)
    assert (result.ok, result.step, result.after) == (False, "parity", good)
    assert versions(root) == {good}
    metrics = (root / "update.prom").read_text()
    assert "taemi_edge_update_ok 0" in metrics
    assert 'step="parity"' in metrics
    with pytest.raises(UpdateError, match="failed here before: parity"):
        update(root, UpdateOptions(source=str(bad)))


def test_what_fails_before_the_switch_leaves_the_old_one(tiny_folder, tmp_path, unrehearsed):
    root = tmp_path / "root"
    good = update(root, UpdateOptions(source=str(tiny_folder), **FAST)).after
    changed = variant(tiny_folder, tmp_path / "changed", "b")
    with (changed / "text.onnx").open("ab") as part:
        part.write(b"x")
    for source, why in ((changed, "text.onnx"), (tmp_path / "none", "found nothing")):
        with pytest.raises(UpdateError, match=f"pull: .*{why}.*{good} goes on"):
            update(root, UpdateOptions(source=str(source)))

    assert open_bundle(root / "current").manifest.verified
    assert versions(root) == {good}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one version."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = (shutil.which(name) or name for name in ("mount", "umount"))
    command = [mount, "-t", "tmpfs", "-o", "size=3800k", "none", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run([umount, str(disk)], check=True)


def test_a_full_disk_leaves_the_old_one_and_its_room(tiny_folder, small_disk, tmp_path, unrehearsed):
    root = small_disk / "root"
    good = update(root, UpdateOptions(source=str(tiny_folder), **FAST)).after
    free = shutil.disk_usage(small_disk).free
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * max(0, free - 600_000))
    with pytest.raises(UpdateError, match=f"no space left on the device.*{good} goes on") as error:
        update(root, UpdateOptions(source=str(variant(tiny_folder, tmp_path / "b", "b"))))
    assert error.value.exit_code == 1
    assert open_bundle(root / "current").manifest.verified
    assert versions(root) == {good}
    filler.unlink()
    assert shutil.disk_usage(small_disk).free > free - 100_000
    assert read_result(root).ok is False


def test_two_updates_do_not_run_at_once(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UpdateError, match="another update is at work"):
            update(root, UpdateOptions(source="anywhere"))


def test_an_update_that_was_killed_while_it_watched_is_watched_to_its_end(tiny_folder, tmp_path, unrehearsed):
    root = tmp_path / "root"
    version = update(root, UpdateOptions(source=str(tiny_folder), **FAST)).after
    killed = UpdateResult(step="watch", source="a", candidate=version)
    (root / "update.json").write_bytes(msgspec.json.encode(killed))
    update(root, UpdateOptions(source=str(tiny_folder)))
    assert read_result(root).reason == f"{version} runs already"
    assert (root / "current" / "manifest.json").is_file()


def test_a_target_that_does_not_exist_is_wrong_use_before_anything_is_touched(tmp_path):
    for target in ("jetson-x", "", str(tmp_path / "none.toml")):
        with pytest.raises(RecipeError, match="known recipes|did you mean|expected"):
            UpdateOptions(source="anywhere", target=target)


def test_a_key_that_is_none_is_wrong_use_before_anything_is_touched(tmp_path):
    file = tmp_path / "K.pub"
    file.write_text("no key")
    with pytest.raises(KeyFileError, match="K.pub: expected public keys"):
        UpdateOptions(source="anywhere", key=file)


def test_a_rollback_where_nothing_was_installed_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError, match="found no models: look at --root"):
        update(tmp_path / "typo", UpdateOptions())
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (CheckFailedError("no number"), True),
        (BackendError("its engine fails"), True),
        (RuntimeError("whatever"), True),
        (MediaError("no clip"), False),
        (OSError(28, "No space left on device"), False),
        (OutputError("no space left"), False),
        (MemoryError(), False),
    ],
)
def test_a_version_is_refused_for_its_own_faults_alone(tiny_folder, tmp_path, monkeypatch, error, is_refused):
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(update_module, "rehearse", fail)
    root = tmp_path / "root"
    with pytest.raises(UpdateError, match="rehearse: "):
        update(root, UpdateOptions(source=str(tiny_folder), **FAST))
    assert bool(UpdateFolder(root).refusals()) == is_refused


def test_a_version_that_ran_badly_is_refused_although_the_update_was_killed_as_it_switched_back(
    tiny_folder, tmp_path, unrehearsed
):
    root = tmp_path / "root"
    before = update(root, UpdateOptions(source=str(tiny_folder), **FAST)).after
    newer = variant(tiny_folder, tmp_path / "newer", "b")
    bad = update(root, UpdateOptions(source=str(newer), **FAST)).after
    replace_link(root / "current", f"versions/{before}/engines")  # and not yet `previous`
    killed = UpdateResult(step="watch", source="a", before=before, candidate=bad)
    (root / "update.json").write_bytes(msgspec.json.encode(killed))
    with pytest.raises(UpdateError, match="failed here before: watch: the services did not run it well"):
        update(root, UpdateOptions(source=str(newer)))
    assert not (root / "previous").exists()


def test_times_of_an_update_that_was_killed_are_those_of_the_next_one(tiny_folder, tmp_path, unrehearsed, monkeypatch):
    root = tmp_path / "root"
    version = update(root, UpdateOptions(source=str(tiny_folder), **FAST)).after
    killed = UpdateResult(step="watch", source="a", candidate=version)
    (root / "update.json").write_bytes(msgspec.json.encode(killed))
    seen: list[UpdateResult] = []
    monkeypatch.setattr(UpdateFolder, "write_result", lambda _, result: seen.append(result))
    update(root, UpdateOptions(source=str(tiny_folder)))
    assert max(max(result.seconds.values(), default=0.0) for result in seen) < 600


def test_the_previous_version_is_kept_where_the_switch_fails_half_way(tiny_folder, tmp_path, unrehearsed, monkeypatch):
    root = tmp_path / "root"
    first, second = (
        update(root, UpdateOptions(source=str(variant(tiny_folder, tmp_path / name, name)), **FAST)).after
        for name in ("a", "b")
    )
    newest = variant(tiny_folder, tmp_path / "c", "c")
    point = UpdateFolder.point

    def failing(folder: UpdateFolder, link: str, version: str) -> None:
        if link == "current":
            raise OutputError("current: no space left on the device")
        point(folder, link, version)

    monkeypatch.setattr(UpdateFolder, "point", failing)
    with pytest.raises(UpdateError, match=f"switch: .*{second} goes on"):
        update(root, UpdateOptions(source=str(newest), **FAST))
    assert os.readlink(root / "previous") == f"versions/{first}/engines"
    assert versions(root) == {first, second}


def test_a_version_that_is_accurate_in_no_precision_is_refused(tiny_folder, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise InaccurateEngineError("fusion: no precision is inside its tolerance: max_abs")

    monkeypatch.setattr(update_module, "build_candidate", fail)
    root = tmp_path / "root"
    with pytest.raises(UpdateError, match="build: fusion: no precision"):
        update(root, UpdateOptions(source=str(tiny_folder), **FAST))
    assert UpdateFolder(root).refusals()


@pytest.mark.parametrize("watch_s", [0.0, -1.0, float("nan"), 1e9])
def test_a_time_that_cannot_be_watched_is_refused(watch_s):
    with pytest.raises(UsageError, match="--watch-s"):
        UpdateOptions(watch_s=watch_s)


def test_only_what_the_key_signed_is_taken(tiny_folder, tmp_path, monkeypatch, unrehearsed):
    pytest.importorskip("cryptography", reason="needs the extra `fleet`")
    from taemi_edge.fleet.signing import make_key, sign_bundle

    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "state"))
    ours, theirs = (make_key(tmp_path / name)[0] for name in ("ours", "theirs"))
    root, bundle = tmp_path / "root", variant(tiny_folder, tmp_path / "a", "a")
    sign_bundle(bundle, tmp_path / "ours")
    good = update(root, UpdateOptions(source=str(bundle), key=ours, **FAST)).after
    assert open_bundle(root / "current", require_signature=ours).manifest.trained_on == "a"
    with pytest.raises(SignatureError):
        open_bundle(root / "current", require_signature=theirs)
    unsigned, foreign = (variant(tiny_folder, tmp_path / name, name) for name in ("b", "c"))
    sign_bundle(foreign, tmp_path / "theirs")
    for source in (unsigned, foreign):
        with pytest.raises(UpdateError, match=f"pull: .*{good} goes on"):
            update(root, UpdateOptions(source=str(source), key=ours))
    assert versions(root) == {good}


def test_from_a_registry_what_runs_is_not_fetched_again(registry, tiny_folder, tmp_path, unrehearsed):
    pytest.importorskip("oras", reason="needs the extra `fleet`")
    from taemi_edge.fleet.pull import find_digest
    from taemi_edge.fleet.push import push_bundle

    root, reference = tmp_path / "root", f"oci://{registry.host}/tiny:1"
    push_bundle(tiny_folder, reference)
    first = update(root, UpdateOptions(source=reference, **FAST))
    again = update(root, UpdateOptions(source=reference))
    assert again.reason == f"{first.after} runs already"
    assert "verify" not in again.seconds
    push_bundle(variant(tiny_folder, tmp_path / "b", "b"), reference)
    by_digest = str(find_digest(reference))
    newer = update(root, UpdateOptions(source=by_digest))
    assert newer.after != first.after
    registry.blob(by_digest.rpartition("@")[2]).write_bytes(b"{}")
    with pytest.raises(UpdateError, match=f"pull: .*{newer.after} goes on"):
        update(root, UpdateOptions(source=by_digest, retry=True, precision="auto"))
