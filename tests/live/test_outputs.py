"""Where live predictions go: MQTT, RTMP and RTSP, annotated files, recordings, the service manager."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import av
import pytest

from taemi_edge.media.transcripts import read_transcript
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.live.running import LiveRun
from tests.live.servers import RtspServer, free_port

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH')}:/usr/sbin")


def test_an_annotated_video_is_whole_after_sigterm(tiny_folder, demo_video, demo_vtt, tmp_path):
    target = tmp_path / "annotated.mkv"
    words = (f"demo={demo_video}", "--live", "--annotate", target, "--transcript", demo_vtt)
    with LiveRun(tmp_path, tiny_folder, *words) as run:
        run.wait_until(lambda: len(run.predictions) >= 8)
        assert run.stop() == 0
    with av.open(str(target)) as container:
        frames = [frame.time for frame in container.decode(video=0)]
    assert len(frames) > 40
    assert frames == sorted(frames)
    assert frames[-1] >= 3.0


@pytest.mark.once
def test_rtmp_push_goes_on_when_the_server_comes_back(tiny_folder, demo_video, tmp_path):
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/x"
    counts: list[int] = []

    def receive() -> None:
        """One publisher, for forty pictures; then the server is gone."""
        with av.open(url, options={"listen": "1"}, timeout=(30, 10)) as container:
            for count, frame in enumerate(container.decode(video=0)):
                assert frame.width > 600
                if count == 40:
                    counts.append(count)
                    return

    with LiveRun(tmp_path, tiny_folder, f"demo={demo_video}", "--loop", "--push", url) as run:
        for round_number in (1, 2):
            server = threading.Thread(target=receive, daemon=True)
            server.start()
            run.wait_until(lambda: len(counts) >= round_number, 40)  # noqa: B023
            server.join()
        assert run.presence("vision") in ("live", "stale", "recovering")
        assert run.stop(timeout_s=60) == 0


@pytest.mark.once
def test_rtsp_push(tiny_folder, demo_video, lasting_clip, tmp_path, needs_rtsp_server):
    target = tmp_path / "pushed.mkv"
    with RtspServer(lasting_clip, "--record-to", str(target)) as server:
        url = server.url.replace("/live", "/push")
        with LiveRun(tmp_path, tiny_folder, f"demo={demo_video}", "--loop", "--push", url) as run:
            run.wait_until(lambda: target.exists() and target.stat().st_size > 60_000, 40)
            assert run.stop(timeout_s=60) == 0
        time.sleep(0.5)
    count = 0
    with av.open(str(target)) as container:
        for packet in container.demux(video=0):
            with contextlib.suppress(av.InvalidDataError):  # its last packet is cut
                count += len(packet.decode())
    assert count > 20


@pytest.mark.once
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: tools/install_test_servers.sh")
def test_mqtt_publishes_and_outlives_its_broker(tiny_folder, demo_video, tmp_path):
    paho = pytest.importorskip("paho.mqtt.client")
    from paho.mqtt.enums import CallbackAPIVersion

    port, (passwords, settings) = free_port(), (tmp_path / "passwords", tmp_path / "mosquitto.conf")
    subprocess.run(["/usr/bin/mosquitto_passwd", "-b", "-c", str(passwords), "edge", "right-word"], check=True)
    passwords.chmod(0o644)
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n")
    word = tmp_path / "word"
    word.write_text("right-word\n")

    def broker() -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(MOSQUITTO), "-c", str(settings)], stderr=subprocess.DEVNULL)

    heard: dict[str, list[bytes]] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("edge", "right-word")
    client.on_connect = lambda c, *_: c.subscribe("site/#")
    client.on_message = lambda _c, _d, message: heard.setdefault(message.topic, []).append(message.payload)
    client.reconnect_delay_set(1, 1)
    words = ("--mqtt", f"127.0.0.1:{port}", "--set", "mqtt.topic=site", "--set", "mqtt.username=edge")
    words = (f"demo={demo_video}", *words)
    process = broker()
    try:
        with LiveRun(tmp_path, tiny_folder, *words, "--loop", "--set", f'mqtt.password_file="{word}"') as run:
            client.connect_async("127.0.0.1", port)
            client.loop_start()
            name = "site/demo"
            run.wait_until(lambda: len(heard.get(f"{name}/prediction", [])) >= 3)
            assert heard["site/status"][-1] == b"online"
            prediction = json.loads(heard[f"{name}/prediction"][-1])
            assert set(prediction["intensities"]) >= {"joy", "admiration"}
            run.wait_until(lambda: heard.get(f"{name}/presence/vision"))
            assert json.loads(heard[f"{name}/presence/vision"][-1])["to"] == "live"
            process.kill()
            process.wait()
            heard[f"{name}/presence/vision"].clear()
            made, told = len(run.predictions), len(heard[f"{name}/prediction"])
            run.wait_until(lambda: len(run.predictions) >= made + 3)
            process = broker()
            run.wait_until(lambda: len(heard[f"{name}/prediction"]) > told + 2, 20)
            run.wait_until(lambda: heard[f"{name}/presence/vision"])  # the new broker knew nothing of it
            assert run.stop() == 0
            until = time.monotonic() + 5
            while heard["site/status"][-1] != b"offline" and time.monotonic() < until:
                time.sleep(0.05)
            assert heard["site/status"][-1] == b"offline"
        word.write_text("wr0ng-word")
        with LiveRun(tmp_path, tiny_folder, *words, "--loop", "--set", f'mqtt.password_file="{word}"') as run:
            run.wait_until(lambda: any("broker refuses: Not authorized" in line for line in run.log))
            assert "wr0ng" not in "\n".join(run.log)
    finally:
        client.loop_stop()
        client.disconnect()
        process.kill()
        process.wait()


@pytest.mark.once
def test_losses_are_recorded_in_the_layout_of_a_corpus_and_within_a_size(
    tiny_folder, lasting_clip, tmp_path, needs_rtsp_server
):
    folder = tmp_path / "losses"
    config = tmp_path / "live.toml"
    with RtspServer(lasting_clip) as server:
        config.write_text(
            f'[[source]]\nname = "cam"\nuri = "{server.url}"\ntranscript = "unix:{tmp_path}/words.sock"\n'
            f'[record]\nfolder = "{folder}"\nbefore_s = 2.0\nafter_s = 1.0\nmost_mib = 0.2\n'
        )
        with LiveRun(tmp_path, tiny_folder, "--config", config) as run:
            run.wait_until(lambda: run.predictions)
            speaker = socket.socket(socket.AF_UNIX)
            speaker.connect(str(tmp_path / "words.sock"))
            for number in range(1, 4):
                run.wait_for("audio", "live")
                run.wait_for("vision", "live")
                for wanted in (2, 2):
                    speaker.sendall(b'{"text": "so it is"}\n')
                    made = len(run.predictions)
                    run.wait_until(lambda: len(run.predictions) >= made + wanted)  # noqa: B023
                server.kill()
                run.wait_until(lambda: sum("kept" in line for line in run.log) >= number)  # noqa: B023
                server.start()
            speaker.close()
    losses = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    assert [loss["clip"] for loss in losses] == ["00001", "00002", "00003"]
    assert {event["modality"] for event in losses[0]["losses"]} == {"vision", "audio"}
    kept = sorted((folder / "raw").glob("*.mkv"))
    assert sum(file.stat().st_size for file in kept) <= 0.2 * 2**20
    assert kept[-1].stem == "00003"
    assert not (folder / "raw" / "00001.mkv").exists()
    with av.open(str(kept[-1])) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 7
    with av.open(str(kept[-1])) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 16_000
    assert [word.text for word in read_transcript(folder / "transcripts" / "00003.vtt", None)][-3:] == [
        "so",
        "it",
        "is",
    ]
    (folder / "train_split.csv").write_text(  # labels are for people to add
        "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy\n00003,0,0,1,0,0,0\n"
    )
    [clip] = open_corpus(folder).clips
    assert clip.video == kept[-1]
    assert clip.transcript is not None


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
