"""The names that ROS 2's middleware rmw_zenoh gives to topics, nodes and publishers in Zenoh.

A message of a topic has the key `DOMAIN/TOPIC/TYPE/HASH`. Everything that lives (a node, a publisher, a subscription)
holds a liveliness token, which Zenoh withdraws as soon as its owner is gone. The token's key says what it is:

@ros2_lv/DOMAIN/SESSION/NODE/ENTITY/KIND/ENCLAVE/NAMESPACE/NAME                          of a node (KIND is NN)
@ros2_lv/DOMAIN/SESSION/NODE/ENTITY/KIND/ENCLAVE/NAMESPACE/NAME/TOPIC/TYPE/HASH/QOS      of a publisher (MP), ...

Slashes inside of names become %. With each message goes an attachment: its number, when it was sent, and by whom.
Source: docs/design.md and rmw_zenoh_cpp/src/detail/{liveliness_utils,attachment_helpers,qos}.cpp of ros2/rmw_zenoh.

The program zenoh-bridge-ros2dds brings the topics of nodes that use DDS to Zenoh. Its messages have the key TOPIC and
no attachment, its tokens are `@/SESSION/@ros2_lv/MP/TOPIC/TYPE/QOS`, and slashes become the sign of a section.
Source: zenoh-plugin-ros2dds/src/liveliness_mgt.rs of eclipse-zenoh/zenoh-plugin-ros2dds.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import Literal

from taemi_edge.errors import printable

Kind = Literal["NN", "MP", "MS"]
NODE: Kind = "NN"
PUBLISHER: Kind = "MP"
SUBSCRIPTION: Kind = "MS"

_SPACE = "@ros2_lv"
_PARTS_OF_TOPIC, _PARTS_OF_BRIDGE = 13, 7
_SECTION = "\N{SECTION SIGN}"
#: Of a node's name, which its owner chooses, so much is shown.
_MOST_CHARACTERS = 200
_HASH = re.compile(r"RIHS01_[0-9a-f]{64}")
#: A fully qualified name of ROS 2: tokens of letters, digits and _ that do not begin with a digit.
_TOPIC = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")
_TYPE = re.compile(r"(?P<package>[A-Za-z][A-Za-z0-9_]*)/(?:msg/)?(?P<name>[A-Za-z][A-Za-z0-9_]*)")
_TYPE_IN_KEY = re.compile(r"(?P<package>[A-Za-z][A-Za-z0-9_]*)::msg::dds_::(?P<name>[A-Za-z][A-Za-z0-9_]*)_")
#: What a publisher whose ROS 2 knows no hashes (Humble) writes in place of one.
NO_HASH = "TypeHashNotSupported"
#: The quality of service as tokens spell it: what is left out is the default of rmw_zenoh (reliable, volatile, the last
#: 42 messages).
QOS_DEFAULT, QOS_SENSOR = "::,:,:,:,,", "2::,5:,:,:,,"
_TRANSIENT_LOCAL = "1"
_ATTACHMENT = struct.Struct("<qqB16s")


def is_topic(name: str) -> bool:
    """Whether a text is the full name of a topic.

    >>> [is_topic(name) for name in ("/camera/image_raw", "camera", "/a//b", "/a/*")]
    [True, False, False, False]
    """
    return _TOPIC.fullmatch(name) is not None


def full_type(name: str) -> str | None:
    """A type's name in full; None where the text is none.

    >>> full_type("sensor_msgs/Imu"), full_type("sensor_msgs/msg/Imu"), full_type("Imu")
    ('sensor_msgs/msg/Imu', 'sensor_msgs/msg/Imu', None)
    """
    match = _TYPE.fullmatch(name)
    return f"{match['package']}/msg/{match['name']}" if match else None


def type_in_key(name: str) -> str:
    """How keys spell a type.

    >>> type_in_key("sensor_msgs/msg/Imu")
    'sensor_msgs::msg::dds_::Imu_'
    """
    package, _, plain = name.partition("/msg/")
    return f"{package}::msg::dds_::{plain}_"


def type_of_key(text: str) -> str | None:
    """The type that a part of a key spells; None where it is none.

    >>> type_of_key("sensor_msgs::msg::dds_::Imu_"), type_of_key("*")
    ('sensor_msgs/msg/Imu', None)
    """
    match = _TYPE_IN_KEY.fullmatch(text)
    return f"{match['package']}/msg/{match['name']}" if match else None


@dataclass(frozen=True)
class TopicKind:
    """What the messages of a publisher are.

    Attributes:
        type: such as "sensor_msgs/msg/Imu".
        hash: of the type's definition, "RIHS01_" and 64 digits; "" where it is not known.
    """

    type: str
    hash: str = ""


def bridged_key(topic: str) -> str:
    """The key of a topic's messages that come over zenoh-bridge-ros2dds.

    >>> bridged_key("/imu/data")
    'imu/data'
    """
    return topic.strip("/")


def topic_key(domain: int, topic: str, kind: TopicKind | None = None) -> str:
    """The key of a topic's messages; of messages of every type where none is given.

    >>> topic_key(0, "/imu/data")
    '0/imu/data/*/*'
    """
    behind = f"{type_in_key(kind.type)}/{kind.hash or NO_HASH}" if kind else "*/*"
    return f"{domain}/{topic.strip('/')}/{behind}"


def kind_of_key(key: str) -> TopicKind | None:
    """The type that the key of a message names; None where it names none.

    >>> kind_of_key("0/imu/data/sensor_msgs::msg::dds_::Imu_/TypeHashNotSupported")
    TopicKind(type='sensor_msgs/msg/Imu', hash='')
    """
    topic_and_type, _, found = key.rpartition("/")
    name = type_of_key(topic_and_type.rpartition("/")[2])
    return TopicKind(name, _known_hash(found)) if name else None


@dataclass(frozen=True)
class Entity:
    """What a liveliness token tells of a publisher or a subscription.

    Attributes:
        node: the full name of its node.
        session: the id of its Zenoh session.
        kind: of its messages.
        keeps_last: whether it hands its last messages to those that come later (QoS transient_local).
    """

    node: str
    session: str
    kind: TopicKind
    keeps_last: bool = False


def entity_of_token(token: str) -> Entity | None:
    """What a token says of a publisher or a subscription; None where it is no such token.

    Example:
        >>> token = "@ros2_lv/2/8b/0/10/MP/%/%robot/talker/%chat/std_msgs::msg::dds_::String_/RIHS01_df/:1:,7:,:,:,,"
        >>> entity = entity_of_token(token)
        >>> entity.node, entity.kind.type, entity.keeps_last
        ('/robot/talker', 'std_msgs/msg/String', True)
    """
    parts = token.split("/")
    if len(parts) == _PARTS_OF_BRIDGE and parts[0] == "@" and parts[2:4] == [_SPACE, PUBLISHER]:
        return _bridged_entity(parts)
    if len(parts) < _PARTS_OF_TOPIC or parts[0] != _SPACE:  # ROS 2 Rolling says in one more part how buffers travel
        return None
    name = type_of_key(parts[10])
    if name is None:
        return None
    node = printable(f"{_slashed(parts[7]).rstrip('/')}/{parts[8]}"[:_MOST_CHARACTERS])
    durability = parts[12].split(":")[1:2]
    return Entity(node, parts[2], TopicKind(name, _known_hash(parts[11])), durability == [_TRANSIENT_LOCAL])


def _bridged_entity(parts: list[str]) -> Entity | None:
    name = full_type(parts[5].replace(_SECTION, "/"))
    if name is None:
        return None
    found = _HASH.search(parts[6])
    keeps_last = parts[6].split(":")[2:3] == [_TRANSIENT_LOCAL]
    return Entity(
        f"behind the bridge {printable(parts[1][:8])}", parts[1], TopicKind(name, found[0] if found else ""), keeps_last
    )


def bridged_publishers_key(topic: str) -> str:
    """Which tokens zenoh-bridge-ros2dds holds for the publishers of a topic.

    >>> bridged_publishers_key("/imu/data") == f"@/*/@ros2_lv/MP/imu{chr(167)}data/*/*"
    True
    """
    return f"@/*/{_SPACE}/{PUBLISHER}/{bridged_key(topic).replace('/', _SECTION)}/*/*"


def publishers_key(domain: int, topic: str) -> str:
    """Which tokens the publishers of a topic hold.

    >>> publishers_key(0, "/imu")
    '@ros2_lv/0/*/*/*/MP/*/*/*/%imu/**'
    """
    return f"{_SPACE}/{domain}/*/*/*/{PUBLISHER}/*/*/*/{_mangled(topic)}/**"


def token_of_node(domain: int, session: str, name: str) -> str:
    """The token of a node, the only one of its session.

    >>> token_of_node(0, "aac3", "taemi_edge")
    '@ros2_lv/0/aac3/0/0/NN/%/%/taemi_edge'
    """
    return "/".join((_SPACE, str(domain), session, "0", "0", NODE, "%", "%", name))


@dataclass(frozen=True)
class OwnEntity:
    """A publisher or a subscription of this process, as its token describes it.

    Attributes:
        domain: of ROS (ROS_DOMAIN_ID).
        session: the id of the Zenoh session.
        number: of the entity in its session.
        node: the name of its node.
        role: PUBLISHER or SUBSCRIPTION.
        topic, kind: what it publishes or reads.
        qos: its quality of service, as tokens spell it.
    """

    domain: int
    session: str
    number: int
    node: str
    role: Kind
    topic: str
    kind: TopicKind
    qos: str = QOS_DEFAULT

    @property
    def token(self) -> str:
        """The key of its token.

        >>> OwnEntity(2, "8b20", 10, "talker", "MP", "/chatter", TopicKind("std_msgs/msg/String", "RIHS01_df")).token
        '@ros2_lv/2/8b20/0/10/MP/%/%/talker/%chatter/std_msgs::msg::dds_::String_/RIHS01_df/::,:,:,:,,'
        """
        who = (_SPACE, str(self.domain), self.session, "0", str(self.number), self.role, "%", "%", self.node)
        what = (_mangled(self.topic), type_in_key(self.kind.type), self.kind.hash or NO_HASH, self.qos)
        return "/".join((*who, *what))

    @property
    def gid(self) -> bytes:
        """Sixteen bytes that stand for it in attachments.

        rmw_zenoh takes another hash of the same token (XXH3); it only compares these bytes with each other.
        """
        return hashlib.sha256(self.token.encode()).digest()[:16]


@dataclass(frozen=True)
class Attachment:
    """What goes with each message.

    Attributes:
        number: of the message, counted by its publisher from 1.
        sent_ns: when it was sent, in nanoseconds of Unix time on the publisher's clock.
        publisher: the sixteen bytes that stand for the publisher.
    """

    number: int
    sent_ns: int
    publisher: bytes

    def to_bytes(self) -> bytes:
        """The attachment as bytes.

        >>> Attachment.from_bytes(Attachment(7, 1_000, b"0123456789abcdef").to_bytes()).number
        7
        """
        return _ATTACHMENT.pack(self.number, self.sent_ns, len(self.publisher), self.publisher)

    @classmethod
    def from_bytes(cls, data: bytes) -> Attachment | None:
        """Read an attachment; None where the bytes are none of rmw_zenoh."""
        if len(data) != _ATTACHMENT.size:
            return None
        number, sent_ns, length, publisher = _ATTACHMENT.unpack(data)
        return cls(number, sent_ns, publisher) if length == len(publisher) else None


def _mangled(name: str) -> str:
    return name.replace("/", "%")


def _slashed(name: str) -> str:
    return name.replace("%", "/")


def _known_hash(text: str) -> str:
    return text if _HASH.fullmatch(text) else ""
