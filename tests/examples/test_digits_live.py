"""A digit on the page, whose six views are lost one by one while it holds; and a table of digits that is judged."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="examples are PyTorch models")
pytest.importorskip("onnx", reason="graphs are checked with onnx")
pytest.importorskip("starlette", reason="the page needs the extra `serve`")

import taemi_edge as te
from tests.examples.loading import load_example
from tests.live.browser import CHROMIUM, Browser
from tests.live.running import LiveRun
from tests.live.servers import free_port

#: A nine of the test split. Most digits hold to their last view; without any, the model names its prior, a nine.
NINE = 9
LOST_IN_TURN = ("zer", "pix", "mor", "kar", "fou", "fac")
#: What the page says now: the state of each lamp, and the best class of the newest prediction.
SHOWN = """({
  lamps: Object.fromEntries(
    [...document.querySelectorAll('#lamps li')].map((e) => [e.dataset.modality, e.dataset.state])),
  best: document.querySelector('[data-output=digit] .best-now').textContent.split(' ')[0],
})"""


class ViewSender:
    """Sends one view of a digit to its socket, until it hangs up."""

    def __init__(self, path: Path, values: list[float]) -> None:
        self._line = json.dumps({"values": values}).encode() + b"\n"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _send(self) -> None:
        while not self._over.wait(0.1):
            self._socket.sendall(self._line)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "digits"
    te.export_model(load_example("digits").build(), folder)
    return folder


@pytest.mark.once
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: tools/install_test_servers.sh")
def test_six_lamps_go_out_one_by_one_while_the_digit_holds(digits, tmp_path):
    views, labels = load_example("digits", "digits_data.py").load_few()
    assert labels[NINE] == 9
    places = {view: tmp_path / f"{view}.sock" for view in views}
    words = [word for view, path in places.items() for word in ("--stream", f"{view}=unix:{path}")]
    port = free_port()
    with (
        LiveRun(tmp_path, digits, "digit", *words, "--hop", 0.5, "--serve", f"127.0.0.1:{port}") as run,
        Browser() as browser,
    ):
        run.wait_until(lambda: run.predictions)
        senders = {view: ViewSender(path, views[view][NINE].tolist()) for view, path in places.items()}
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait_for("document.querySelectorAll('#lamps [data-state=live]').length === 6")
        lost: list[str] = []
        for view in (*LOST_IN_TURN, None):
            wanted = {name: "missing" if name in lost else "live" for name in views}
            # a prediction of just these views has come to the page
            run.wait_until(lambda wanted=wanted: run.predictions[-1]["presence"] == wanted)
            browser.wait_for(f"groups[0].plot.data[0].at(-1) >= {run.predictions[-1]['time_s']}")
            shown = browser.evaluate(SHOWN)
            assert shown == {"lamps": wanted, "best": "nine"}
            if view is not None:
                senders[view].hang_up()
                lost.append(view)
        assert run.predictions[-1]["digit"]["probabilities"]["nine"] < 0.2  # nothing is left but the prior
        assert browser.problems == []


def test_a_table_of_digits_is_judged_in_every_pattern(digits, cli, tmp_path):
    views, labels = load_example("digits", "digits_data.py").load_few()
    columns = [f"{view}.{number}" for view, values in views.items() for number in range(values.shape[1])]
    rows = np.concatenate([*views.values()], axis=1)[:20]
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    lines = [",".join([*columns, "label/digit"])]
    lines += [",".join([*map(repr, row.tolist()), names[digit]]) for row, digit in zip(rows, labels[:20], strict=True)]
    (tmp_path / "samples.csv").write_text("\n".join(lines))
    done = cli("evaluate", digits, "--data", tmp_path, "--metric", "macro_f1", "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["metric"], found["clean"]["clips"], len(found["patterns"])) == ("macro_f1", 20, 63)
    assert found["value"] > 0.9
    assert found["patterns"]["none"]["value"] < 0.1
