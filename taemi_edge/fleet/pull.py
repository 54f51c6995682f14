"""Pulling a bundle from a registry into a folder, which appears whole and sound or not at all.

What comes is trusted in nothing: the manifest is held against the digest that was asked for, every file against the
size and the sha256 that the manifest names, and the bundle is opened, with its signature where a key is given, before
it stands at its place. What a broken pull has brought waits in `.pull-NAME` beside it, and the next one goes on there.

The folder and the signature `FOLDER.sig` are two names, and no file system renames two at once. The signature is put in
place first. Who pulls the power between the two finds the old folder with the new signature: it is refused where a
signature is required, and pulling again repairs it. A new folder is never without its signature.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from taemi_edge.bundle.atomic import new_file, new_folder
from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest, replaceable_files
from taemi_edge.bundle.signatures import signature_file
from taemi_edge.errors import BundleError, OutputError, RegistryError, UsageError
from taemi_edge.fleet.artifact import ACCEPTED_TYPES, MOST_MANIFEST_BYTES, Artifact, artifact_from_bytes
from taemi_edge.fleet.reference import Reference, parse_reference
from taemi_edge.fleet.registry import USUAL_ACCESS, Access, RegistryClient, answer_of
from taemi_edge.fleet.transfer import BlobFolder
from taemi_edge.live.update_root import is_update_root
from taemi_edge.progress import SILENT, Progress

#: What begins the name of the folder that keeps what a broken pull has brought.
_KEPT = ".pull-"
_LOCK = "lock"
#: Room that is left on the disk: a full disk stops more than this command.
_SPARE_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class Pulled:
    """What was pulled.

    Attributes:
        bundle: at its place, opened.
        reference: by digest: what was behind the tag.
        fetched_bytes: that came over the network.
        reused_bytes: that were here already.
        signed: whether a signature came along; only a key says whether it holds.
    """

    bundle: Bundle
    reference: Reference
    fetched_bytes: int
    reused_bytes: int
    signed: bool


def pull_bundle(
    reference: str,
    output: Path | str,
    *,
    require_signature: Path | None = None,
    reuse: Sequence[Path] = (),
    access: Access = USUAL_ACCESS,
    progress: Progress = SILENT,
) -> Pulled:
    """Pull a bundle; on any failure and on Ctrl-C what stood at `output` stays.

    Args:
        reference: oci://HOST/NAME[:TAG][@sha256:DIGEST]; the digest counts where both are there.
        output: the folder to write; the signature goes to `OUTPUT.sig`.
        require_signature: a public key; a bundle that it did not sign is refused.
        reuse: folders of bundles whose files are copied instead of fetched where they are the same; what stands at
            `output` is looked at anyway.
        access: how the registry may be reached.
        progress: receives how much is there.

    Raises:
        UsageError: the reference is none.
        RegistryError: the registry cannot be reached, refuses, breaks off, or gives something else than was pushed.
        BundleError: what was pushed is no sound bundle, or is not signed as it must be.
        OutputError: the folder cannot be written.
    """
    source, output = parse_reference(reference), Path(output)
    _refuse_link_of_updates(output)
    place = Path(os.path.realpath(output))
    with (
        _signature_beside(place) as put_signature,
        new_folder(output, replaceable_files(output)) as draft,
        _kept_between_tries(place) as kept,
        RegistryClient(source, access) as registry,
    ):
        progress.stage(f"pulling {source}")
        artifact = _read_artifact(registry)
        _require_room(kept, artifact)
        blobs = BlobFolder(kept, registry, _known_files((output, *reuse)), _Counter(artifact.size, progress).more)
        signature = None if artifact.signature is None else blobs.get(artifact.signature)
        files = {layer.title: blobs.get(layer) for layer in artifact.files}
        progress.stage(f"checking {source}")
        bundle = _checked(kept, files, signature, output, require_signature)
        for name in files:
            os.rename(bundle.folder / name, draft / name)
        put_signature(signature)
    bundle = replace(bundle, folder=output, place=place)
    return Pulled(bundle, source.at(artifact.digest), blobs.fetched, blobs.reused, signature is not None)


def _refuse_link_of_updates(output: Path) -> None:
    """A pull through `ROOT/current` would put graphs in place of the engines that run there."""
    if output.is_symlink() and is_update_root(output.parent):
        raise UsageError(
            f"{output}: expected a folder of its own, got a link that `taemi-edge update` keeps: update with "
            f"`taemi-edge update --from REFERENCE --root {output.parent}`, or name another --output"
        )


def find_digest(reference: str, access: Access = USUAL_ACCESS) -> Reference:
    """Ask a registry what a reference means at this moment: the same place, by digest. Nothing else is fetched.

    Args:
        reference: oci://HOST/NAME[:TAG][@sha256:DIGEST].
        access: how the registry may be reached.

    Raises:
        UsageError: the reference is none.
        RegistryError: the registry cannot be reached, refuses, or gives something else than was pushed.
    """
    source = parse_reference(reference)
    if source.digest:
        return source.at(source.digest)
    with RegistryClient(source, access) as registry:
        return source.at(_read_artifact(registry).digest)


class _Counter:
    """Adds up bytes for a bar."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def more(self, count: int) -> None:
        self._done += count
        self._progress.count(self._done >> 20, self._total >> 20, "MiB")


