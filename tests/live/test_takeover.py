"""A live run takes up another model: without a missed hop, with the predictions of a run from the beginning."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle, write_manifest
from taemi_edge.bundle.spec import WindowSpec
from taemi_edge.bundle.token_file import write_tokens
from taemi_edge.errors import BackendError
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.run import run_live
from taemi_edge.live.shadow import AbandonedError, Shadow
from taemi_edge.live.takeover import FollowedLink, ModelFollower, Surroundings, difference, model_id
from taemi_edge.live.update_root import fresh_reports
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.window import Source

HOP_S = 0.5


@pytest.fixture(scope="module")
def other(tiny_folder, tmp_path_factory) -> Bundle:
    """The tiny model with other tokens: its outputs differ as soon as a stream is missing."""
    folder = tmp_path_factory.mktemp("other") / "other"
    shutil.copytree(tiny_folder, folder)
    tiny = open_bundle(tiny_folder)
    write_tokens(folder, {name: token * 3.0 + 1.0 for name, token in tiny.tokens.items()})
    write_manifest(folder, msgspec.structs.replace(tiny.manifest, trained_on="other"))
    return open_bundle(folder)


def finished(shadow: Shadow) -> None:
    """Wait until it has run all that it was given."""
    until = time.monotonic() + 30
    while shadow._open and time.monotonic() < until:
        time.sleep(0.001)


def hand_over(old: Fleet, shadow: Shadow, hops: list[Hop]) -> dict[float, str]:
    """Make the hops with the old fleet until the shadow takes over; the outputs after that, by the end of their hop."""
    made = {}
    for hop in hops:
        fleet = shadow.fleet if made or shadow.take(hop.end_s) else old
        prediction = fleet.predict_one(0, hop)
        if fleet is old:
            shadow.feed([hop])
            finished(shadow)
        else:
            made[hop.end_s] = msgspec.structs.replace(prediction, latency_ms={}).to_json()
    return made


def test_the_first_predictions_are_those_of_a_run_from_the_beginning(tiny, other, demo_video, demo_vtt):
    """The new model sees hops from the third second on, and makes the rest as if it had seen all."""
    words = Source("a", tuple(read_transcript(demo_vtt, None)))
    with MediaFile(demo_video, streams=tiny.manifest.streams) as media:
        hops = list(media.hops(HOP_S))
    with Fleet(other, [words], threads=1) as whole:
        expected = [msgspec.structs.replace(whole.predict_one(0, hop), latency_ms={}).to_json() for hop in hops]
    with Fleet(tiny, [words], threads=1) as old, Fleet(other, [words], threads=1, own_thread=True) as new:
        for hop in hops[:6]:
            old.predict_one(0, hop)
        shadow = Shadow(new, "x", HOP_S)
        working = threading.Thread(target=shadow.work, args=(lambda: False,))
        working.start()
        made = hand_over(old, shadow, hops[6:])
        working.join(10)
        assert not working.is_alive()
    assert shadow.lacking is None
    first_s = min(made)
    # a window of 4 s, and before it the chunk of sound that lies on its edge
    assert hops[5].end_s + 4.0 <= first_s <= hops[5].end_s + 5.5
    assert len(made) > 10
    assert list(made.values()) == expected[-len(made) :]


def test_what_gives_no_numbers_is_refused_beside_the_old_one(tiny, demo_video, monkeypatch):
    with Fleet(tiny, [Source("a")], threads=1, own_thread=True) as fleet:
        encode = fleet.executor._executor.sessions["vision"]
        monkeypatch.setattr(encode, "run", lambda feeds: {"features": np.full((len(feeds["pixels"]), 16), np.nan)})
        shadow = Shadow(fleet, "x", HOP_S)
        with MediaFile(demo_video, streams=tiny.manifest.streams) as media:
            for hop in list(media.hops(HOP_S))[:6]:
                shadow.feed([hop])
        with pytest.raises(BackendError, match="vision: its new encoder gives NaN for what a sends"):
            shadow.work(lambda: False)
        assert not shadow.take(100.0)


def test_a_device_that_cannot_run_both_hands_over_in_the_end(tiny, monkeypatch):
    with Fleet(tiny, [Source("a")], threads=1) as fleet:
        shadow = Shadow(fleet, "x", HOP_S)
        for index in range(40):  # nobody works: more waits than a window holds
            shadow.feed([Hop((index + 1) * HOP_S)])
        assert not shadow.take(20.5)
        monkeypatch.setattr("time.monotonic", lambda: shadow._deadline + 1)
        shadow._open = 0
        shadow.feed([Hop(21.0)])
        assert shadow.take(21.5)
        assert shadow.lacking == "its first predictions lack the beginning of their window"


def test_hops_that_came_too_late_to_be_run_beside_are_said_to_be_lacking(tiny, monkeypatch):
    with Fleet(tiny, [Source("a")], threads=1) as fleet:
        shadow = Shadow(fleet, "x", HOP_S)
        shadow.feed([Hop(HOP_S)])
        monkeypatch.setattr("time.monotonic", lambda: shadow._deadline + 1)
        shadow.feed([Hop(20.0)])  # not run, though the first hop lies more than a window back
        shadow._open = 0
        assert shadow.take(20.5)
        assert shadow.lacking == "its first predictions lack the beginning of their window"


def test_an_output_that_fails_does_not_end_the_looking_at_the_link(tmp_path, caplog):
    def fail(_event) -> None:
        raise RuntimeError

    (tmp_path / "current").symlink_to("b")
    run = Surroundings(pytest.fail, fail, lambda: 0, HOP_S)
    follower = ModelFollower(
        FollowedLink(tmp_path / "current", "a", open_bundle), SimpleNamespace(model_id="old", manifest=None), run
    )
    follower.start()
    _wait_for(lambda: follower.refused == "b" and not follower.opening)
    swap(tmp_path / "current", "c")
    _wait_for(lambda: follower.refused == "c" and not follower.opening)
    follower.close()
    assert "c: not every output took the news" in caplog.text


def test_only_hops_that_nobody_made_count_as_missed(tmp_path):
    """A machine that cannot carry all makes longer hops: what lies between two of them was not missed."""
    old, new = SimpleNamespace(model_id="old"), SimpleNamespace(model_id="new")
    told, missed = [], [5]
    run = Surroundings(pytest.fail, told.append, lambda: missed[0], HOP_S)
    follower = ModelFollower(FollowedLink(tmp_path / "current", "a", pytest.fail), old, run)
    for end_s, more in ((6.0, 0), (10.0, 1)):
        follower.after_hop([Hop(end_s - 4 * HOP_S)])
        missed[0] += more
        follower._shadow = SimpleNamespace(fleet=new, target="b", lacking=None, take=lambda _: True)
        assert follower.fleet_for(end_s) is new
        assert told[-1].missed == more


def test_one_that_is_not_wanted_any_more_is_given_up(tiny):
    with Fleet(tiny, [Source("a")], threads=1) as fleet:
        shadow = Shadow(fleet, "x", HOP_S)
        with pytest.raises(AbandonedError):
            shadow.work(lambda: True)
        assert not shadow.take(1000.0)


def test_which_models_need_a_restart(tiny):
    manifest = tiny.manifest
    camera = msgspec.structs.replace(manifest.streams["vision"], frames_per_second=2.0)
    smaller = msgspec.structs.replace(manifest.streams["vision"], size_hw=(16, 16))
    replaced = msgspec.structs.replace
    assert difference(manifest, manifest, HOP_S) is None
    assert difference(manifest, replaced(manifest, window=WindowSpec(length_s=2.0, hop_s=HOP_S)), HOP_S) is None
    assert difference(manifest, replaced(manifest, streams={**manifest.streams, "vision": smaller}), HOP_S) is None
    for changed, why in (
        ({"streams": {**manifest.streams, "vision": camera}}, "vision .video of 5 pictures a second.*of 2 pictures"),
        ({"window": WindowSpec(length_s=4.0, hop_s=0.25)}, "expected a hop of 0.5 s, got 0.25 s"),
    ):
        other = msgspec.structs.replace(manifest, **changed)
        assert re.search(why, difference(manifest, other, HOP_S))


@pytest.mark.parametrize("supervised", [True, False])
def test_other_streams_need_a_restart(tiny, tmp_path, supervised: bool):
    """Under a service manager the run ends, so that it is started with the new model; else the old one goes on."""
    link, told, ended = tmp_path / "current", [], threading.Event()
    link.symlink_to("a")
    camera = msgspec.structs.replace(tiny.manifest.streams["vision"], frames_per_second=2.0)
    streams = {**tiny.manifest.streams, "vision": camera}
    new = replace(tiny, manifest=msgspec.structs.replace(tiny.manifest, streams=streams))
    with Fleet(tiny, [Source("a")], threads=1, own_thread=True) as fleet:
        run = Surroundings(pytest.fail, told.append, lambda: 0, HOP_S, ended.set if supervised else None)
        follower = ModelFollower(FollowedLink(link, "a", lambda _: new), fleet, run)
        follower.start()
        swap(link, "b")
        _wait_for(lambda: ended.is_set() or told)
        assert follower.fleet_for(1.0) is fleet
        follower.close()
    assert follower.restarting == supervised
    if not supervised:
        assert "expected the streams vision (video of 5 pictures a second)" in told[0].reason
        assert told[0].reason.endswith("stop the run, and start it again with the new model")
        assert follower.refused == "b"
        follower.forget_refusal()
        assert not follower.refused


def swap(link: Path, target: str) -> None:
    link.with_name("next").symlink_to(target)
    os.replace(link.with_name("next"), link)


def lines_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_run_follows_its_link_and_refuses_what_cannot_be_opened(tiny_folder, other, demo_video, tmp_path):
    root, output, events = tmp_path / "root", tmp_path / "out.jsonl", tmp_path / "events.jsonl"
    (root / "versions").mkdir(parents=True)
    for name, folder in (("a", tiny_folder), ("b", other.folder)):
        (root / "versions" / name).symlink_to(folder)
    (root / "current").symlink_to("versions/a")
    (root / "watched").touch()
    config = LiveConfig(
        source=(SourceConfig(name="door", uri=f"file:{demo_video}"),),
        output=str(output),
        events=str(events),
        hop_s=0.25,
        window_s=0.5,
        settle_s=0.05,
        threads=1,
        loop=True,
        duration_s=20.0,
    )
    stop = threading.Event()
    followed = FollowedLink(root / "current", "versions/a", open_bundle)
    running = threading.Thread(
        target=run_live, args=(open_bundle(root / "current"), config), kwargs={"stop": stop, "followed": followed}
    )
    running.start()
    try:
        _wait_for(lambda: len(lines_of(output)) > 2)
        swap(root / "current", "versions/none")
        _wait_for(lambda: any(line["type"] == "model" for line in lines_of(events)))
        swap(root / "current", "versions/b")
        _wait_for(lambda: lines_of(output)[-1]["model_id"] == model_id(other))
        _wait_for(lambda: any(r.target == "versions/b" and r.healthy for r in fresh_reports(root).values()))
    finally:
        stop.set()
        running.join(20)
    refused, taken_up = (line for line in lines_of(events) if line["type"] == "model")
    assert (refused["taken_up"], refused["to"]) == (False, "versions/none")
    assert "expected a bundle" in refused["reason"]
    first = open_bundle(tiny_folder)
    assert (taken_up["taken_up"], taken_up["from"], taken_up["to"]) == (True, model_id(first), model_id(other))
    made_by = [line["model_id"] for line in lines_of(output)]
    assert made_by == sorted(made_by, key=[model_id(first), model_id(other)].index)
    at = made_by.index(model_id(other))
    before, after = lines_of(output)[at - 1 : at + 1]
    assert round((after["time_s"] - before["time_s"]) / 0.25) == 1 + taken_up["missed"]
    assert not list((root / "services").iterdir())


def _wait_for(holds, timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, "it never held"
        time.sleep(0.05)
