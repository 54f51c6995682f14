"""What FFmpeg reads, and what is said when it cannot: real sockets, files and ALSA."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.live.capture import av_reader
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.opening import open_reader
from taemi_edge.live.capture.readers import DecodedPicture
from tests.live.captured import SETTINGS, Captured, heard_s, reason_of
from tests.live.servers import HttpServer, UdpSender, free_port
from tests.media import remux, tone, write_media


def test_a_transport_stream_over_http(stream):
    with HttpServer({"/live.ts": stream}) as server, Captured(f"{server.url}/live.ts") as captured:
        captured.until(lambda c: c.frames.newest is not None)
        captured.take(0.5)
        arrivals = captured.take(2.0)
        assert len(arrivals.frames) in (9, 10, 11)
        assert arrivals.frames[0].image.shape == (240, 320, 3)
        assert heard_s(arrivals) == pytest.approx(2.0, abs=0.15)
        assert max(float(np.abs(piece.values).max()) for piece in arrivals.sound) > 0.05


@pytest.mark.once
def test_a_transport_stream_over_udp_of_which_packets_are_lost(stream):
    sender = UdpSender(stream, lost_share=0.03)
    with sender, Captured(f"udp://127.0.0.1:{sender.port}") as captured:
        captured.until(lambda c: c.frames.newest is not None, 25)  # a whole key frame has to come through
        arrivals = captured.take(4.0)
        assert len(arrivals.frames) >= 12
        assert heard_s(arrivals) > 2.5
        assert sender.lost > 5


@pytest.mark.once
@pytest.mark.parametrize("level", [0, 2])
def test_who_is_behind_and_relieved_goes_on_at_the_newest_key_frame(stream, level):
    """A consumer that stops for a while is a machine that is too slow for a while."""
    with HttpServer({"/live.ts": stream}) as server:
        patient = msgspec.structs.replace(SETTINGS, read_timeout_s=10.0)  # a busy machine may serve with pauses
        reader = open_reader(parse_address(f"{server.url}/live.ts"), patient)
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
            assert captured.losses()["microphone"] == "the source has no sound"
        with Captured(f"{server.url}/b") as captured:
            captured.until(lambda c: c.capture.link.state == "connected")
            assert captured.losses()["camera"] == "the source has no picture"


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
        assert reader.absent == {"video": "the source has no picture"}
    finally:
        reader.close()


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


def test_no_sockets_are_left_by_a_port_that_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert reason_of(f"tcp://127.0.0.1:{port}") == "connection refused: nothing listens there"
