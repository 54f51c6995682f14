"""Bundles that differ a little, for tests of updates."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from taemi_edge.bundle.folder import open_bundle, write_manifest
from taemi_edge.bundle.token_file import write_tokens


def variant(bundle: Path, folder: Path, trained_on: str, token_scale: float = 1.0) -> Path:
    """Another version of a bundle.

    Args:
        bundle: the one that is changed.
        folder: where the other one is written.
        trained_on: what its manifest says: the outputs stay as they are.
        token_scale: what stands for missing streams is multiplied by it: outputs leave the golden ones.
    """
    shutil.copytree(bundle, folder)
    opened = open_bundle(bundle)
    if token_scale != 1.0:
        write_tokens(folder, {name: token * token_scale for name, token in opened.tokens.items()})
    write_manifest(folder, msgspec.structs.replace(opened.manifest, trained_on=trained_on))
    return folder
