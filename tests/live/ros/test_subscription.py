"""Topics of nodes in other processes: who publishes them, what comes, and what happens when a node dies."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("zenoh")
pytest.importorskip("rosbags")

from taemi_edge.live.ros.names import TopicKind
from taemi_edge.live.ros.place import RosPlace, ZenohPlace
from taemi_edge.live.ros.session import UnreachableError, open_session
from taemi_edge.live.ros.subscription import TopicMessage, TopicSubscription
from tests.live.ros.network import RosNetwork, end, until

STRING = "std_msgs/msg/String"
WORDS = RosPlace("/words")
HASH = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"

pytestmark = pytest.mark.once


@pytest.fixture(params=["peer", "client"])
def place(request):
    with RosNetwork() as network:
        yield network, ZenohPlace(network.router, "", request.param)


def test_who_publishes_what_and_until_when(place):
    network, zenoh = place
    session = open_session(zenoh)
    subscription = TopicSubscription(session, WORDS, 100, history=False)
    try:
        assert subscription.look() == []
        assert not subscription.had_publishers
        node = network.node("/words", STRING, "--rate", "50")
        taken: list[TopicMessage] = []
        until(lambda: subscription.look() or taken.extend(subscription.take(time.monotonic(), 10)) or len(taken) > 5)
        assert subscription.kinds == {TopicKind(STRING, HASH): "/talker"}
        assert {message.kind for message in taken} == {TopicKind(STRING, HASH)}
        assert abs(taken[-1].sent_ns - time.time_ns()) < 30e9
        assert subscription.lost == 0
        gone = []
        end(node)
        noticed_s = until(lambda: gone.extend(subscription.look()) or gone)
        assert gone[0].node == "/talker"
        assert not subscription.publishers
        assert noticed_s < 10
    finally:
        subscription.close()
        session.close()


@pytest.mark.nightly
def test_the_router_goes_away_and_comes_back(place):
    network, zenoh = place
    session = open_session(zenoh)
    subscription = TopicSubscription(session, WORDS, 100, history=False)
    try:
        network.kill_router()
        until(lambda: not session.is_connected())
        network.start_router()
        network.node("/words", STRING)
        until(lambda: subscription.look() or subscription.take(time.monotonic(), 10))
    finally:
        subscription.close()
        session.close()


def test_the_last_message_of_a_node_that_keeps_it():
    with RosNetwork() as network:
        node = network.node("/words", STRING, "--count", "3", "--keep-last", "--stay")
        assert node.stdout.readline() == '{"sent": 3}\n'
        session = open_session(ZenohPlace(network.router))
        subscription = TopicSubscription(session, WORDS, 100, history=True)
        try:
            taken: list[TopicMessage] = []
            until(lambda: subscription.look() or taken.extend(subscription.take(time.monotonic(), 10)) or taken)
            assert [message.data[8:].rstrip(b"\0") for message in taken] == [b"word 3"]
        finally:
            subscription.close()
            session.close()


@pytest.mark.nightly
def test_of_messages_that_nobody_takes_the_newest_stay_and_the_rest_are_counted():
    with RosNetwork() as network:
        session = open_session(ZenohPlace(network.router))
        subscription = TopicSubscription(session, WORDS, 10, history=False)
        try:
            network.node("/words", STRING, "--rate", "20")
            taken: list[TopicMessage] = []
            until(lambda: taken.extend(subscription.take(time.monotonic(), 1)) or taken)
            node = network.node("/words", STRING, "--count", "200", "--rate", "2000", "--node", "quick", "--stay")
            assert node.stdout.readline() == '{"sent": 200}\n'
            time.sleep(0.5)
            assert len(subscription.take(time.monotonic(), 100)) <= 10
            assert subscription.lost > 0
        finally:
            subscription.close()
            session.close()


def test_streams_of_one_place_share_a_session():
    with RosNetwork() as network:
        first, second = open_session(ZenohPlace(network.router)), open_session(ZenohPlace(network.router))
        assert first is second
        first.close()
        assert not second.zenoh.is_closed()
        second.close()
        assert first.zenoh.is_closed()
        third = open_session(ZenohPlace(network.router))
        assert third is not first
        third.close()


def test_where_nobody_answers_and_what_cannot_be_read(tmp_path):
    with pytest.raises(UnreachableError, match=r"^no Zenoh router answers at tcp/127.0.0.1:1: start one") as error:
        open_session(ZenohPlace("tcp/127.0.0.1:1"))
    assert not error.value.lasting
    with pytest.raises(UnreachableError, match="cannot be used") as error:
        open_session(ZenohPlace("", str(tmp_path / "none.json5")))
    assert error.value.lasting
