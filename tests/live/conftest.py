"""What live tests share: a clip that lasts, and a server that may be missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.servers import Timed, long_clip, rtsp_server_is_there, transport_stream


@pytest.fixture(scope="session")
def lasting_clip(real_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person speaking for five minutes."""
    return long_clip(real_clip, tmp_path_factory.mktemp("clips") / "lasting.mkv", 300)


@pytest.fixture(scope="session")
def stream(real_clip: Path) -> Timed:
    """Half a minute of a person speaking, as MPEG-TS in pieces that keep time."""
    return transport_stream(real_clip, 30)


@pytest.fixture(scope="session")
def needs_rtsp_server() -> None:
    if not rtsp_server_is_there():
        pytest.skip("Debian's gst-rtsp-server is not installed: tools/install_test_servers.sh")
