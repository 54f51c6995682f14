"""The runtime's GPU half on stand-ins: padding, indices, masks, tokens by address, graphs that keep their addresses."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.pipeline import Fleet, Pipeline
from taemi_edge.runtime.window import Source
from tests.runtime.tensorrt.executor_checks import *  # noqa: F403  the tests that hold of any GPU


def hops_of(bundle: Bundle, video: Path, count: int = 12) -> list[Hop]:
    """The first hops of half a second of a clip, for the streams of a model."""
    with MediaFile(video, streams=bundle.manifest.streams) as media:
        return list(islice(media.hops(0.5), count))


def together(hops: list[Hop]) -> Hop:
    """Several hops as one, as they come after a stall."""
    return Hop(hops[-1].end_s, {m: [p for hop in hops for p in hop.pieces.get(m, ())] for m in hops[0].pieces})


def test_a_clip_gives_what_the_cpu_gives(engines: Bundle, tiny: Bundle, demo_video: Path, demo_vtt: Path):
    """Twelve hops with a camera that drops out and comes back: presence, ages and intensities.

    The parts of the first hop are timed; of the others it is known which ran.
    """
    lines = []
    for bundle in (engines, tiny):
        words, drops = read_transcript(demo_vtt, None), [Drop("vision", 2.0, 4.0)]
        with Pipeline(bundle, Source("", words, drops), threads=1) as pipeline:
            lines.append([pipeline.predict(hop) for hop in hops_of(bundle, demo_video)])
    assert lines[0][-1].backend == "tensorrt+graph"
    for ours, theirs in zip(*lines, strict=True):
        assert (ours.presence, ours.age_ms, ours.reason) == (theirs.presence, theirs.age_ms, theirs.reason)
        assert_close(list(ours.intensities.values()), list(theirs.intensities.values()), 2e-6)  # noqa: F405
        ran = [p for p in tiny.manifest.part_names if theirs.latency_ms[p]]
        assert [p for p in tiny.manifest.part_names if ours.latency_ms[p] != 0] == ran
        assert {type(ours.latency_ms[p]) for p in ran} == {float if ours is lines[0][0] else type(None)}
        assert ours.latency_ms["total"] > 0


def test_a_backlog_of_more_chunks_than_a_ring_holds_gives_what_the_cpu_gives(
    engines: Bundle, tiny: Bundle, demo_video: Path
):
    """A window of half a second, whose ring of sound has three chunks, and hops of eight seconds and of two."""
    hops = hops_of(tiny, demo_video, 20)
    backlogs = [together(hops[:16]), together(hops[16:])]
    lines = []
    for bundle in (engines, tiny):
        with Pipeline(bundle, threads=1, window_s=0.5) as pipeline:
            lines.append([pipeline.predict(hop) for hop in backlogs])
            rings = {m: pipeline.features(m, backlogs[-1].end_s) for m in ("audio", "vision")}
        lines[-1].append(rings)
    for ours, theirs in zip(lines[0][:2], lines[1][:2], strict=True):
        assert ours.presence == theirs.presence
        assert_close(list(ours.intensities.values()), list(theirs.intensities.values()), 2e-6)  # noqa: F405
    for m, features in lines[1][2].items():
        assert len(features) > 1
        assert_close(lines[0][2][m], features, 2e-6)  # noqa: F405


def test_all_calls_of_a_long_hop_are_timed_or_none(engines: Bundle, demo_video: Path, monkeypatch):
    """Hops of four seconds, whose twenty frames are encoded in two calls."""
    monkeypatch.setattr(trt_executor, "TIMED_EVERY", 2)  # noqa: F405
    hops = hops_of(engines, demo_video, 32)
    with Pipeline(engines) as pipeline:
        done = [pipeline.predict(together(hops[at : at + 8])).latency_ms for at in range(0, 32, 8)]
    assert [latency_ms["vision"] is None for latency_ms in done] == [False, True, False, True]
    assert [latency_ms["fusion"] is None for latency_ms in done] == [False, True, False, True]


@pytest.mark.parametrize("timed", [False, True])  # noqa: F405
def test_an_executor_warms_up_what_it_will_run(engines: Bundle, timed: bool):
    executor = TrtExecutor(engines, layout_of(engines), timed=timed)  # noqa: F405
    assert [bool(graphs) for graphs in executor._graphs._graphs] == [not timed, timed]
    executor.close()


def test_what_still_runs_is_waited_for_before_anything_is_freed(engines: Bundle, device, monkeypatch):
    """Ctrl-C may come between the launch of a hop and the wait for it."""
    executor, order = TrtExecutor(engines, layout_of(engines)), []  # noqa: F405
    monkeypatch.setattr(executor._gpu.cuda.Context, "synchronize", lambda: order.append("wait"))
    driver = load_driver()[0]  # noqa: F405
    monkeypatch.setattr(driver, "cuGraphExecDestroy", lambda graph: order.append("destroy") or (0,))
    executor.close()
    assert order[:2] == ["wait", "destroy"]
    executor.close()
    assert order.count("wait") == 1


def test_two_sources_give_what_each_gives_alone(engines: Bundle, demo_video: Path, demo_vtt: Path):
    """One has lost its camera, so that both patterns share the call."""
    words = tuple(read_transcript(demo_vtt, None))
    described = [Source("whole", words), Source("blind", words, (Drop("vision", 0.0, 99.0),))]
    with Fleet(engines, described) as fleet:
        together = [
            fleet.predict({index: fleet.prepare(index, hop) for index in range(2)})
            for hop in hops_of(engines, demo_video, 8)
        ]
    for index, source in enumerate(described):
        with Fleet(engines, [source]) as alone:
            single = [alone.predict({0: alone.prepare(0, hop)})[0] for hop in hops_of(engines, demo_video, 8)]
        for both, one in zip(together, single, strict=True):
            assert both[index].presence == one.presence
            assert_close(list(both[index].intensities.values()), list(one.intensities.values()), 2e-6)  # noqa: F405
