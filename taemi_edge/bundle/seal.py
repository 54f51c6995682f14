"""Seals of engine bundles: what a device built itself, it recognises again.

Engines are built on the device that runs them, so no publisher can sign them. Where a bundle's graphs were signed,
the engine bundle keeps that signature and the hashes of the graphs, and the device seals the manifest of the engine
bundle: it keeps a code that needs a secret of its own (HMAC-SHA256). Another device, and whoever writes into the
folder of the bundle, cannot make that code.

Seals lie in the state folder of the user who builds, by the hash of the manifest; so a bundle may be moved or renamed.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.own_folder import code_of, known_secret, own_secret
from taemi_edge.errors import OutputError, SignatureError, UsageError

_VARIABLE = "TAEMI_EDGE_STATE"
#: Of the service (packaging/taemi-edge.service), whose user has no home folder.
_SERVICE_FOLDER = Path("/var/lib/taemi-edge")
_SEALS, _PURPOSE = "seals", "engine bundle"


def state_folder() -> Path:
    """Give the folder of what a device remembers.

    It is $TAEMI_EDGE_STATE where that is set, `/var/lib/taemi-edge/state` for the user to whom `/var/lib/taemi-edge`
    belongs, and `taemi-edge` in the user's state folder otherwise.

    Raises:
        UsageError: none of these can be told, since the user has no home folder.
    """
    if named := os.environ.get(_VARIABLE):
        return Path(named)
    if _SERVICE_FOLDER.is_dir() and _SERVICE_FOLDER.stat().st_uid == os.geteuid() != 0:
        return _SERVICE_FOLDER / "state"
    base = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "state") / "taemi-edge"
    except RuntimeError as error:
        raise UsageError(f"expected a user with a home folder: set {_VARIABLE} to a folder of theirs") from error


def seal_manifest(digest: str) -> None:
    """Seal an engine bundle that was built here, before it takes its place.

    Args:
        digest: the sha256 of its `manifest.json`.

    Raises:
        OutputError: the seal cannot be written.
        UsageError: the state folder is somebody else's, or others can write into it.
    """
    folder = state_folder()
    secret = own_secret(folder, _VARIABLE, shut=False)
    if secret is None:
        raise OutputError(
            f"{folder}: cannot be written, and the engines could not be sealed as built here: "
            f"set {_VARIABLE} to a folder of yours"
        )
    with new_file(folder / _SEALS / digest) as draft:
        draft.write_text(code_of(secret, _PURPOSE, digest), encoding="ascii")


def require_sealed(digest: str) -> None:
    """Refuse an engine bundle that this device did not build.

    Args:
        digest: the sha256 of its `manifest.json`.

    Raises:
        SignatureError: there is no seal for it, or the seal is not by this device's secret.
        UsageError: the state folder is somebody else's, or others can write into it.
    """
    folder = state_folder()
    secret = known_secret(folder, _VARIABLE)
    try:
        code = (folder / _SEALS / digest).read_bytes()[:100]
    except OSError:
        code = b""
    if secret is None or not hmac.compare_digest(code, code_of(secret, _PURPOSE, digest).encode()):
        raise SignatureError(
            "expected engines that this user of this device built from signed graphs, found no seal of theirs in "
            f"{folder / _SEALS}: build them here with `taemi-edge build-engine --require-signature`, "
            "as the user who runs them"
        )
