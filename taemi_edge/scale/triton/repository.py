"""Writes a bundle as a model repository, the folder that Triton loads models from.

    repo/NAME/config.pbtxt     what the model takes and gives
    repo/NAME/1/model.py       what Triton runs; the same for every model
    repo/NAME/1/bundle/        the bundle, every file hashed again
    repo/NAME/1/bundle.sig     its signature, where it has one

The folder NAME appears whole or not at all. Other models of the repository are left alone.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from taemi_edge.bundle.atomic import new_folder
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.signatures import require_signed_files, signature_file
from taemi_edge.bundle.trusted_keys import read_small_file
from taemi_edge.errors import OutputError
from taemi_edge.runtime.sessions import require_verified
from taemi_edge.scale.triton.config import ServingOptions, config_text, require_model_name

CONFIG, VERSION, CODE, BUNDLE = "config.pbtxt", "1", "model.py", "bundle"
_SIGNATURE = f"{BUNDLE}.sig"


@dataclass(frozen=True)
class WrittenModel:
    """What was written.

    Attributes:
        folder: of the model, in the repository.
        name: of the model.
        signed: whether a signature went along.
        bundle: that was exported.
    """

    folder: Path
    name: str
    signed: bool
    bundle: Bundle


def export_repository(
    bundle: Path | str,
    output: Path,
    *,
    name: str | None = None,
    options: ServingOptions | None = None,
    require_signature: Path | None = None,
) -> WrittenModel:
    """Write a bundle into a model repository.

    Args:
        bundle: the folder.
        output: the repository; it is made where it is missing.
        name: of the model in Triton; that of the bundle by default.
        options: how it is served.
        require_signature: a public key; what it did not sign is not exported.

    Raises:
        OptionError: a name, a window or a hop that cannot be.
        BundleError, SignatureError: no sound bundle, or not signed as it has to be.
        EngineError: engines that are not verified.
        UsageError: names of streams or outputs that Triton's inputs and outputs would share.
        OutputError: the repository holds something else than models, or cannot be written.
    """
    opened = open_bundle(bundle, require_signature=require_signature)
    require_verified(opened)
    name = opened.manifest.name if name is None else name
    require_model_name(name)
    config = config_text(opened, name, options or ServingOptions())
    signature = _signature_of(opened)
    existed = os.path.lexists(output)
    _require_repository(output)
    _require_ours(output / name)
    try:
        with new_folder(output / name, (CONFIG, VERSION)) as draft:
            (draft / CONFIG).write_text(config, encoding="utf-8")
            _write_version(draft / VERSION, opened, signature)
    except BaseException:
        if not existed:
            with suppress(OSError):
                output.rmdir()
        raise
    return WrittenModel(output / name, name, signature is not None, opened)


def _write_version(folder: Path, bundle: Bundle, signature: bytes | None) -> None:
    """Write what Triton runs, the bundle, and its signature; the copy is opened, which hashes every file of it."""
    copy = folder / BUNDLE
    copy.mkdir(parents=True)
    for file in bundle.digests:
        shutil.copyfile((bundle.place or bundle.folder) / file, copy / file)
    if open_bundle(copy).digests != bundle.digests:
        raise OutputError(f"{bundle.folder}: expected a bundle that nobody writes to, it changed on the way: try again")
    if signature is not None:
        (folder / _SIGNATURE).write_bytes(signature)
    (folder / CODE).write_bytes(files("taemi_edge.scale.triton").joinpath(CODE).read_bytes())


def _signature_of(bundle: Bundle) -> bytes | None:
    """The signature beside a bundle, where there is one of these files."""
    beside = signature_file(bundle.folder)
    if not beside.is_file():
        return None
    content = read_small_file(beside, "a signature")
    require_signed_files(content, bundle.digests, str(beside))
    return content


def _require_repository(output: Path) -> None:
    """Refuse a folder that holds something else than models: Triton would take every folder in it for one."""
    if not output.is_dir():
        return
    for entry in sorted(output.iterdir()):
        if not entry.name.startswith(".") and not _is_model(entry):
            raise OutputError(
                f"{output}: expected a model repository or a new folder, found {entry.name!r:.80}, which is no model "
                f"of Triton: name another folder"
            )


def _is_model(folder: Path) -> bool:
    """Whether Triton may take a folder for a model: it has a configuration, or a version, whose name is a number."""
    if not folder.is_dir():
        return False
    return (folder / CONFIG).is_file() or any(entry.name.isdecimal() for entry in folder.iterdir())


def _require_ours(folder: Path) -> None:
    """Refuse to replace a model of the same name that this command has not written."""
    version = folder / VERSION
    if not version.is_dir():
        return
    foreign = sorted({entry.name for entry in version.iterdir()} - {CODE, BUNDLE, _SIGNATURE, "__pycache__"})
    if foreign or not (version / BUNDLE).is_dir():
        found = foreign[0] if foreign else f"no {BUNDLE}"
        raise OutputError(
            f"{folder} is a model that taemi-edge has not written ({VERSION}/ holds {found!r:.80}), and is not "
            f"replaced: choose another --name, or another --output"
        )
