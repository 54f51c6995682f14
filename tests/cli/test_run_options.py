"""What was typed after `run`, as options of a run over files or settings of a live run."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from taemi_edge.cli.run import run
from taemi_edge.cli.run_options import Given, live_option_names
from taemi_edge.errors import UsageError


def test_the_command_and_given_have_the_same_names_and_defaults():
    parameters = inspect.signature(run).parameters.values()
    assert [(p.name, p.default) for p in parameters] == [(f.name, f.default) for f in fields(Given)]


@pytest.mark.parametrize(
    "typed",
    [
        {"live": True},
        {"loop": True},
        {"serve": "127.0.0.1:0"},
        {"push": "rtmp://host/live"},
        {"mqtt": "broker:1883"},
        {"record": Path("clips")},
        {"events": Path("e.jsonl")},
        {"duration": 3.0},
        {"video": "v4l2:/dev/video0"},
        {"audio": "alsa:default"},
        {"config": Path("live.toml")},
        {"override": ["watch.lost_after_s=3"]},
        {"source": ["rtsp://cam/live"]},
        {"transcript": "-"},
        {"transcript": "unix:/tmp/words"},
    ],
)
def test_what_makes_a_run_live(typed: dict[str, Any]):
    assert Given(**{"source": ["talk.mp4"], **typed}).is_live


@pytest.mark.parametrize(
    "typed",
    [{}, {"transcript": "talk.vtt"}, {"hop": 1.0, "asr": True}, {"token_file": Path("t")}, {"tls_key": Path("k.pem")}],
)
def test_files_stay_files(typed: dict[str, Any]):
    assert not Given(source=["talk.mp4"], **typed).is_live


def test_options_that_say_how_to_serve_make_no_run_live():
    assert not {"token_file", "tls_certificate", "tls_key"} & set(live_option_names())


def test_a_run_over_files():
    options = Given(transcript="a.vtt", hop=1.0, drop=["vision@2-4"], deadline=20.0).run_options()
    assert (options.transcript, options.hop_s, options.deadline_s) == (Path("a.vtt"), 1.0, 0.02)
    assert [str(drop) for drop in options.drops] == ["vision@2-4"]


def test_a_live_run_from_what_was_typed():
    given = Given(Path("bundle"), ["cam=rtsp://cam/live"], transcript="-", serve="127.0.0.1:0", duration=3.0)
    settings = given.live_settings()
    assert (settings.bundle, settings.duration_s) == ("bundle", 3.0)
    [source] = settings.source
    assert (source.name, source.uri, source.transcript) == ("cam", "rtsp://cam/live", "-")
    assert settings.serve.address == "127.0.0.1:0"


def test_picture_and_sound_from_two_places_are_one_source():
    [source] = Given(Path("b"), video="door=v4l2:/dev/video0", audio="alsa:default").live_settings().source
    assert (source.name, source.video, source.audio) == ("door", "v4l2:/dev/video0", "alsa:default")


@pytest.mark.parametrize(("sources", "name"), [(["desk"], "desk"), (None, "live")])
def test_a_model_that_reads_words_alone_needs_a_transcript_and_nothing_else(sources, name):
    [source] = Given(Path("b"), sources, transcript="unix:/tmp/words").live_settings().source
    assert (source.name, source.uri, source.transcript) == (name, "", "unix:/tmp/words")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Given(source=["rtsp://a/b"], video="v4l2:/dev/video0"), "either SOURCE, or --video and --audio"),
        (Given(source=["rtsp://a/b", "rtsp://c/d"], transcript="a.vtt"), "belongs to one source"),
    ],
)
def test_sources_that_contradict_each_other(given: Given, message: str):
    with pytest.raises(UsageError, match=message):
        given.live_settings()
