"""Who guesses at the token is slowed down; who has it gets in."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.live.config import ServeConfig
from taemi_edge.live.page.guesses import FREE_ALL, FREE_EACH, TURN_EACH_S, Allowance, GuessLimit
from tests.live.page.attacks import exchange
from tests.live.page.client import TOKEN, get
from tests.live.page.fed import fed_page, numbers
from tests.live.specs import WORDS

MODEL = ({"words": WORDS}, {"numbers": numbers(2)})
COOKIE = f"taemi_edge_token={TOKEN}"


@pytest.fixture
def guarded():
    with fed_page(*MODEL, config=ServeConfig("127.0.0.1:0"), token=TOKEN) as fed:
        yield fed.server.url


def test_a_wrong_token_never_replaces_a_right_one(guarded):
    status, _, headers = get(f"{guarded}?token=wrong-wrong-wrong-wrong", Cookie=COOKIE)
    assert (status, headers["location"]) == (303, "/")
    assert "set-cookie" not in headers
    assert get(f"{guarded}?token={TOKEN}&token=wrong", Cookie="taemi_edge_token=wrong")[0] == 303
    assert get(guarded, Cookie=COOKIE, Authorization="Bearer wrong")[0] == 200


def test_guesses_wait_and_the_right_token_gets_in(guarded):
    got = [get(f"{guarded}?token=guess-number-{n:06d}")[0] for n in range(FREE_EACH + 1)]
    assert got[: FREE_EACH - 1] == [401] * (FREE_EACH - 1)
    assert got[-1] == 429
    tries: list[float] = []

    def guess() -> None:
        started = time.monotonic()
        exchange(guarded, b"GET /?token=another-guess-here HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", timeout_s=10)
        tries.append(time.monotonic() - started)

    guessing = [threading.Thread(target=guess) for _ in range(3)]
    for one in guessing:
        one.start()
    started = time.monotonic()
    assert get(f"{guarded}metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
    took_s = time.monotonic() - started
    for one in guessing:
        one.join()
    assert took_s < 4 * TURN_EACH_S + 1
    assert max(tries) > 1.5 * TURN_EACH_S
    assert get(f"{guarded}healthz")[0] == 200  # needs no token, and so no turn


def test_owners_do_not_wait_for_each_other():
    async def check() -> None:
        limit = GuessLimit(lambda: 100.0)
        for _ in range(FREE_EACH):
            limit.note("attacker", right=False)
        assert await asyncio.wait_for(limit.turn("owner", lambda: False), 0.01)
        limit.note("owner", right=True)
        for other in range(FREE_ALL):
            limit.note(f"attacker {other}", right=False)
        assert await asyncio.wait_for(limit.turn("owner", lambda: False), 0.01)  # it was right before
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_two_turns(limit, "a newcomer"), 0.2)

    asyncio.run(check())


def test_who_hangs_up_takes_nobodys_turn():
    async def check() -> None:
        limit = GuessLimit(lambda: 100.0)
        for _ in range(FREE_EACH):
            limit.note("attacker", right=False)
        limit._owners["attacker"].allowance.take_turn(100.0)
        assert not await asyncio.wait_for(limit.turn("attacker", lambda: True), 1.0)
        assert limit._owners["attacker"].allowance.next_turn_s == 100.0 + TURN_EACH_S
        assert not limit._owners["attacker"].line

    asyncio.run(check())


async def _two_turns(limit: GuessLimit, owner: str) -> None:
    await limit.turn(owner, lambda: False)
    await limit.turn(owner, lambda: False)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 30.0), max_size=60), st.integers(1, 20), st.floats(0.1, 60.0))
def test_an_allowance_is_bounded_and_comes_back(pauses_s, most, forgiven_s):
    allowance, now_s = Allowance(most, forgiven_s, 1.0), 0.0
    for pause_s in pauses_s:
        now_s += pause_s
        allowance.note_wrong(now_s)
        assert 0 < allowance.wrong <= most
    assert not allowance.is_used_up(now_s + most * forgiven_s + 0.01)
