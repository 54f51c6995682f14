"""What the service manager is sent."""

from __future__ import annotations

import os
import signal
import socket

from tests.live.running import LiveRun


def test_the_service_manager_is_told(tiny_folder, demo_video, tmp_path):
    address = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(20)
        environment = os.environ | {"NOTIFY_SOCKET": str(address)}
        with LiveRun(tmp_path, tiny_folder, demo_video, "--live", env=environment) as run:
            first = manager.recv(4096).decode()
            assert first.startswith("READY=1\nWATCHDOG=1\nSTATUS=")
            assert manager.recv(4096).decode().startswith("WATCHDOG=1")
            run.process.send_signal(signal.SIGTERM)
            told = ""
            while "STOPPING=1" not in told:
                told = manager.recv(4096).decode()
            assert run.wait() == 0
