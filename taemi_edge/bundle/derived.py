"""Making a bundle from another bundle: what a calibrated bundle and an engine bundle take over from their source.

Calibration and engine builds write new parts. The tokens, the tokenizer and the golden feeds are copied as they are,
and the manifest keeps everything that the new parts do not change.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge import __version__
from taemi_edge.bundle.card_record import CARD_RECORD
from taemi_edge.bundle.folder import GOLDEN, TOKENS, Bundle, tokenizer_names
from taemi_edge.bundle.limits import MOST_CARD_BYTES
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import PartSpec


def copy_shared_files(bundle: Bundle, draft: Path) -> None:
    """Copy the tokens, the tokenizer, the golden feeds and what the model says of itself, as they were when hashed.

    Args:
        bundle: that they are taken over from.
        draft: the folder of the bundle that is being made.
    """
    for name in (TOKENS, GOLDEN, *tokenizer_names(bundle.manifest)):
        (draft / name).write_bytes(bundle.read(name))
    if CARD_RECORD in bundle.manifest.sha256:
        (draft / CARD_RECORD).write_bytes(bundle.read(CARD_RECORD, MOST_CARD_BYTES))


def derive_manifest(
    source: Bundle, parts: Mapping[str, PartSpec], versions: Mapping[str, str], **changes: Any
) -> Manifest:
    """Give the manifest of a bundle that was made from another one.

    Args:
        source: the bundle that it was made from; the provenance names its folder.
        parts: the new spec of each of its parts.
        versions: the version of every library that made it, by name.
        changes: further fields of the manifest, such as `tolerances` and `graphs`.
    """
    provenance = msgspec.structs.replace(
        source.manifest.provenance,
        made_by=f"taemi-edge {__version__}",
        made_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        source=str(source.folder),
        versions=dict(versions),
    )
    derived: Manifest = msgspec.structs.replace(source.manifest, parts=dict(parts), provenance=provenance, **changes)
    return derived
