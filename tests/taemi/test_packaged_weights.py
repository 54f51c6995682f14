"""Weights in packages: heads by name, and CTranslate2 files read variable by variable."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.errors import InputError
from taemi_edge.taemi.packaged_weights import ctranslate2_variables, head_file, head_name


def test_a_head_that_ships_is_found_and_named_with_its_hash():
    assert head_file("package:taemi-mobile-synthetic").is_file()
    name, digest = head_name("package:taemi-mobile-synthetic").split()
    assert (name, len(digest)) == ("package:taemi-mobile-synthetic", 12)
    with pytest.raises(InputError, match="expected one of 'package:taemi-mobile-synthetic'"):
        head_file("package:unknown")


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def test_ctranslate2_variables_have_their_shape_and_dtype(tmp_path: Path):
    values = np.arange(6, dtype=np.float32)
    content = struct.pack("<I", 6) + _string("WhisperSpec") + struct.pack("<II", 3, 1)
    content += _string("encoder/weight") + struct.pack("<BIIBI", 2, 2, 3, 0, values.nbytes) + values.tobytes()
    (tmp_path / "model.bin").write_bytes(content)
    (found,) = ctranslate2_variables(tmp_path / "model.bin").items()
    assert found[0] == "encoder/weight"
    np.testing.assert_array_equal(found[1], values.reshape(2, 3))
    (tmp_path / "model.bin").write_bytes(struct.pack("<I", 9))
    with pytest.raises(InputError, match="binary version 4 to 6, got version 9"):
        ctranslate2_variables(tmp_path / "model.bin")
