"""The ROS 2 package: what it makes of real messages, and the node itself in a real ROS 2 where one can be installed."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")

import taemi_edge as te
from taemi_edge.errors import MessageError
from tests.robots.definitions import EXTRA, cdr, types
from tests.robots.messages import Form, imu, messages

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "ros2"
#: On the node's clock; no multiple of the window.
BEGINS_NS = 1_000 * 10**9
STREAMS = ["eye=/camera/image_raw", "wrist=/imu/data.angular_velocity,linear_acceleration", "talk=/transcript"]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch):
    """The modules that do not need rclpy."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    from taemi_edge_ros import definitions, feed, status

    yield feed, status, definitions
    for name in [name for name in sys.modules if name.startswith("taemi_edge_ros")]:
        del sys.modules[name]


@pytest.fixture
def fed(package, robot_folder):
    """A feed that is connected to all three topics."""
    feed = package[0].Feed(lambda: te.load(robot_folder), package[0].parse_streams(STREAMS))
    feed.connect("eye", "sensor_msgs/msg/Image")
    feed.connect("wrist", "sensor_msgs/msg/Imu")
    feed.connect("talk", "std_msgs/msg/String")
    yield feed
    feed.close()


def test_a_drive_gives_the_predictions_of_its_files(fed, drive, robot_folder):
    of_topic = {"/camera/image_raw": "eye", "/imu/data": "wrist", "/transcript": "talk"}
    sent = [one for one in messages(drive, Form(words="plain"), BEGINS_NS) if one.topic in of_topic]
    predictions = []
    for at in range(1, 11):
        end_ns = BEGINS_NS + at * 500_000_000
        while sent and sent[0].stamp_ns <= end_ns:
            one = sent.pop(0)
            fed.take(of_topic[one.topic], one.data, one.stamp_ns)
        predictions.append(fed.predict(end_ns))
    with te.load(robot_folder) as model:
        expected = list(model.run(streams=drive.files))[:10]
    assert not fed.left_out
    assert [prediction.presence for prediction in predictions] == [prediction.presence for prediction in expected]
    for prediction, wanted in zip(predictions, expected, strict=True):
        got, right = prediction.outputs["effort"], wanted.outputs["effort"]
        np.testing.assert_allclose(list(got.values()), list(right.values()), atol=1e-4)


def test_a_clock_that_stands_still_or_goes_back(fed, drive):
    assert fed.predict(BEGINS_NS) is not None
    assert fed.predict(BEGINS_NS) is None
    fed.take("wrist", cdr(imu(drive.imu[0], 5 * 10**9)), 5 * 10**9)
    again = fed.predict(5 * 10**9 + 1000)
    assert again.time_s == pytest.approx(5.000001)
    assert again.window_s[0] <= 5.0


@pytest.mark.parametrize("stamp_ns", [0, BEGINS_NS - 3600 * 10**9, BEGINS_NS + 3600 * 10**9])
def test_a_stamp_of_another_clock_is_none(fed, drive, stamp_ns):
    for at in range(100):
        now_ns = BEGINS_NS + at * 5_000_000
        fed.take("wrist", cdr(imu(drive.imu[at], stamp_ns)), now_ns)
    assert fed.predict(BEGINS_NS + 500_000_000).presence["wrist"] == "live"


def test_a_message_that_cannot_be_used_is_counted(fed):
    fed.take("wrist", b"\x00\x01\x00\x00short", BEGINS_NS)
    fed.take("wrist", cdr(imu([np.nan] * 6, BEGINS_NS)), BEGINS_NS)
    assert fed.left_out["wrist"] == 2
    assert "finite" in fed.problems["wrist"]
    assert fed.predict(BEGINS_NS + 1).presence["wrist"] == "missing"


def test_streams_and_types_that_do_not_fit(package, fed, robot_folder):
    for words in (["eye"], ["eye=/a", "eye=/b"], ["=/a"]):
        with pytest.raises(ValueError, match="STREAM=TOPIC"):
            package[0].parse_streams(words)
    with pytest.raises(ValueError, match="expected streams among eye, wrist, talk"):
        package[0].Feed(lambda: te.load(robot_folder), package[0].parse_streams(["nose=/a"]))
    with pytest.raises(MessageError):
        fed.connect("eye", "sensor_msgs/msg/Imu")


def test_presence_becomes_levels(package, fed, drive):
    fed.take("eye", next(messages(drive, start_ns=BEGINS_NS)).data, BEGINS_NS)  # an Imu, on the wrong topic
    statuses = package[1].statuses("taemi_edge", fed.predict(BEGINS_NS + 1))
    assert [(one.level, one.name) for one in statuses] == [
        (2, f"taemi_edge: {name}") for name in ("eye", "wrist", "talk")
    ]
    assert statuses[0].message.startswith("missing: ")
    assert statuses[0].values == {"presence": "missing", "age_ms": ""}


