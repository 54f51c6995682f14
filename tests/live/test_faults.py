"""Real servers that are killed, hung, refused, half-open and changed while a live run goes on."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time

import pytest

from tests.live.running import LiveRun, was_needlessly_encoded
from tests.live.servers import Relay, RtspServer, free_port

pytestmark = pytest.mark.usefixtures("needs_rtsp_server")
#: Noticed within this, as asked; the watch looks ten times a second, and files are read every 20 ms.
NOTICED_S = 1.5
LATE_S = 0.3


def check_predictions(run: LiveRun) -> None:
    """Every prediction is finite, on its grid, and none is left out."""
    times_s = [p["time_s"] for p in run.predictions]
    hop_s = times_s[1] - times_s[0]
    assert times_s == pytest.approx([times_s[0] + i * hop_s for i in range(len(times_s))])
    assert all(math.isfinite(v) for p in run.predictions for v in p["intensities"].values())
    for prediction in run.predictions:
        for modality, state in prediction["presence"].items():
            assert (state == "live") == (modality not in prediction["reason"])
            assert (prediction["age_ms"][modality] is None) == (state == "missing")
            assert not was_needlessly_encoded(prediction, modality), str(prediction)


def test_a_killed_server_is_noticed_at_once_and_its_return_within_two_seconds(tiny_folder, lasting_clip, tmp_path):
    server = RtspServer(lasting_clip)
    with LiveRun(tmp_path, tiny_folder, f"cam={server.url}") as run:
        run.wait_until(lambda: len(run.predictions) >= 3)  # predictions come before there is any stream
        assert run.predictions[-1]["reason"]["vision"] == "connection refused: nothing listens there"
        assert run.predictions[-1]["status"] == "no signal"
        server.start()
        run.wait_for("vision", "live")
        run.wait_for("audio", "live")
        for _ in range(2):
            before = len(run.events)
            server.kill()
            killed = time.monotonic()
            event = run.wait_for_event("vision", "missing", before)
            assert time.monotonic() - killed < 1.0  # at once, on cores that others share
            assert event["reason"] in ("the sender ended the stream", "the connection was reset")
            assert run.wait_for("vision", "missing") + time.monotonic() - killed < 2.0  # the next hop has the token
            server.start()
            returned = time.monotonic()
            run.wait_for("vision", "recovering", "live")
            assert time.monotonic() - returned < 2.0 + 0.65  # the hop and its settling
            run.wait_for("vision", "live")
            run.wait_for("audio", "live")
        assert run.stop() == 0
    server.kill()
    check_predictions(run)
    assert "2 reconnects" in run.log[-1]


@pytest.mark.once
def test_a_server_that_hangs_is_lost_by_silence_and_comes_back(tiny_folder, lasting_clip, tmp_path):
    with RtspServer(lasting_clip) as server, LiveRun(tmp_path, tiny_folder, f"cam={server.url}") as run:
        run.wait_for("audio", "live")
        before = len(run.events)
        server.hang()
        hung = time.monotonic()
        event = run.wait_for_event("vision", "missing", before)
        assert time.monotonic() - hung < NOTICED_S + LATE_S
        assert "nothing came" in event["reason"]
        run.wait_for("vision", "missing")
        time.sleep(2)
        server.go_on()
        went_on = time.monotonic()
        run.wait_for("vision", "live")
        run.wait_for("audio", "live")
        assert time.monotonic() - went_on < 6
    check_predictions(run)


@pytest.mark.once
def test_a_line_that_is_half_open_is_lost_by_silence(tiny_folder, lasting_clip, tmp_path):
    with RtspServer(lasting_clip) as server, Relay(server.port) as relay:
        url = f"rtsp://127.0.0.1:{relay.port}/live"
        with LiveRun(tmp_path, tiny_folder, f"cam={url}", "--set", "watch.open_timeout_s=2") as run:
            run.wait_for("audio", "live")
            before = len(run.events)
            relay.swallow.set()
            cut = time.monotonic()
            run.wait_for_event("audio", "missing", before)
            assert time.monotonic() - cut < NOTICED_S + LATE_S
            run.wait_until(lambda: relay.connections >= 2, 15)  # it does not wait for TCP to give up
            relay.swallow.clear()
            run.wait_for("vision", "live", timeout_s=15)
        check_predictions(run)


@pytest.mark.once
def test_one_lost_track_of_two_leaves_the_other_alone(tiny_folder, lasting_clip, tmp_path):
    with RtspServer(lasting_clip) as server, LiveRun(tmp_path, tiny_folder, f"cam={server.url}") as run:
        run.wait_for("audio", "live")
        server.tell("drop audio on")
        dropped = time.monotonic()
        event = run.wait_for_event("audio", "missing", len(run.events))
        assert time.monotonic() - dropped < NOTICED_S + LATE_S
        assert event["reason"] == "nothing came for more than 1.25 s"
        run.wait_for("audio", "missing")
        lost_at = len(run.predictions)
        run.wait_until(lambda: len(run.predictions) >= lost_at + 4)
        assert all(p["presence"]["vision"] == "live" for p in run.predictions[lost_at:])
        server.tell("drop audio off")
        run.wait_for("audio", "live")
        server.tell("drop video on")
        run.wait_for("vision", "missing")
        assert run.presence("audio") == "live"
    check_predictions(run)


@pytest.mark.once
def test_a_lost_track_that_stays_lost_is_a_reason_to_connect_anew(tiny_folder, lasting_clip, tmp_path):
    words = ("--set", "watch.rebuild_after_s=2")
    with RtspServer(lasting_clip) as server, LiveRun(tmp_path, tiny_folder, f"cam={server.url}", *words) as run:
        run.wait_for("audio", "live")
        server.tell("drop audio on")
        run.wait_until(lambda: any("did not come back" in str(p["reason"]) for p in run.predictions), 10)
        run.wait_for("vision", "live")
        assert run.stop() == 0
    assert " 0 reconnects" not in run.log[-1]


@pytest.mark.once
def test_size_and_sample_rate_may_change_on_the_way(tiny_folder, lasting_clip, tmp_path):
    with RtspServer(lasting_clip, "--encode") as server, LiveRun(tmp_path, tiny_folder, f"cam={server.url}") as run:
        run.wait_for("audio", "live")
        changed_at = len(run.predictions)
        server.tell("size 640x480")
        run.wait_until(lambda: len(run.predictions) >= changed_at + 6)
        states = [p["presence"]["vision"] for p in run.predictions[changed_at:]]
        assert states.count("missing") <= 2  # none, unless others keep the cores from encoding what is sent
        run.wait_for("vision", "live")
        server.tell("rate 48000")  # sound then comes at another rate than was agreed on: it is lost, nothing else is
        run.wait_until(lambda: len(run.predictions) >= changed_at + 12)
        server.kill()
        run.wait_for("vision", "missing")
        server.start()
        run.wait_for("vision", "live")
        run.wait_for("audio", "live")
    check_predictions(run)


@pytest.mark.once
def test_wrong_credentials_are_named_and_never_logged(tiny_folder, lasting_clip, tmp_path):
    with RtspServer(lasting_clip, "--user", "me", "--password", "right") as server:
        wrong = server.url.replace("//", "//me:wr0ng-secret@")
        with LiveRun(tmp_path, tiny_folder, wrong) as run:
            run.wait_until(lambda: any("401" in str(p["reason"]) for p in run.predictions))
            assert run.predictions[-1]["reason"]["vision"] == "wrong name or password (401)"
            assert run.predictions[-1]["source"] == server.url
            run.stop()
        [told] = [line for line in run.log if "401" in line and "WARNING" in line]  # once, however often it is tried
        assert told.endswith(": wrong name or password (401); trying again")
        assert "wr0ng" not in "\n".join(run.log) + str(run.events) + str(run.predictions)
        with LiveRun(tmp_path, tiny_folder, f"cam={server.url.replace('//', '//me:right@')}") as run:
            run.wait_for("vision", "live")


@pytest.mark.once
def test_several_cameras_of_which_one_fails(tiny_folder, lasting_clip, tmp_path):
    with RtspServer(lasting_clip) as good, RtspServer(lasting_clip) as bad:
        nowhere = f"rtsp://127.0.0.1:{free_port()}/live"
        with LiveRun(tmp_path, tiny_folder, f"good={good.url}", f"bad={bad.url}", f"none={nowhere}") as run:
            by_name = lambda name: [p for p in run.predictions if p["source"] == name]  # noqa: E731
            run.wait_until(lambda: by_name("bad") and by_name("bad")[-1]["presence"]["audio"] == "live")
            run.wait_until(lambda: by_name("good")[-1]["presence"]["audio"] == "live")
            killed_at = len(by_name("good"))
            bad.kill()
            run.wait_until(lambda: by_name("bad")[-1]["presence"]["vision"] == "missing")
            run.wait_until(lambda: len(by_name("good")) > killed_at + 4)
            assert all(p["presence"]["vision"] == "live" for p in by_name("good")[killed_at:])
            assert {p["status"] for p in by_name("none")} == {"no signal"}
            assert len({p["time_s"] for p in run.predictions[-3:]}) <= 2  # one call for all


@pytest.mark.once
def test_stopping_writes_the_last_predictions_and_a_second_run_takes_the_port(tiny_folder, lasting_clip, tmp_path):
    port = free_port()
    with RtspServer(lasting_clip) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            output = tmp_path / f"{number}.jsonl"
            words = (f"cam={server.url}", "--serve", f"127.0.0.1:{port}", "--output", output)
            with LiveRun(tmp_path, tiny_folder, *words) as run:
                run.wait_until(lambda: output.exists() and len(output.read_text().splitlines()) >= 3)  # noqa: B023
                assert run.stop(number, 15) == 0
            assert output.read_text().endswith("}\n")
            assert f"stopping on {signal.Signals(number).name}" in "\n".join(run.log)


@pytest.mark.once
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_costs_lines_and_not_the_run(tiny_folder, lasting_clip, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["/usr/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with RtspServer(lasting_clip) as server:
            (disk / "filler").write_bytes(bytes(56 * 1024))
            words = (f"cam={server.url}", "--output", disk / "out.jsonl", "--hop", "0.1")
            with LiveRun(tmp_path, tiny_folder, *words) as run:
                run.wait_until(lambda: any("no space left" in line for line in run.log), 30)
                (disk / "filler").unlink()
                run.wait_until(lambda: any("written again" in line for line in run.log), 10)
                assert run.stop() == 0
            lines = (disk / "out.jsonl").read_text().splitlines()
            assert all(line.startswith("{") and line.endswith("}") for line in lines)
    finally:
        subprocess.run(["/usr/bin/umount", str(disk)], check=False)
