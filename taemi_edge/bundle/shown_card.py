"""The model card of a bundle that was opened, as `taemi-edge inspect --card` shows it."""

from __future__ import annotations

from taemi_edge.bundle.card import card_from_manifest
from taemi_edge.bundle.card_record import CARD_RECORD, MODEL_CARD, NOTHING_SAID, ModelCard, card_record_of
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.limits import MOST_CARD_BYTES
from taemi_edge.bundle.markdown import clean


def card_of_bundle(bundle: Bundle) -> str:
    """The card of a bundle that was opened: the one in its folder, else one that is made of its manifest.

    What acts on a terminal is left out of it: whoever made the bundle may have written the file.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.

    Raises:
        BundleError: the card is not the one that the manifest was written for, is too large, or is not text.
    """
    manifest = bundle.manifest
    if MODEL_CARD in manifest.sha256:
        return clean(bundle.read(MODEL_CARD, MOST_CARD_BYTES).decode("utf-8", errors="replace"))
    return card_from_manifest(manifest, said_of(bundle))


def said_of(bundle: Bundle) -> ModelCard:
    """What the author of a bundle's model said of it.

    Raises:
        BundleError: the bundle's `card.json` cannot be read.
    """
    if CARD_RECORD not in bundle.manifest.sha256:
        return NOTHING_SAID
    return card_record_of(bundle.read(CARD_RECORD, MOST_CARD_BYTES), str(bundle.folder / CARD_RECORD))
