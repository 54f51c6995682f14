"""`tokens.safetensors` from anybody: float32 of the right shapes and finite, or one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.streams import MissingSpec, PresenceSpec, SeriesSpec
from taemi_edge.bundle.token_file import read_tokens
from taemi_edge.errors import BundleError
from tests.bundle.hostile import put

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
STREAMS = {"imu": SeriesSpec(feature_dim=4, channels=2, presence=PRESENCE, missing=MissingSpec(steps=2))}
FILE = Path("tokens.safetensors")


def stored(
    dtype: str = "F32", shape: list[int] | None = None, content: bytes | None = None, **changes: object
) -> bytes:
    """A file of one tensor, whatever it claims."""
    content = np.ones(8, np.float32).tobytes() if content is None else content
    tensor = {"dtype": dtype, "shape": shape or [2, 4], "data_offsets": [0, len(content)], **changes}
    header = json.dumps({"imu": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + content


def test_tokens_are_read_as_they_are():
    token = read_tokens(stored(), STREAMS, FILE)["imu"]
    assert token.dtype == np.float32
    assert token.tolist() == [[1.0] * 4] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (stored("BF16", content=b"\0" * 16), "expected the token 'imu' in F32, got BF16"),
        (stored("F16", content=b"\0" * 16), "in F32, got F16"),
        (stored("F8_E4M3", content=b"\0" * 8), "in F32, got F8_E4M3"),
        (stored("I64", content=b"\0" * 64), "in F32, got I64"),
        (stored("F64", content=b"\0" * 64), "in F32, got F64"),
        (stored("BOOL", content=b"\0" * 8), "in F32, got BOOL"),
        (stored(content=np.full(8, np.nan, np.float32).tobytes()), "expected finite numbers in the token 'imu'"),
        (stored(content=np.array([np.inf] + [0] * 7, np.float32).tobytes()), "expected finite numbers"),
        (stored(shape=[4, 2]), r"'imu' of shape \(2, 4\), got \(4, 2\)"),
        (stored(shape=[8]), r"'imu' of shape \(2, 4\), got \(8,\)"),
        (stored(shape=[2**40, 2**40]), "expected safetensors"),
        (stored(data_offsets=[0, 2**62]), "expected safetensors"),
        (stored(data_offsets=[32, 0]), "expected safetensors"),
        (stored(shape=["a"]), "expected safetensors"),
        (stored()[:-1], "expected safetensors"),
        (b"", "expected safetensors"),
        (b"\xff" * 8, "expected safetensors with a header of at most 1,048,576 bytes, got 18,446,744,073,709,551,615"),
        ((10_000_000).to_bytes(8, "little") + b"{" * 10_000_000, "a header of at most 1,048,576"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "expected safetensors"),
        ((2).to_bytes(8, "little") + b"{}", r"'imu' of shape \(2, 4\), got None"),
        ((4).to_bytes(8, "little") + b"\xff\xff\xff\xff", "expected safetensors"),
    ],
)
def test_everything_else_is_one_sentence(content: bytes, message: str):
    with pytest.raises(BundleError, match=f"tokens.safetensors: .*{message}.*: export the model again"):
        read_tokens(content, STREAMS, FILE)


@given(st.binary(max_size=300))
def test_any_bytes_are_tokens_or_one_sentence(content: bytes):
    with pytest.raises(BundleError):
        read_tokens(content, STREAMS, FILE)


def test_a_bundle_with_tokens_that_are_no_numbers_does_not_open(tiny_folder: Path, tmp_path: Path):
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))
    content = bytearray((copy / "tokens.safetensors").read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    put(copy, "tokens.safetensors", bytes(content))
    with pytest.raises(BundleError, match="expected finite numbers in the token"):
        open_bundle(copy)
