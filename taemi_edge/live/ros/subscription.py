"""Reads the messages of one topic and knows who publishes it.

Several nodes may publish the same topic. Mixed, their messages would be neither's, so one publisher is followed until
it is gone or silent; then the next one is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from taemi_edge.live.ros.names import (
    QOS_DEFAULT,
    SUBSCRIPTION,
    Attachment,
    Entity,
    OwnEntity,
    TopicKind,
    bridged_key,
    bridged_publishers_key,
    entity_of_token,
    kind_of_key,
    publishers_key,
    topic_key,
)
from taemi_edge.live.ros.place import RosPlace
from taemi_edge.live.ros.session import ZenohSession

log = logging.getLogger("taemi_edge.live")

#: A publisher that is followed and gives nothing for so long makes room for another.
_SILENT_S = 1.0
#: Tokens that come and go between two looks.
_MOST_TOKENS = 4096
#: Kinds of messages that this process shows itself to want.
_MOST_KINDS = 16
#: Publishers that are told apart at once; a topic has one or two.
_MOST_PUBLISHERS = 1000


@dataclass(frozen=True, eq=False)
class TopicMessage:
    """A message as it came.

    Attributes:
        kind: its type and the hash of its definition, as its key says; None where the key does not say it.
        data: its bytes.
        sent_ns: when it was sent, in nanoseconds of the publisher's Unix time; None where nobody says so.
        publisher: who sent it; None where nobody says so.
    """

    kind: TopicKind | None
    data: bytes
    sent_ns: int | None
    publisher: bytes | None


class FollowedPublisher:
    """Decides whose messages are taken.

    Example:
        >>> followed = FollowedPublisher()
        >>> [followed.takes(who, at_s) for who, at_s in ((b"a", 0.0), (b"b", 0.1), (b"a", 0.2), (b"b", 1.5))]
        [True, False, True, True]
        >>> followed.passed_over
        1
    """

    def __init__(self) -> None:
        self._followed: bytes | None = None
        self._heard_s = 0.0
        #: How many messages of others were left out.
        self.passed_over = 0

    def takes(self, publisher: bytes | None, now_s: float) -> bool:
        """Whether a message that came at `now_s` is taken; one of which nobody says who sent it always is."""
        if publisher is None:
            return True
        if publisher != self._followed:
            if self._followed is not None and now_s - self._heard_s <= _SILENT_S:
                self.passed_over += 1
                return False
            self._followed = publisher
        self._heard_s = now_s
        return True

    def forget(self) -> None:
        """Follow whoever comes next: a publisher of the topic is gone."""
        self._followed = None


class MessageCount:
    """Counts messages that never came, by the numbers that publishers give them.

    Example:
        >>> count = MessageCount()
        >>> for number in (1, 2, 5, 6):
        ...     count.note(b"imu", number)
        >>> count.lost
        2
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}
        self.lost = 0

    def note(self, publisher: bytes, number: int) -> None:
        """Note the number of a message that came."""
        last = self._last.get(publisher)
        if last is not None and number > last + 1:
            self.lost += number - last - 1
        if last is None and len(self._last) >= _MOST_PUBLISHERS:
            self._last.clear()
        self._last[publisher] = number


