"""What each kind of source gives, and what it says when it cannot: real sockets, pipelines and devices."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.live.capture import av_reader
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.gst_reader import find_gst_python
from taemi_edge.live.capture.mailbox import Arrivals, Mailbox
from taemi_edge.live.capture.opening import open_reader
from taemi_edge.live.capture.readers import DecodedPicture, SourceGoneError
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.media.hops import Frame
from tests.live.running import LiveRun
from tests.live.servers import HttpServer, TcpBursts, Timed, UdpSender, free_port, transport_stream
from tests.media import remux, tone, write_float_wav, write_media

SETTINGS = WatchSettings(open_timeout_s=1.0, read_timeout_s=1.0, retry_most_s=0.2)
BOTH = frozenset({"vision", "audio"})
needs_gst = pytest.mark.skipif(find_gst_python() is None, reason="GStreamer's bindings are not installed")


class Captured:
    """A capture that runs for a while, and what it gave."""

    def __init__(self, text: str, settings: WatchSettings = SETTINGS, modalities: frozenset = BOTH) -> None:
        self.clock = SessionClock()
        self.mailbox = Mailbox(16_000, 5.0, keep_s=60.0)
        self.capture = Capture(CaptureSpec("x", parse_address(text), modalities), self.mailbox, self.clock, settings)

    def __enter__(self) -> Captured:
        self.capture.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.stop()

    def until(self, holds, timeout_s: float = 15.0) -> None:
        until = time.monotonic() + timeout_s
        while not holds(self):
            assert time.monotonic() < until, (self.capture.link, self.capture.failures)
            self.capture.watch(self.clock.now_s())
            time.sleep(0.02)

    def losses(self) -> dict[str, str]:
        return dict(self.capture.losses(self.clock.now_s()))

    def take(self, seconds: float) -> Arrivals:
        """What came of the seconds that follow, without what was of earlier ones and took until now."""
        start_s = self.clock.now_s()
        self.mailbox.take(start_s)
        self.until(lambda c: c.clock.now_s() > start_s + seconds + 0.5)
        arrivals = self.mailbox.take(start_s + seconds)
        arrivals.frames = [frame for frame in arrivals.frames if frame.time_s > start_s]
        arrivals.samples = [piece for piece in arrivals.samples if piece.time_s > start_s - 0.1]
        return arrivals


@pytest.fixture(scope="module")
def stream(real_clip) -> Timed:
    return transport_stream(real_clip, 30)


def heard_s(arrivals: Arrivals) -> float:
    return sum(len(piece.values) for piece in arrivals.samples) / 16_000


def reason_of(text: str) -> str:
    with pytest.raises(SourceGoneError) as gone:
        reader = open_reader(parse_address(text), SETTINGS)
        try:
            for _ in reader.items():
                pass
        finally:
            reader.close()
    return gone.value.reason


def test_a_transport_stream_over_http(stream):
    with HttpServer({"/live.ts": stream}) as server, Captured(f"{server.url}/live.ts") as captured:
        captured.until(lambda c: c.mailbox.newest is not None)
        captured.take(0.5)
        arrivals = captured.take(2.0)
        assert len(arrivals.frames) in (9, 10, 11)
        assert arrivals.frames[0].image.shape == (240, 320, 3)
        assert heard_s(arrivals) == pytest.approx(2.0, abs=0.15)
        assert max(float(np.abs(piece.values).max()) for piece in arrivals.samples) > 0.05


@pytest.mark.once
def test_a_transport_stream_over_udp_of_which_packets_are_lost(stream):
    sender = UdpSender(stream, lost_share=0.03)
    with sender, Captured(f"udp://127.0.0.1:{sender.port}") as captured:
        captured.until(lambda c: c.mailbox.newest is not None, 25)  # a whole key frame has to come through
        arrivals = captured.take(4.0)
        assert len(arrivals.frames) >= 12
        assert heard_s(arrivals) > 2.5
        assert sender.lost > 5


@pytest.mark.once
@pytest.mark.parametrize("level", [0, 2])
def test_who_is_behind_and_relieved_goes_on_at_the_newest_key_frame(stream, level):
    """A consumer that stops for a while is a machine that is too slow for a while."""
    with HttpServer({"/live.ts": stream}) as server:
        reader = open_reader(parse_address(f"{server.url}/live.ts"), SETTINGS)
        try:
            reader.set_decode_level(level)
            pictures = (item for item in reader.items() if isinstance(item, DecodedPicture))
            before = [next(pictures) for _ in range(25)]
            time.sleep(2.5)
            asked_s = time.monotonic()
            while reader.lag_s > 0.3 or time.monotonic() - asked_s < 0.2:
                before.append(next(pictures))
                assert time.monotonic() - asked_s < 8
            gaps_s = np.diff([picture.pts_s for picture in before])
        finally:
            reader.close()
    assert reader.waited_s > 0.5
    if level == 0:
        assert gaps_s.max() < 0.2
        return
    assert gaps_s.max() > 0.5
    resumed = before[int(gaps_s.argmax()) + 1].picture
    assert resumed.key_frame


def test_refusals_are_told_in_words(stream, tmp_path):
    odd = tmp_path / "odd.mkv"
    write_media(odd, frame_times_s=[i / 10 for i in range(10)])
    odd.write_bytes(odd.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    words = tmp_path / "words.mkv"
    words.write_bytes(b"WEBVTT\n\n00:00.000 --> 00:10.000\nno picture, no sound\n")
    contents = {
        "/401": 401,
        "/403": 403,
        "/500": 500,
        "/silence": None,
        "/junk": os.urandom(20_000),
        "/odd": odd.read_bytes(),
        "/words": words.read_bytes(),
    }
    with HttpServer(contents) as server:
        assert reason_of(f"{server.url}/401") == "wrong name or password (401)"
        assert reason_of(f"{server.url}/403") == "access is forbidden (403)"
        assert reason_of(f"{server.url}/404") == "the server is there, the stream is not (404)"
        assert reason_of(f"{server.url}/500") == "the server failed (5xx)"
        assert reason_of(f"{server.url}/silence").startswith("no answer for 1")
        assert reason_of(f"{server.url}/junk") == "what came is no video or audio that FFmpeg can read"
        assert "the codec of its picture cannot be decoded here" in reason_of(f"{server.url}/odd")
        assert "neither picture nor sound" in reason_of(f"{server.url}/words")
    assert reason_of(f"http://127.0.0.1:{free_port()}/x") == "connection refused: nothing listens there"
    assert reason_of("v4l2:/dev/video99") == "no such device or file"
    assert "host's name is not known" in reason_of("http://no-such-host.invalid/x")


def test_a_stream_without_sound_or_without_picture_says_so(tmp_path):
    silent = write_media(tmp_path / "silent.mp4", frame_times_s=[i / 25 for i in range(250)])
    blind = write_media(tmp_path / "blind.m4a", samples=tone(10))
    contents = {
        name: remux(file, tmp_path / f"{name[1:]}.ts").read_bytes() for name, file in (("/s", silent), ("/b", blind))
    }
    with HttpServer(contents) as server:
        with Captured(f"{server.url}/s") as captured:
            captured.until(lambda c: c.capture.link.state == "connected")
            assert captured.losses()["audio"] == "the source has no sound"
        with Captured(f"{server.url}/b") as captured:
            captured.until(lambda c: c.capture.link.state == "connected")
            assert captured.losses()["vision"] == "the source has no picture"


def _pieces(file: Path) -> list[bytes]:
    """A file in five hundred pieces."""
    content = file.read_bytes()
    size = -(-len(content) // 500)
    return [content[at : at + size] for at in range(0, len(content), size)]


def test_nan_in_the_sound_is_a_fault_and_no_sound(tmp_path):
    samples = tone(4)
    samples[16_000:32_000] = np.nan
    with Captured(str(write_float_wav(tmp_path / "nan.wav", samples))) as captured:
        captured.until(lambda c: c.capture.ended, 10)
        arrivals = captured.mailbox.take(10.0)
    assert arrivals.audio_fault == "NaN in the sound"
    assert heard_s(arrivals) == pytest.approx(3.0, abs=0.2)


@pytest.mark.once
def test_a_hundred_reconnects_leave_nothing_behind(real_clip):
    burst = b"".join(piece for _, piece in transport_stream(real_clip, 1.0))
    settings = WatchSettings(retry_first_s=0.02, retry_most_s=0.02)
    counts = []
    with TcpBursts(burst) as server, Captured(server.url, settings) as captured:
        for wanted in (10, 100):
            captured.until(lambda c: c.capture.connections >= wanted, 60)  # noqa: B023
            folder = Path("/proc/self")
            counts.append((len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))))
        assert captured.capture.reconnects >= 99
    assert counts[1][0] <= counts[0][0] + 3
    assert counts[1][1] <= counts[0][1] + 3


# -------------------------------------------------------------------------------------------------- GStreamer


@needs_gst
def test_a_pipeline_gives_picture_and_sound(real_clip):
    pipeline = (
        f'filesrc location="{real_clip}" ! decodebin name=d d. ! queue ! videoconvert ! appsink '
        "d. ! queue ! audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! appsink"
    )
    with Captured(f"gst:{pipeline}") as captured:
        captured.until(lambda c: c.mailbox.newest is not None)
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
    with Captured(f"gst:{pipeline}", modalities=frozenset({"vision"})) as captured:
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
    assert reason_of("gst:filesrc location=/nowhere ! decodebin ! appsink").startswith("GStreamer: ")
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


# ----------------------------------------------------------------------------------------------------- devices


def test_a_microphone_by_alsa(tmp_path, monkeypatch):
    """ALSA's own `file` plugin stands for the sound card: everything above the driver is real."""
    speech = (np.clip(tone(20, frequency_hz=300), -1, 1) * 20_000).astype("<i2").tobytes()
    (tmp_path / "speech.raw").write_bytes(speech)
    if not Path("/usr/share/alsa/alsa.conf").is_file():
        pytest.skip("ALSA's configuration (libasound2-data) is not installed")
    (tmp_path / "asoundrc").write_text(
        f"<{Path(av_reader.__file__).with_name('alsa.conf')}>\n"
        f'pcm.speech {{ type file slave.pcm null file /dev/null infile "{tmp_path}/speech.raw" format raw }}\n'
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asoundrc"))
    reader = open_reader(parse_address("alsa:speech"), SETTINGS)
    try:
        item = next(iter(reader.items()))
        assert np.abs(item.sound.to_ndarray()).max() > 0
        assert reader.absent == {"vision": "the source has no picture"}
    finally:
        reader.close()


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
    only = frozenset({"audio"})
    try:
        server.start()
        with Captured("pulse:quiet.monitor", modalities=only) as captured:
            for round_number in (1, 2):
                captured.until(lambda c: len(c.mailbox._samples) > 10, 20)
                captured.take(0.5)
                arrivals = captured.take(2.0)
                assert heard_s(arrivals) == pytest.approx(2.0, abs=0.3)
                sound = np.concatenate([piece.values for piece in arrivals.samples])
                loudest_hz = np.abs(np.fft.rfft(sound)).argmax() * 16_000 / len(sound)
                assert loudest_hz == pytest.approx(300, abs=5)
                if round_number == 1:
                    server.kill()
                    captured.until(lambda c: c.losses(), 5)
                    captured.until(lambda c: c.capture.failures >= 2)
                    captured.mailbox.take(1e9)
                    server.start()
    finally:
        server.kill()


def test_alsas_own_null_device_opens_without_any_setting():
    if not Path("/usr/share/alsa/alsa.conf").is_file():
        pytest.skip("ALSA's configuration (libasound2-data) is not installed")
    script = (
        "from taemi_edge.live.capture.addresses import parse_address\n"
        "from taemi_edge.live.capture.opening import open_reader\n"
        "from taemi_edge.live.capture.settings import WatchSettings\n"
        "reader = open_reader(parse_address('alsa:null'), WatchSettings())\n"
        "print(next(iter(reader.items())).sound.samples)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ALSA_CONFIG_PATH"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert int(done.stdout) > 0, done.stderr
    assert not done.stderr  # ALSA itself has nothing to say there


@pytest.mark.once
def test_picture_and_sound_from_different_places(tiny_folder, stream, real_clip, tmp_path):
    with HttpServer({"/live.ts": stream}) as server:
        words = ("--video", f"{server.url}/live.ts", "--audio", f"file:{real_clip}", "--duration", "4")
        with LiveRun(tmp_path, tiny_folder, *words) as run:
            assert run.wait(30) == 0
        assert run.presence("vision") == "live"
        assert run.presence("audio") == "live"
        assert run.predictions[-1]["source"] == "live"
        assert server.served["/live.ts"] == 1


@pytest.mark.once
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed: tools/install_test_servers.sh")
def test_setting_the_machines_clock_moves_nothing(tiny_folder, real_clip, tmp_path):
    offset = tmp_path / "offset"
    offset.write_text("+0")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with LiveRun(tmp_path, tiny_folder, real_clip, "--loop", "--live", env=environment) as run:
        run.wait_for("audio", "live")
        run.wait_for("vision", "live")
        for jump in ("+30d", "-400d"):
            made = len(run.predictions)
            offset.write_text(jump)
            run.wait_until(lambda: len(run.predictions) >= made + 4)  # noqa: B023
            assert all(p["presence"]["vision"] == "live" for p in run.predictions[made:])
        times_s = [p["time_s"] for p in run.predictions]
        assert times_s == pytest.approx([times_s[0] + 0.5 * i for i in range(len(times_s))])
        assert len({line.split("-")[0] for line in run.log if line[:2] == "20"}) >= 1


def test_no_sockets_are_left_by_a_port_that_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert reason_of(f"tcp://127.0.0.1:{port}") == "connection refused: nothing listens there"
