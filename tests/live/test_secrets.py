"""No form of an address lets its secret out: not in logs, errors, lines, metrics, pages, nor lists of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.cli import main as command_line
from taemi_edge.errors import TaemiError
from taemi_edge.live.capture.addresses import default_name, parse_address
from taemi_edge.media.places import shown_place
from tests.live.captured import needs_gst
from tests.live.page.client import get
from tests.live.running import LiveRun

SECRET = "hunter2Xq"
HOST = "127.0.0.1:1"

#: Addresses that a run takes, and cannot reach.
UNREACHABLE = [
    f"rtsp://me:{SECRET}@{HOST}/1",
    f"rtsp://{SECRET}@{HOST}/1",
    f"rtsp://me:{SECRET}@x@{HOST}/1",
    f"rtsp://me:x@{SECRET}@{HOST}/1",
    f"rtsp://me:{SECRET}%40x@{HOST}/1",
    f"rtsp://me:pass {SECRET}@{HOST}/1",
    f"rtsp://me:{SECRET}/0@{HOST}/1",
    f"rtsp://me:{SECRET}?x#y@{HOST}/1",
    f"rtsp://me:{SECRET}@[::1]:1/1",
    f"rtsp://{HOST}/user=admin_password={SECRET}_channel=1.sdp",
    f"rtsp://{HOST}/user=admin&password={SECRET}&channel=1.sdp?real_stream",
    f"rtsp://{HOST}/cam/realmonitor?channel=1&subtype=0&pwd={SECRET}",
    f"rtsp://{HOST}/{SECRET}",
    f"rtsp://{HOST}/live;pwd={SECRET}",
    f"rtsp://{HOST};pwd={SECRET}/live",
    f"rtsp://{HOST}/live?{SECRET}",
    f"rtsp://{HOST}/live#{SECRET}",
    f"RTSP://me:{SECRET}@{HOST}/1",
    f"rtsps://me:{SECRET}@{HOST}/1",
    f"rtmp://{HOST}/live/{SECRET}",
    f"rtmp://{HOST}/live/stream pwd={SECRET} live=1",
    f"rtmps://{HOST}/live2/{SECRET}-abcd?key={SECRET}",
    f"http://{HOST}/live.m3u8?token={SECRET}&x=1",
    f"http://{HOST}/{SECRET}/index.m3u8",
    f"http://{HOST}/live.m3u8?{SECRET * 40}",
    f"https://me:{SECRET}@{HOST}/live.ts",
    f"srt://{HOST}?streamid=read:{SECRET}",
    f"srt://{HOST}?mode=caller&passphrase={SECRET}",
    f"tcp://me:{SECRET}@{HOST}",
    f"alsa:hw:{SECRET}@x",
]
PIPELINES = [
    f"gst:rtspsrc location=rtsp://me:{SECRET}@{HOST}/1 ! decodebin ! appsink",
    f'gst:rtspsrc location="rtsp://{HOST}/1" user-id=me user-pw="{SECRET}" ! decodebin ! appsink',
    f"gst:rtspsrc location=rtsp://{HOST}/1 proxy=http://{HOST} proxy-id=me proxy-pw={SECRET} ! decodebin ! appsink",
    f"gst:srtsrc uri=srt://{HOST} passphrase={SECRET} ! decodebin ! appsink",
    f'gst:souphttpsrc location=http://{HOST} extra-headers="h,Authorization=(string){SECRET}" ! decodebin ! appsink',
    f"gst:rtspsrc location=rtsp://me:my {SECRET} word@{HOST}/1 ! decodebin ! appsink",
    f"gst:rtspsrc location=rtsp://me:my ! {SECRET} ! word@{HOST}/1 ! decodebin ! appsink",
    f"gst:filesrc location=/nowhere/{SECRET} ! decodebin ! appsink",
    f"gst:{SECRET} ! appsink",
]
#: What is refused before anything is connected.
MISTYPED = [
    f"rtsp:/me:{SECRET}@{HOST}/1",
    f"rtsp:me:{SECRET}@{HOST}/1",
    f"rtsp//me:{SECRET}@{HOST}/1",
    f"rtsp;//me:{SECRET}@{HOST}/1",
    f" rtsp://me:{SECRET}@{HOST}/1",
    f"rtps://me:{SECRET}@{HOST}/1",
    f"//me:{SECRET}@{HOST}/1",
    f"me:{SECRET}@{HOST}/1",
    f"me_1:{SECRET}@{HOST}",
    f"{HOST}/user=admin_password={SECRET}_channel=1.sdp",
    f"user=admin_password={SECRET}_channel=1.sdp",
    f"a.rtmp.example/live2/{SECRET}",
    f'pulse:x" ! {SECRET}',
    f"env:{SECRET}:x",
    f"rtmp:/{HOST}/live/{SECRET}",
    f"mqtt:/me:{SECRET}@{HOST}/imu",
    f"mqtt://me:{SECRET}/x@{HOST}/imu",
    f"mqtt://me:x?{SECRET}@{HOST}/imu",
    f"mqtts://{HOST}/imu?password={SECRET}",
    f"serial:{SECRET}",
]
#: Words of other options, and places where no address belongs.
MISPLACED: list[list[str]] = [
    ["--push", f"http://{HOST}/{SECRET}"],
    ["--push", f"rtmp:/{HOST}/live/{SECRET}"],
    ["--push", f"{HOST}/live/{SECRET}"],
    ["--mqtt", f"mqtt://me:{SECRET}@broker:1883"],
    ["--mqtt", f"me:{SECRET}@broker:1883"],
    ["--serve", f"http://me:{SECRET}@127.0.0.1:0"],
    ["--device", f"rtsp://me:{SECRET}@{HOST}/1"],
    ["--window", f"rtsp://me:{SECRET}@{HOST}/1"],
    [f"--windw=rtsp://me:{SECRET}@{HOST}/1"],
    ["--stream", f"rtsp://{HOST}/user=admin_password={SECRET}"],
    ["--stream", f"text=mqtt://me:{SECRET}@{HOST}/x?qos=9"],
    ["--stream", f"text=mqtt:me:{SECRET}@{HOST}/x"],
    ["--stream", f"text=udp://me:{SECRET}@{HOST}/x"],
    ["--stream", f"text=serial:{HOST}?baud={SECRET[:3]}@{SECRET}"],
    ["--stream", f"nosuch=rtsp://me:{SECRET}@{HOST}/1"],
    ["--stream", f"text=http://me:{SECRET}@{HOST}/1.vtt"],
    ["--transcript", f"http://me:{SECRET}@{HOST}/1.vtt"],
    ["--drop", f"rtsp://me:{SECRET}@{HOST}/1"],
    ["--set", f"rtsp://me:{SECRET}@{HOST}/1"],
    ["--set", f"watch.rtsp_transport=rtsp://me:{SECRET}@{HOST}/1"],
    ["--set", f"source=rtsp://me:{SECRET}@{HOST}/1"],
    ["--config", f"rtsp://me:{SECRET}@{HOST}/1"],
    ["--record", f"rtsp://me:{SECRET}@{HOST}/1"],
    ["--annotate", f"rtmp://me:{SECRET}@{HOST}/live/{SECRET}"],
    ["--plot", f"rtmp://me:{SECRET}@{HOST}/live/{SECRET}"],
]


def _said_by(words: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """What the command line says in this process, and its exit code."""
    monkeypatch.setattr(sys, "argv", ["taemi-edge", *words])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out + captured.err


@pytest.mark.parametrize("address", MISTYPED)
@pytest.mark.parametrize("live", [True, False])
def test_a_mistyped_address_is_refused_without_its_secret(address, live, tiny_folder, capsys, monkeypatch):
    words = ["run", str(tiny_folder), address, *(["--live", "--duration", "0.1"] if live else [])]
    code, said = _said_by(words, capsys, monkeypatch)
    assert code == 2
    assert SECRET not in said
    assert "expected" in said.splitlines()[-1]


@pytest.mark.parametrize("words", MISPLACED)
def test_a_misplaced_address_is_refused_without_its_secret(words, tiny_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given_words in (words, ["--live", "--duration", "0.1", *words]):
        code, said = _said_by(["run", str(tiny_folder), "nothing.mp4", *given_words], capsys, monkeypatch)
        assert code == 2
        assert SECRET not in "".join(said.split())


@pytest.mark.parametrize(
    "command", ["run", "inspect", "parity", "evaluate", "export", "nosuch", f"rtsp://{SECRET}@h/1"]
)
def test_an_address_in_the_place_of_anything_else_is_not_repeated(command, capsys, monkeypatch):
    for words in ([f"rtsp://me:{SECRET}@{HOST}/1"], ["x", f"rtsp://me:{SECRET}@{HOST}/1", f"http://h/{SECRET}"]):
        code, said = _said_by([command, *words], capsys, monkeypatch)
        assert code == 2
        assert SECRET not in "".join(said.split())


def _configuration(file: Path, folder: Path, addresses: list[str]) -> None:
    sources = [f"[[source]]\nname = 's{at}'\nuri = '''{address}'''\n" for at, address in enumerate(addresses)]
    file.write_text(
        f"bundle = '{folder}'\n[serve]\naddress = '127.0.0.1:0'\n"
        f"[record]\nfolder = '{file.parent / 'clips'}'\n" + "".join(sources)
    )


@pytest.mark.once
@needs_gst
def test_what_cannot_be_reached_is_said_everywhere_without_its_secret(tiny_folder, tmp_path):
    """They stand in a configuration file: the lists of processes do not show them either."""
    config, told = tmp_path / "live.toml", {"text": ""}
    addresses = [*UNREACHABLE, *PIPELINES, "env:DOOR"]
    _configuration(config, tiny_folder, addresses)
    environment = {**os.environ, "DOOR": f"rtsp://me:{SECRET}@{HOST}/1"}
    with LiveRun(tmp_path, tiny_folder, "--config", config, "--hop", "0.5", env=environment) as run:
        run.wait_until(lambda: all(any(f" s{at}: " in line for line in run.log) for at in range(len(addresses))), 60)
        url = next(line.rpartition(" ")[2] for line in run.log if "watch it at" in line)
        for page in ("metrics", "healthz"):
            told["text"] += get(url + page)[1]  # of a run that is still starting as well, which is no 200
        processes = _arguments_of_children(run.process.pid)
        run.stop()
    told["text"] += "\n".join([*run.log, *map(json.dumps, [*run.predictions, *run.events]), *processes])
    told["text"] += "".join(f"{file} {file.read_bytes()!r}" for file in (tmp_path / "clips").rglob("*.jsonl"))
    assert SECRET not in told["text"]
    assert "Traceback" not in told["text"]


def _arguments_of_children(pid: int) -> list[str]:
    """The command lines of the processes that a process has started; waits for one of them."""
    found = subprocess.run(["/usr/bin/pgrep", "-P", str(pid), "-a"], capture_output=True, text=True, check=False)
    until = time.monotonic() + 5
    while not found.stdout and time.monotonic() < until:
        time.sleep(0.05)
        found = subprocess.run(["/usr/bin/pgrep", "-P", str(pid), "-a"], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()


def test_typed_addresses_without_names_are_shown_by_their_host(tiny_folder, capfd, monkeypatch):
    """In this process: thirty sources that have no names get one each, and none of them holds a secret."""
    words = ["run", str(tiny_folder), *UNREACHABLE, "--duration", "0.6", "--hop", "0.5", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["taemi-edge", *words])
    monkeypatch.setattr(os, "_exit", lambda code: sys.exit(code))
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1  # none of them ever gave anything
    captured = capfd.readouterr()
    names = {json.loads(line)["source"] for line in captured.out.splitlines()}
    assert len(names) == len(UNREACHABLE)
    assert SECRET not in captured.out + captured.err


def test_a_server_that_cannot_be_pushed_to_is_named_without_its_key(tiny_folder, demo_video, cli):
    words = ["run", tiny_folder, demo_video, "--push", "env:PUSH_TO", "--duration", "1.2", "--threads", "1"]
    done = cli(*words, env={**os.environ, "PUSH_TO": f"rtmp://{HOST}/live/{SECRET}"})
    assert done.returncode == 0
    assert f"--push rtmp://{HOST}/live/...: lost" in done.stderr
    assert SECRET not in done.stdout + done.stderr


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SIGNS = st.sampled_from(["", "/", ":", "@", "?", "#", ";", "=", "&", "%40", " ", "!", "//", "[", "]", ".", "'", '"'])


@st.composite
def addresses_with_a_secret(draw: st.DrawFn) -> str:
    """Something like a URL, with the secret in any component but the host and the port."""
    scheme = draw(st.sampled_from(["rtsp", "RTSPS", "rtmp", "http", "https", "srt", "udp", "gst", "pulse", "alsa", ""]))
    colon = draw(st.sampled_from(["://", ":", ":/", "//", ";//", ":///"]))
    before = draw(st.sampled_from(["", f"{SECRET}@", f"me:{SECRET}@", f"me:{SECRET}/x@", f"me:x@{SECRET}@"]))
    host = draw(st.sampled_from(["cam.local", "192.168.0.7:554", "[::1]:554", ""]))
    behind = "".join(f"{draw(SIGNS)}{draw(PARTS)}" for _ in range(draw(st.integers(0, 3))))
    end = draw(st.sampled_from(["/", "?", "#", ";", "/x=", "?k=", "/live/", " pwd=", "/a@"]))
    return f"{scheme}{colon}{before}{host}{behind}{end}{SECRET}{draw(SIGNS)}{draw(PARTS)}"


@settings(max_examples=100, deadline=None)
@given(addresses_with_a_secret())
def test_no_component_of_an_address_is_shown_that_may_be_a_secret(address):
    assert SECRET not in shown_place(address)
    try:
        assert SECRET not in parse_address(address).shown
        assert SECRET not in default_name(address)
    except TaemiError as error:
        assert SECRET not in str(error)
        assert "\n" not in str(error)