class TopicSubscription:
    """The messages of a topic, and who publishes it; nothing here waits.

    Args:
        session: an open session, which stays the caller's.
        place: what to read.
        most_waiting: how many messages wait at most; the oldest give way.
        history: whether the last message of publishers that keep it (transient_local) is asked for.

    Attributes:
        publishers: who publishes the topic at this moment, by token.
        had_publishers: whether anybody ever did.
    """

    def __init__(self, session: ZenohSession, place: RosPlace, most_waiting: int, history: bool) -> None:
        import zenoh

        self._session, self._place, topic = session, place, place.topic
        self.publishers: dict[str, Entity] = {}
        self.had_publishers = False
        self._own_tokens: dict[TopicKind, Any] = {}
        self._kinds: dict[str, TopicKind | None] = {}
        self._followed, self._count = FollowedPublisher(), MessageCount()
        self._put = zenoh.SampleKind.PUT
        channel = zenoh.handlers.RingChannel(most_waiting)
        key = bridged_key(topic) if place.bridged else topic_key(place.domain, topic)
        publishers = bridged_publishers_key(topic) if place.bridged else publishers_key(place.domain, topic)
        self._messages: Any = (
            zenoh.ext.declare_advanced_subscriber(
                session.zenoh,
                key,
                channel,
                history=zenoh.ext.HistoryConfig(detect_late_publishers=True, max_samples=1),
            )
            if history
            else session.zenoh.declare_subscriber(key, channel)
        )
        self._tokens: Any = session.zenoh.liveliness().declare_subscriber(
            publishers, zenoh.handlers.RingChannel(_MOST_TOKENS), history=True
        )

    @property
    def lost(self) -> int:
        """How many messages were dropped on the way or gave way to newer ones, as far as publishers number them."""
        return self._count.lost

    @property
    def passed_over(self) -> int:
        """How many messages of further publishers were left out."""
        return self._followed.passed_over

    @property
    def kinds(self) -> Mapping[TopicKind, str]:
        """What is published at this moment, each with one of the nodes that do so."""
        return {entity.kind: entity.node for entity in self.publishers.values()}

    def look(self) -> list[Entity]:
        """See who came and went.

        Returns:
            Those who are gone.
        """
        gone = []
        while (sample := self._tokens.try_recv()) is not None:
            token = str(sample.key_expr)
            if sample.kind != self._put:
                if (entity := self.publishers.pop(token, None)) is not None:
                    gone.append(entity)
                    self._followed.forget()
            elif (entity := entity_of_token(token)) is not None and len(self.publishers) < _MOST_PUBLISHERS:
                self.publishers[token] = entity
                self.had_publishers = True
                self._show_ourselves(entity.kind)
        return gone

    def _show_ourselves(self, kind: TopicKind) -> None:
        """Hold the token of a subscription: many drivers send only while they see one."""
        if kind not in self._own_tokens and len(self._own_tokens) < _MOST_KINDS and not self._place.bridged:
            number = self._session.next_number()
            who = (self._place.domain, self._session.id, number, self._session.node, SUBSCRIPTION)
            self._own_tokens[kind] = self._session.declare(OwnEntity(*who, self._place.topic, kind, QOS_DEFAULT))

    def take(
        self, now_s: float, most: int, wanted: Callable[[TopicKind | None], bool] = lambda _: True
    ) -> list[TopicMessage]:
        """Take up to `most` of the messages that wait, the oldest first; those of them that are not wanted go.

        Args:
            now_s: a time in seconds on a clock that never goes back.
            most: how many are taken, or go.
            wanted: whether messages of a kind are; of those, one publisher's are taken.
        """
        taken: list[TopicMessage] = []
        for _ in range(most):  # not until as many are wanted: of the others there may be no end
            if (sample := self._messages.try_recv()) is None:
                break
            kind = self._kind(str(sample.key_expr))
            if sample.kind != self._put or not wanted(kind):
                continue
            given = sample.attachment
            attachment = Attachment.from_bytes(given.to_bytes()) if given is not None else None
            if attachment is not None:
                self._count.note(attachment.publisher, attachment.number)
                if not self._followed.takes(attachment.publisher, now_s):
                    continue
            if attachment is None:
                taken.append(TopicMessage(kind, sample.payload.to_bytes(), None, None))
            else:
                data = sample.payload.to_bytes()
                taken.append(TopicMessage(kind, data, attachment.sent_ns, attachment.publisher))
        return taken

    def _kind(self, key: str) -> TopicKind | None:
        """What the key of a message says of it; of messages from a bridge its tokens say it."""
        if self._place.bridged:
            return next((entity.kind for entity in self.publishers.values()), None)
        if key not in self._kinds:
            if len(self._kinds) >= _MOST_PUBLISHERS:
                self._kinds.clear()
            self._kinds[key] = kind_of_key(key)
        return self._kinds[key]

    def close(self) -> None:
        """Take no more messages, and withdraw our own tokens."""
        for declared in (self._messages, self._tokens, *self._own_tokens.values()):
            declared.undeclare()
        self._own_tokens.clear()
