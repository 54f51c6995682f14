"""Predictions and events on a real MQTT broker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.running import LiveRun
from tests.live.servers import free_port

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH')}:/usr/sbin")


def broker_settings(folder: Path, port: int) -> Path:
    """The settings of a broker that asks for a name and a password."""
    passwords, settings = folder / "passwords", folder / "mosquitto.conf"
    subprocess.run(["/usr/bin/mosquitto_passwd", "-b", "-c", str(passwords), "edge", "right-word"], check=True)
    passwords.chmod(0o644)
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n")
    return settings


def wait_up_to(seconds: float, holds: Callable[[], bool]) -> None:
    """Wait until something holds, or the time is over."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)


@pytest.mark.once
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: tools/install_test_servers.sh")
def test_mqtt_publishes_and_outlives_its_broker(tiny_folder, demo_video, tmp_path):
    paho = pytest.importorskip("paho.mqtt.client")
    from paho.mqtt.enums import CallbackAPIVersion

    port, word = free_port(), tmp_path / "word"
    settings = broker_settings(tmp_path, port)
    word.write_text("right-word\n")

    def broker() -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(MOSQUITTO), "-c", str(settings)], stderr=subprocess.DEVNULL)

    heard: dict[str, list[bytes]] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("edge", "right-word")
    client.on_connect = lambda c, *_: c.subscribe("site/#")
    client.on_message = lambda _c, _d, message: heard.setdefault(message.topic, []).append(message.payload)
    client.reconnect_delay_set(1, 1)
    broker_words = ("--mqtt", f"127.0.0.1:{port}", "--set", "mqtt.topic=site", "--set", "mqtt.username=edge")
    words = (f"demo={demo_video}", *broker_words, "--loop", "--set", f'mqtt.password_file="{word}"')
    process = broker()
    try:
        with LiveRun(tmp_path, tiny_folder, *words) as run:
            client.connect_async("127.0.0.1", port)
            client.loop_start()
            run.wait_until(lambda: len(heard.get("site/demo/prediction", [])) >= 3)
            assert heard["site/status"][-1] == b"online"
            prediction = json.loads(heard["site/demo/prediction"][-1])
            assert set(prediction["intensities"]) >= {"joy", "admiration"}
            run.wait_until(lambda: heard.get("site/demo/presence/vision"))
            assert json.loads(heard["site/demo/presence/vision"][-1])["to"] == "live"
            process.kill()
            process.wait()
            heard["site/demo/presence/vision"].clear()
            made, told = len(run.predictions), len(heard["site/demo/prediction"])
            run.wait_until(lambda: len(run.predictions) >= made + 3)
            process = broker()
            run.wait_until(lambda: len(heard["site/demo/prediction"]) > told + 2, 20)
            run.wait_until(lambda: heard["site/demo/presence/vision"])  # the new broker knew nothing of it
            assert run.stop() == 0
            wait_up_to(5, lambda: heard["site/status"][-1] == b"offline")
            assert heard["site/status"][-1] == b"offline"
        word.write_text("wr0ng-word")
        with LiveRun(tmp_path, tiny_folder, *words) as run:
            run.wait_until(lambda: any("broker refuses: Not authorized" in line for line in run.log))
            assert "wr0ng" not in "\n".join(run.log)
    finally:
        client.loop_stop()
        client.disconnect()
        process.kill()
        process.wait()
