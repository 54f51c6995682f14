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
