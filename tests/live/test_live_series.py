"""Whole live runs of a model that reads sensors alone: over sockets, standard input and from a file."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model is written in PyTorch")
pytest.importorskip("onnx", reason="the model is exported with onnx")

import taemi_edge as te
from tests.live.page.client import get
from tests.live.running import LiveRun
from tests.live.sensors import SerialPort
from tests.live.servers import free_port


class Motion(torch.nn.Module):
    """Rows (B, steps, 3) to steps (B, steps, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.nn.Linear(3, 4)

    def forward(self, values: Any) -> Any:
        return self.out(values)


class Head(torch.nn.Module):
    """The mean of what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.speed = torch.nn.Linear(4, 3), torch.nn.Linear(4, 1)

    def forward(self, motion: Any, motion_mask: Any, pulse: Any, pulse_mask: Any) -> dict[str, Any]:
        steps, mask = torch.cat([motion, pulse], 1), torch.cat([motion_mask, pulse_mask], 1).unsqueeze(-1).float()
        mean = (steps * mask).sum(1) / mask.sum(1).clamp(min=1)
        return {"state": self.state(mean), "speed": self.speed(mean)}


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two series, one resampled and one read row by row."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    samples = [
        {
            "motion/values": random.normal(size=(20 + 10 * index, 3)).astype(np.float32),
            "pulse/values": random.normal(size=(2 + index, 2)).astype(np.float32),
        }
        for index in range(3)
    ]
    model = te.Model(
        streams={
            "motion": te.Stream(te.Series(3, rate_hz=10.0, chunk_s=0.5), Motion(), missing="mask"),
            "pulse": te.Stream(te.Series(2), torch.nn.Linear(2, 4), missing="mask"),
        },
        head=Head(),
        outputs={"state": te.Classes(("rest", "walk", "run")), "speed": te.Regression(("speed",))},
        samples=samples,
        window_s=4.0,
        hop_s=0.5,
    )
    folder = tmp_path_factory.mktemp("export") / "sensors"
    te.export_model(model, folder)
    return folder


class Sensor:
    """Sends rows to a socket, without times: they were measured just now."""

    def __init__(self, path: Path, row: list[float], every_s: float = 0.05) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(row, every_s), daemon=True)
        self._thread.start()

    def _send(self, row: list[float], every_s: float) -> None:
        while not self._over.wait(every_s):
            self.socket.sendall(json.dumps({"values": row}).encode() + b"\n")

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self.socket.close()


@pytest.mark.once
def test_sensors_over_sockets_come_and_go(sensors, tmp_path):
    motion, pulse, port = tmp_path / "motion.sock", tmp_path / "pulse.sock", free_port()
    words = ("rig", "--stream", f"motion=unix:{motion}", "--stream", f"pulse=unix:{pulse}")
    with LiveRun(tmp_path, sensors, *words, "--serve", f"127.0.0.1:{port}") as run:
        run.wait_until(lambda: run.predictions)
        first = run.predictions[-1]
        assert (first["source"], first["status"]) == ("rig", "no signal")
        assert first["reason"] == {s: f"nobody has sent {s} yet" for s in ("motion", "pulse")}
        one, other = Sensor(motion, [0.1, 0.2, 0.3]), Sensor(pulse, [70.0, 0.5])
        run.wait_for("motion", "live")
        run.wait_for("pulse", "live")
        assert sum(run.predictions[-1]["state"]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        other.socket.sendall(b'rubbish\n{"values": [NaN, 1.0]}\n{"time_s": 0.001, "values": [1.0, 2.0]}\n')
        run.wait_until(lambda: sum("pulse: line" in line for line in run.log) >= 2)
        assert run.presence("motion") == "live"
        one.stop()
        run.wait_for("motion", "missing")
        assert run.predictions[-1]["reason"]["motion"] == "motion's sender hung up"
        assert run.predictions[-1]["latency_ms"]["motion"] == 0.0
        metrics = get(f"http://127.0.0.1:{port}/metrics")[1]
        assert 'taemi_edge_series_lines_total{kind="bad",streams="pulse"} 3.0' in metrics
        again = Sensor(motion, [0.1, 0.2, 0.3])
        run.wait_for("motion", "live")
        again.stop()
        other.stop()
        assert run.stop() == 0
    assert not motion.exists()
    assert not pulse.exists()


@pytest.mark.once
def test_sensors_send_over_the_network_and_a_cable(sensors, tmp_path):
    pytest.importorskip("serial", reason="pyserial reads serial ports")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, SerialPort(tmp_path) as port:
        sender.bind(("127.0.0.1", 0))
        place = ("127.0.0.1", free_port())
        words = ("--stream", f"motion=udp://127.0.0.1:{place[1]}?format=<3f", "--stream", f"pulse=serial:{port.name}")
        with LiveRun(tmp_path, sensors, *words) as run:

            def send(rows: bool = True) -> None:
                port.send(b"70, 0.5\n")
                if rows:
                    sender.sendto(struct.pack("<3f", 0.1, 0.2, 0.3), place)

            both = {"motion": "live", "pulse": "live"}
            run.wait_until(lambda: send() or (run.predictions and run.predictions[-1]["presence"] == both))
            assert sum(run.predictions[-1]["state"]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            run.wait_until(lambda: send(False) or run.predictions[-1]["presence"]["motion"] == "missing")
            assert run.predictions[-1]["reason"] == {"motion": "nothing came for more than 1.25 s"}
            port.unplug()
            run.wait_until(lambda: "it is not plugged in" in run.predictions[-1]["reason"].get("pulse", ""))
            assert run.stop() == 0


@pytest.mark.once
def test_sensors_on_standard_input_end_the_run_with_it(sensors, tmp_path):
    words = ("--stream", "motion=-", "--stream", "pulse=-")
    with LiveRun(tmp_path, sensors, *words, stdin=subprocess.PIPE) as run:
        stdin = run.process.stdin
        assert stdin is not None

        def live() -> bool:
            stdin.write('{"motion": [1, 2, 3], "pulse": [70, 1]}\n')
            stdin.flush()
            return bool(run.predictions) and set(run.predictions[-1]["presence"].values()) == {"live"}

        run.wait_until(live)
        stdin.close()
        assert run.wait() == 0
        assert run.predictions[-1]["source"] == "live"


@pytest.mark.once
def test_a_series_from_a_file_plays_at_its_own_pace(sensors, tmp_path):
    file = tmp_path / "motion.csv"
    file.write_text("time_s,x,y,z\n" + "".join(f"{100 + i / 10:.1f},1,2,3\n" for i in range(25)))
    annotated = tmp_path / "panel.mp4"
    with LiveRun(tmp_path, sensors, "--live", "--stream", f"motion={file}", "--annotate", annotated) as run:
        assert run.wait() == 0
        seen = [p["presence"]["motion"] for p in run.predictions]
        assert "live" in seen
        assert run.predictions[0]["reason"]["pulse"] == "no source of pulse was given"
        assert 2.0 <= run.predictions[-1]["time_s"] <= 3.5
    with av.open(str(annotated)) as container:  # the panel alone, one picture a hop
        assert len(list(container.decode(video=0))) >= 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--stream", "imo=-"), "expected one of motion (series), pulse (series), got 'imo'"),
        (("--stream", "motion"), "expected NAME=PLACE"),
        (("--stream", "motion=-", "--push", "rtmp://127.0.0.1/x"), "expected a model with a video stream"),
        (("rtsp://127.0.0.1:1/x",), "kind video or audio, and none is left"),
    ],
)
def test_what_cannot_be_is_one_sentence(cli, sensors, tmp_path, words: tuple[str, ...], said: str):
    done = cli("run", sensors, *words, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
