"""What GStreamer pipelines give, and what is said when they cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.opening import open_reader
from taemi_edge.media.hops import Frame
from tests.live.captured import SETTINGS, Captured, heard_s, needs_gst, reason_of


@needs_gst
def test_a_pipeline_gives_picture_and_sound(real_clip):
    pipeline = (
        f'filesrc location="{real_clip}" ! decodebin name=d d. ! queue ! videoconvert ! appsink '
        "d. ! queue ! audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! appsink"
    )
    with Captured(f"gst:{pipeline}") as captured:
        captured.until(lambda c: c.frames.newest is not None)
        captured.take(0.5)
        arrivals = captured.take(2.0)
        assert len(arrivals.frames) in (9, 10, 11)
        assert arrivals.frames[0].image.shape == (240, 320, 3)
        assert heard_s(arrivals) == pytest.approx(2.0, abs=0.15)
        captured.until(
            lambda c: c.capture.link.reason == "the pipeline ended", 15
        )  # a pipeline is live: its end is a loss


@pytest.mark.once
@needs_gst
def test_a_pipeline_that_hangs_is_killed_and_started_anew(real_clip):
    pipeline = f'filesrc location="{real_clip}" ! decodebin ! videoconvert ! appsink'
    with Captured(f"gst:{pipeline}", tracks={"camera": "video"}) as captured:
        captured.until(lambda c: not c.losses())
        found = subprocess.run(["/usr/bin/pgrep", "-f", "gst_child.py"], capture_output=True, text=True, check=True)
        children = [int(pid) for pid in found.stdout.split() if _parent(int(pid)) == os.getpid()]
        for pid in children:
            os.kill(pid, 19)
        captured.until(lambda c: c.capture.failures >= 1, 5)
        captured.until(lambda c: c.capture.connections >= 2 and not c.losses())
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


@needs_gst
def test_a_pipeline_that_cannot_run_says_why():
    assert 'no element "nosuch"' in reason_of("gst:videotestsrc ! nosuch ! appsink")
    assert "ends in an appsink" in reason_of("gst:videotestsrc ! fakesink")
    assert "ends in an appsink" in reason_of("gst:videotestsrc")
    assert reason_of("gst:filesrc location=/nowhere ! decodebin ! appsink") == (
        "GStreamer: the file, the device or the host was not found"
    )
    assert "put videoconvert" in reason_of("gst:videotestsrc ! video/x-raw,format=NV12 ! appsink")


@needs_gst
@pytest.mark.parametrize("layout", ["RGB", "BGR", "RGBA", "BGRx"])
def test_a_pipelines_pixels_are_red_in_any_order(layout):
    caps = f"video/x-raw,format={layout},width=322,height=240,framerate=5/1"
    reader = open_reader(parse_address(f"gst:videotestsrc pattern=red ! {caps} ! appsink"), SETTINGS)
    try:
        image = Frame(0.0, next(iter(reader.items())).picture).image
    finally:
        reader.close()
    assert image.shape == (240, 322, 3)
    assert (image.reshape(-1, 3) == (255, 0, 0)).all()


class SoundServer:
    """PulseAudio with one loudspeaker, whose sound a microphone `quiet.monitor` hears; a tone is played to it."""

    def __init__(self, folder: Path) -> None:
        self.environment = os.environ | {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{folder}/pulse.sock",
        }
        modules = ["module-null-sink sink_name=quiet"]
        modules += [f"module-native-protocol-unix socket={folder}/pulse.sock auth-anonymous=1"]
        self._server = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        self._server += [f"--load={module}" for module in modules]
        self._socket = folder / "pulse.sock"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._start(self._server)
        until = time.monotonic() + 20
        while not self._socket.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        self._start(
            ["gst-launch-1.0", *["audiotestsrc", "freq=300", "!", "audioconvert", "!", "pulsesink", "device=quiet"]]
        )

    def kill(self) -> None:
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait()

    def _start(self, command: list[str]) -> None:
        quiet = subprocess.DEVNULL
        self._processes.append(subprocess.Popen(command, stdout=quiet, stderr=quiet, env=self.environment))


@pytest.mark.once
@needs_gst
@pytest.mark.skipif(shutil.which("pulseaudio") is None, reason="pulseaudio: tools/install_test_servers.sh")
def test_a_microphone_by_pulseaudio_comes_back_with_its_server(tmp_path, monkeypatch):
    server = SoundServer(tmp_path)
    monkeypatch.setenv("PULSE_SERVER", server.environment["PULSE_SERVER"])
    try:
        server.start()
        with Captured("pulse:quiet.monitor", tracks={"microphone": "audio"}) as captured:
            for round_number in (1, 2):
                captured.until(lambda c: len(c.sound) > 10, 20)
                captured.take(0.5)
                arrivals = captured.take(2.0)
                assert heard_s(arrivals) == pytest.approx(2.0, abs=0.3)
                sound = np.concatenate([piece.values for piece in arrivals.sound])
                loudest_hz = np.abs(np.fft.rfft(sound)).argmax() * 16_000 / len(sound)
                assert loudest_hz == pytest.approx(300, abs=5)
                if round_number == 1:
                    server.kill()
                    captured.until(lambda c: c.losses(), 5)
                    captured.until(lambda c: c.capture.failures >= 2)
                    captured.take_all(1e9)
                    server.start()
    finally:
        server.kill()