def _read_artifact(registry: RegistryClient) -> Artifact:
    """Read the manifest, and hold it against the digest that was asked for."""
    source = registry.reference
    url = registry.address(f"manifests/{source.digest or source.tag}")
    response = registry.ask(url, headers={"Accept": ACCEPTED_TYPES})
    if response.status_code != 200:
        raise registry.refusal(response, f"the manifest of {source}")
    artifact = artifact_from_bytes(answer_of(response, MOST_MANIFEST_BYTES), str(source), source.digest)
    said = response.headers.get("Docker-Content-Digest", artifact.digest)
    if said.startswith("sha256:") and said != artifact.digest:
        raise RegistryError(f"{source}: expected the manifest {said:.80}, got {artifact.digest}: look at the registry")
    return artifact


def _require_room(kept: Path, artifact: Artifact) -> None:
    here = sum(file.stat().st_size for file in kept.iterdir())
    free = shutil.disk_usage(kept).free
    wanted = artifact.size - here + _SPARE_BYTES
    if wanted > free:
        raise OutputError(
            f"{kept.parent}: expected room for {wanted / 1e6:.1f} MB, there are {free / 1e6:.1f} MB: free some, or "
            "pull elsewhere"
        )


def _known_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The files of bundles by what their manifests say that their sha256 is; whoever copies one hashes it."""
    known: dict[str, Path] = {}
    for folder in folders:
        with suppress(BundleError):  # no bundle stands there
            known |= {digest: folder / name for name, digest in read_manifest(folder).sha256.items()}
    return known


def _checked(
    kept: Path, files: Mapping[str, Path], signature: Path | None, output: Path, require_signature: Path | None
) -> Bundle:
    """Put the files together under their names, and open them as a bundle where nobody looks yet."""
    folder = kept / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, file in files.items():
        os.link(file, folder / name) if list(files.values()).count(file) == 1 else shutil.copyfile(file, folder / name)
    beside = signature_file(folder)
    beside.unlink(missing_ok=True)
    if signature is not None:
        shutil.copyfile(signature, beside)
    try:
        return open_bundle(folder, require_signature=require_signature)
    except BundleError as error:
        error.args = (str(error).replace(str(folder), str(output)),)  # people know the target, not the draft
        raise


@contextmanager
def _signature_beside(output: Path) -> Iterator[Callable[[Path | None], None]]:
    """Give a function that puts a signature at its place, or none; on an error the old one comes back."""
    place = signature_file(output)
    before = place.read_bytes() if place.is_file() else None
    placed = False

    def put(signature: Path | None) -> None:
        nonlocal placed
        placed = True
        _write_or_remove(place, None if signature is None else signature.read_bytes())

    try:
        yield put
    except BaseException:
        if placed:
            _write_or_remove(place, before)
        raise


def _write_or_remove(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink(missing_ok=True)
        return
    with new_file(file) as draft:
        draft.write_bytes(content)


@contextmanager
def _kept_between_tries(output: Path) -> Iterator[Path]:
    """Give the folder that keeps what a broken pull has brought; it is gone when the pull is done."""
    folder = output.with_name(f"{_KEPT}{output.name}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OutputError(f"{folder}: expected a folder of your own that nobody else writes into: remove it")
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _lock(lock, folder, output)
        try:
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
        except BundleError:
            shutil.rmtree(folder, ignore_errors=True)  # pulling it again would bring the same
            raise
        finally:
            with suppress(OSError):
                if {entry.name for entry in folder.iterdir()} <= {_LOCK}:
                    shutil.rmtree(folder)
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path, output: Path) -> None:
    """Keep two pulls from writing one folder; the system ends a lock with the process that has it."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), (folder / _LOCK).stat()):  # else the other one has just ended
            return
    raise OutputError(f"{output}: another pull is writing it: wait until it is done")