def test_definitions_are_found_where_packages_are_installed(package, tmp_path: Path):
    name = "my_robot_msgs/msg/Gripper"
    installed = {name: EXTRA[name], "std_msgs/msg/Header": "builtin_interfaces/Time stamp\nstring frame_id\n"}
    installed["builtin_interfaces/msg/Time"] = "# seconds\nint32 sec\nuint32 nanosec\n"
    for one, text in installed.items():
        owner, _, short = one.split("/")
        (tmp_path / owner / "msg").mkdir(parents=True, exist_ok=True)
        (tmp_path / owner / "msg" / f"{short}.msg").write_text(text)
    found = package[2].ros2msg_of(name, lambda owner: tmp_path / owner)
    from rosbags.typesys import get_types_from_msg

    read = get_types_from_msg(found.decode(), name)
    assert set(read) == set(installed)
    assert str(read[name][1]) == str(types().fielddefs[name][1])
    with pytest.raises(OSError, match="geometry_msgs"):
        package[2].ros2msg_of("geometry_msgs/msg/Pose", lambda owner: tmp_path / owner)


def test_the_package_is_one_that_colcon_installs():
    manifest = ElementTree.parse(PACKAGE / "package.xml").getroot()  # noqa: S314 - a file of ours
    name = manifest.findtext("name")
    assert manifest.findtext("export/build_type") == "ament_python"
    setup = (PACKAGE / "setup.py").read_text("utf-8")
    assert f'"{name}"' in setup
    assert (PACKAGE / "resource" / name).is_file()
    assert (PACKAGE / name / "node.py").is_file()
    node = (PACKAGE / name / "node.py").read_text("utf-8")
    parameters = (PACKAGE / "config" / "predict.yaml").read_text("utf-8")
    for parameter in ("bundle", "streams", "hop_s", "device", "depth"):
        assert f'declare_parameter("{parameter}"' in node
        assert f"\n    {parameter}:" in parameters
    compile((PACKAGE / "launch" / "predict.launch.py").read_text("utf-8"), "predict.launch.py", "exec")


@pytest.fixture(scope="module")
def ros() -> Path:
    """A virtual environment with ROS 2 Jazzy; made once for this user."""
    made = subprocess.run([ROOT / "tools" / "install_ros.sh"], capture_output=True, text=True, timeout=280, check=False)
    if made.returncode:
        pytest.skip(made.stderr.strip())
    return Path(made.stdout.strip())


@pytest.mark.nightly
@pytest.mark.parametrize(("clock", "rate"), [(False, 1.0), (True, 0.5), (True, 2.0)])
def test_the_node_runs_in_a_real_ros(ros, drive, robot_folder, tmp_path: Path, clock, rate):
    topics = ("/camera/image_raw", "/imu/data", "/transcript")
    sent = [one for one in messages(drive, Form(words="plain"), 0) if one.topic in topics]
    given = [[one.topic, one.type, one.log_ns / 1e9, base64.b64encode(one.data).decode()] for one in sent]
    (tmp_path / "messages.json").write_text(json.dumps(given))
    environment = {
        **os.environ,
        "AMENT_PREFIX_PATH": str(ros),
        "PYTHONPATH": f"{ROOT}:{PACKAGE}",
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_LOCALHOST_ONLY": "1",
        "ROS_LOG_DIR": str(tmp_path / "log"),
    }
    wanted = ", ".join(f"'{word}'" for word in STREAMS)
    parameters = [f"bundle:={robot_folder}", f"streams:=[{wanted}]", f"use_sim_time:={str(clock).lower()}"]
    options = [word for parameter in parameters for word in ("-p", parameter)]
    python = ros / "bin" / "python"
    with (tmp_path / "node.log").open("w") as log:
        command = [python, "-m", "taemi_edge_ros.node", "--ros-args", *options]
        node = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        player = [python, Path(__file__).with_name("ros_player.py"), tmp_path / "messages.json", tmp_path / "out.jsonl"]
        player += ["--rate", str(rate), *(["--clock"] if clock else [])]
        subprocess.run(player, env=environment, timeout=120, check=True)
    finally:
        node.send_signal(signal.SIGINT)
        try:
            node.wait(20)
        finally:
            node.kill()
    *predictions, last = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    told = (tmp_path / "node.log").read_text("utf-8")
    assert node.returncode == 0, told
    assert len(last["levels"]) == 3
    full = [one for one in predictions if set(one["presence"].values()) == {"live"}]
    assert len(full) >= 5, told
    steps_s = np.diff([one["time_s"] for one in predictions])
    assert np.median(steps_s) == pytest.approx(0.5, abs=0.1)  # hops are on the clock that the node follows
    if clock:
        assert all(100 <= one["time_s"] < 120 for one in predictions if one["time_s"])


@pytest.mark.nightly
@pytest.mark.parametrize(
    "wrong", ["hop_s:=-1.0", "hop_s:=1", "depth:=0", "depth:=many", "streams:=[eye]", "bundle:=/no"]
)
def test_wrong_parameters_are_said_in_a_sentence(ros, robot_folder, tmp_path: Path, wrong):
    environment = {
        **os.environ,
        "AMENT_PREFIX_PATH": str(ros),
        "PYTHONPATH": f"{ROOT}:{PACKAGE}",
        "ROS_LOG_DIR": str(tmp_path / "log"),
    }
    command = [ros / "bin" / "python", "-m", "taemi_edge_ros.node", "--ros-args"]
    command += ["-p", f"bundle:={robot_folder}", "-p", "streams:=['eye=/camera']", "-p", wrong]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("taemi_edge_ros: ")
    assert "Traceback" not in ended.stderr
