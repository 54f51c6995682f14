"""What native code writes to standard error stays away, and comes back afterwards."""

from __future__ import annotations

import os

import pytest

from taemi_edge.media.native_output import quiet_native_code


def test_nothing_that_is_written_inside_is_seen(capfd: pytest.CaptureFixture[str]):
    with quiet_native_code():
        os.write(2, b"inside\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_standard_error_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="stop"), quiet_native_code():
        raise ValueError("stop")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
