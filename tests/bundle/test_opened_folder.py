"""Files that are read or mapped through the descriptor of their folder."""

from __future__ import annotations

import os
from hashlib import sha256
from mmap import mmap
from pathlib import Path

import pytest

from taemi_edge.bundle.opened_folder import OpenedFolder
from taemi_edge.errors import BundleError

CONTENT = b"engine" * 1000


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    file = tmp_path / "text.engine"
    file.write_bytes(CONTENT)
    file.chmod(0o644)
    return file


@pytest.mark.parametrize(
    ("mode", "kind"), [(0o644, mmap), (0o600, mmap), (0o440, mmap), (0o664, bytes), (0o646, bytes), (0o666, bytes)]
)
def test_a_file_is_mapped_where_nobody_else_can_write_it(engine: Path, mode: int, kind: type):
    engine.chmod(mode)
    with OpenedFolder(engine.parent) as files:
        content, digest = files.map(engine.name, 10_000)
    assert isinstance(content, kind)
    assert content[:] == CONTENT
    assert (digest.sha256, digest.size) == (sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_read(engine: Path):
    os.chown(engine, 12345, 12345)
    with OpenedFolder(engine.parent) as files:
        assert isinstance(files.map(engine.name, 10_000)[0], bytes)


def test_a_mapping_outlives_the_name_of_its_file(engine: Path):
    with OpenedFolder(engine.parent) as files:
        content, _ = files.map(engine.name, 10_000)
    engine.unlink()
    assert content[:] == CONTENT
    with pytest.raises(TypeError):
        content[0] = 1


def test_an_empty_file_is_read(engine: Path):
    engine.write_bytes(b"")
    with OpenedFolder(engine.parent) as files:
        assert files.map(engine.name, 10)[0] == b""


def test_what_cannot_be_mapped_says_why(engine: Path):
    with OpenedFolder(engine.parent) as files:
        with pytest.raises(BundleError, match="too large: expected at most 10 bytes"):
            files.map(engine.name, 10)
        with pytest.raises(BundleError, match=r"other\.engine is missing"):
            files.map("other.engine", 10)
