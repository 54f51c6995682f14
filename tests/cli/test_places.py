"""Where commands may write: an address is no path."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli


@pytest.mark.parametrize(
    "words",
    [
        ("export-triton", "bundle", "--output", "s3://bucket/repo"),
        ("export", "taemi-tiny", "--output", "gs://bucket/bundle"),
        ("parity", "bundle", "--json", "file:///tmp/report.json"),
    ],
)
def test_an_address_where_paths_alone_are_written(cli_here: Cli, words: tuple[str, ...], tmp_path: Path) -> None:
    ended = cli_here(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    option, scheme = words[-2], words[-1].partition(":")[0]
    assert ended.stderr.startswith(
        f"taemi-edge: {option}: expected a path of this machine, got an address ({scheme}://): write to a folder"
    )
    assert not list(tmp_path.iterdir())
