"""A live run on topics of ROS 2 that publishes topics of ROS 2, heard as a node of rmw_zenoh hears them."""

from __future__ import annotations

import json

import pytest

zenoh = pytest.importorskip("zenoh")
pytest.importorskip("rosbags")

from rosbags.typesys import Stores, get_typestore

from taemi_edge.errors import RecipeError
from taemi_edge.live.config import load_live_config
from tests.live.ros.network import RosNetwork, end
from tests.live.running import LiveRun

TYPES = get_typestore(Stores.ROS2_JAZZY)
#: As `ros2 topic info --verbose` prints the first; the second is computed from ROS 2's definition.
PREDICTION = (
    "5/taemi/prediction/std_msgs::msg::dds_::String_/"
    "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
)
ARRAY = "diagnostic_msgs/msg/DiagnosticArray"


class Listener:
    """A node that subscribes to both topics and looks at tokens, as rmw_zenoh does."""

    def __init__(self, router: str) -> None:
        settings = {
            "mode": "peer",
            "connect": {"endpoints": [router], "retry": {"period_init_ms": 100, "period_max_ms": 500}},
            "listen": {"endpoints": ["tcp/127.0.0.1:0"]},
            "scouting": {"multicast": {"enabled": False}, "gossip": {"enabled": True}},
        }
        self.session = zenoh.open(zenoh.Config.from_json5(json.dumps(settings)))
        channel = zenoh.handlers.RingChannel
        self._predictions = self.session.declare_subscriber(PREDICTION, channel(1000))
        hash_ = TYPES.hash_rihs01(ARRAY)
        key = f"5/diagnostics/diagnostic_msgs::msg::dds_::DiagnosticArray_/{hash_}"
        self._diagnostics = self.session.declare_subscriber(key, channel(1000))
        self._tokens = self.session.liveliness().declare_subscriber("@ros2_lv/5/**", channel(1000), history=True)
        self.tokens: set[str] = set()
        self.predictions: list[dict] = []
        self.numbers: list[int] = []
        self.levels: dict[str, tuple[int, str]] = {}

    def look(self) -> Listener:
        while (sample := self._tokens.try_recv()) is not None:
            change = self.tokens.add if sample.kind == zenoh.SampleKind.PUT else self.tokens.discard
            change(str(sample.key_expr))
        while (sample := self._predictions.try_recv()) is not None:
            message = TYPES.deserialize_cdr(sample.payload.to_bytes(), "std_msgs/msg/String")
            self.predictions.append(json.loads(message.data))
            number, _, gid = zenoh.ext.z_deserialize(tuple[zenoh.ext.Int64, zenoh.ext.Int64, bytes], sample.attachment)
            assert len(gid) == 16
            self.numbers.append(number)
        while (sample := self._diagnostics.try_recv()) is not None:
            for status in TYPES.deserialize_cdr(sample.payload.to_bytes(), ARRAY).status:
                self.levels[status.name] = status.level, status.message
        return self

    def kinds(self) -> list[str]:
        return sorted(token.split("/")[5] for token in self.tokens if "taemi_edge" in token)


@pytest.mark.once
def test_a_run_between_topics(tmp_path, robot_folder):
    with RosNetwork() as network:
        node = network.node("/imu", "sensor_msgs/msg/Imu", "--domain", "5", "--rate", "200")
        listener = Listener(network.router)
        wrist = f"wrist=ros:/imu?domain=5&router={network.router}"
        publish = f"/taemi?domain=5&router={network.router}"
        with LiveRun(tmp_path, robot_folder, "--stream", wrist, "--ros-publish", publish) as run:
            run.wait_until(lambda: len(listener.look().predictions) >= 3)
            assert {"effort", "presence"} <= set(listener.predictions[-1])
            assert listener.numbers == list(range(1, len(listener.numbers) + 1))
            assert listener.kinds() == ["MP", "MP", "MS", "NN"]
            name = f"taemi_edge: {listener.predictions[-1]['source']}"
            run.wait_until(lambda: listener.look().levels.get(f"{name}/wrist") == (0, "live"))
            assert listener.levels[f"{name}/talk"][0] == 2
            end(node)
            run.wait_until(lambda: listener.look().levels[f"{name}/wrist"][0] == 2)
            assert listener.levels[f"{name}/wrist"][1] == "the node /talker, which published /imu, is gone"
            assert run.stop() == 0
            run.wait_until(lambda: not listener.look().kinds())
        listener.session.close()


@pytest.mark.nightly
@pytest.mark.once
def test_a_router_that_comes_later(tmp_path, robot_folder):
    network = RosNetwork()
    words = "wrist=ros:/imu?router=" + network.router, "--ros-publish", f"/taemi?domain=5&router={network.router}"
    try:
        with LiveRun(tmp_path, robot_folder, "--stream", *words) as run:
            run.wait_until(lambda: any("--ros-publish: no Zenoh router answers" in line for line in run.log))
            run.wait_until(lambda: run.predictions)
            network.start_router()
            listener = Listener(network.router)
            run.wait_until(lambda: listener.look().predictions)
            listener.session.close()
            assert run.stop() == 0
    finally:
        network.__exit__()


@pytest.mark.parametrize(
    ("publish", "said"),
    [
        ("taemi", "expected what topics can begin with, such as /taemi, got 'taemi'"),
        ("/taemi?type=std_msgs/String", "expected no type, which is for topics that are read"),
        ("/taemi?router=http://me:secret%40host", "expected router=tcp/HOST:PORT such as tcp/localhost:7447"),
        ("/taemi?domain=999", "expected domain from 0 to 232, got '999'"),
    ],
)
def test_what_is_refused(publish, said):
    with pytest.raises(RecipeError) as error:
        load_live_config(None, {"source": [{"name": "a", "streams": {"x": "ros:/x"}}], "ros": {"publish": publish}})
    assert said in str(error.value)
    assert "secret" not in str(error.value)
