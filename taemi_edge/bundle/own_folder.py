"""Folders that belong to one user alone, with a secret in them, and codes that only who holds the secret can make.

The engine cache and the seals of engine bundles use it: whoever can write elsewhere on the machine, but not read the
secret, cannot plant an entry.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from taemi_edge.bundle.drafts import hold_draft
from taemi_edge.errors import UsageError

_SECRET, _SECRET_BYTES = "secret", 32


def own_secret(folder: Path, named_by: str, *, shut: bool = True) -> bytes | None:
    """Give the secret of a folder; the first use makes both.

    Args:
        folder: is made with the rights 0700.
        named_by: the environment variable that names another folder, for the message.
        shut: whether a folder that others may read is brought back to 0700.

    Returns:
        The secret; None where the folder cannot be made or read.

    Raises:
        UsageError: the folder belongs to somebody else, or others can write into it.
    """
    file = folder / _SECRET
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_unwritable(folder, named_by, (os.geteuid(),))
        if shut and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        if not file.exists():
            _write_secret(file)
        secret = file.read_bytes()
    except OSError:
        return None
    return secret if len(secret) == _SECRET_BYTES else None


def known_secret(folder: Path, named_by: str) -> bytes | None:
    """Give the secret of a folder for a check, and make nothing; the folder may also be root's.

    Returns:
        The secret; None where there is none, or it cannot be read.

    Raises:
        UsageError: the folder is somebody else's, or others can write into it.
    """
    try:
        require_unwritable(folder, named_by, (os.geteuid(), 0))
        secret = (folder / _SECRET).read_bytes()
    except OSError:
        return None
    return secret if len(secret) == _SECRET_BYTES else None


def require_unwritable(folder: Path, named_by: str, owners: Collection[int]) -> None:
    """Refuse a folder in which others than its owner can put something.

    Args:
        owners: the users that it may belong to.

    Raises:
        UsageError: it belongs to somebody else, or others can write into it.
        OSError: there is none.
    """
    found = folder.stat()
    elsewhere = f"set {named_by} to another folder"
    if found.st_uid not in owners:
        raise UsageError(f"{folder}: expected a folder of your own, it belongs to user {found.st_uid}: {elsewhere}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{folder}: expected a folder that its owner alone can write: `chmod 700 {folder}`, or {elsewhere}"
        )


def code_of(secret: bytes, *bound: str) -> str:
    """What only who holds the secret can make for these values (HMAC-SHA256).

    >>> code_of(b"a secret", "key", "digest") == code_of(b"another", "key", "digest")
    False
    """
    return hmac.new(secret, "\0".join(bound).encode(), sha256).hexdigest()


def _write_secret(file: Path) -> None:
    """Make the secret; where another process makes one at the same time, the first one stays."""
    with hold_draft(file, mode=0o700) as draft:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(_SECRET_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(draft, file)
