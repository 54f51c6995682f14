"""A derived bundle keeps what its source has and its maker did not change."""

from __future__ import annotations

from pathlib import Path

import msgspec

from taemi_edge import __version__
from taemi_edge.bundle.card_record import CARD_RECORD
from taemi_edge.bundle.derived import copy_shared_files, derive_manifest
from taemi_edge.bundle.folder import GOLDEN, TOKENIZER, TOKENS, Bundle, sha256_of
from taemi_edge.taemi.names import PARTS


def test_tokens_tokenizer_and_golden_feeds_are_copied_as_they_are(tiny: Bundle, tmp_path: Path):
    copy_shared_files(tiny, tmp_path)
    assert {file.name: sha256_of(file) for file in tmp_path.iterdir()} == {
        name: tiny.manifest.sha256[name] for name in (TOKENS, TOKENIZER, GOLDEN, CARD_RECORD)
    }


def test_a_derived_manifest_has_new_parts_and_says_where_it_comes_from(tiny: Bundle):
    parts = {part: msgspec.structs.replace(tiny.manifest.parts[part], precision="fp16") for part in PARTS}
    derived = derive_manifest(tiny, parts, {"onnx": "1"}, verified=False)
    assert {derived.parts[part].precision for part in PARTS} == {"fp16"}
    assert derived.provenance.source == str(tiny.folder)
    assert derived.provenance.made_by == f"taemi-edge {__version__}"
    assert derived.provenance.versions == {"onnx": "1"}
    assert derived.provenance.weights == tiny.manifest.provenance.weights
    assert derived.verified is False
    assert (derived.streams["audio"], derived.window, derived.tolerances) == (
        tiny.manifest.streams["audio"],
        tiny.manifest.window,
        tiny.manifest.tolerances,
    )
