"""The configuration of a live run."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.errors import RecipeError
from taemi_edge.live.config import LiveConfig, SourceConfig, load_live_config
from taemi_edge.live.host_port import host_and_port


def config(**values: object) -> LiveConfig:
    return load_live_config(None, {"source": [{"name": "a", "uri": "rtsp://a/1"}], **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"source": []}, "at least one"),
        ({"source": [{"name": "a", "uri": "x"}] * 2}, "'a' twice"),
        ({"source": [{"name": "a"}]}, "not neither"),
        ({"source": [{"name": "a", "uri": "x", "video": "y"}]}, "not all of them"),
        ({"source": [{"name": "a", "streams": {"imu": ""}}]}, "streams.imu to name a place"),
        ({"source": [{"name": "a", "uri": "x", "transcript": "-", "asr": True}]}, "either a transcript or asr"),
        ({"serve": {"address": "example.org:80"}}, "HOST:PORT"),
        ({"serve": {"address": "127.0.0.1:99999"}}, "HOST:PORT"),
        ({"serve": {"tls_key": "k"}}, "together"),
        ({"mqtt": {"broker": "b:1", "topic": "a/#"}}, "without"),
        ({"record": {"folder": "x", "most_mib": -1}}, "most_mib > 0"),
        ({"watch": {"lost_after_s": 0}}, "lost_after_s"),
        ({"watch": {"lost_afer_s": 1}}, "did you mean `lost_after_s`"),
        ({"hop_s": -1}, "hop_s"),
        ({"sorce": []}, "did you mean `source`"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(values: dict[str, object], words: str):
    with pytest.raises(RecipeError, match=words):
        config(**values)


def test_a_file_is_read_and_what_is_typed_goes_over_it(tmp_path):
    file = tmp_path / "live.toml"
    file.write_text(
        'bundle = "b"\nhop_s = 1.0\n[[source]]\nname = "a"\nuri = "rtsp://a/1"\n[serve]\naddress = "[::1]:1"\n'
    )
    loaded = load_live_config(file, {"hop_s": 0.5, "serve": {"token_file": "t"}}, {"watch.lost_after_s": "3"})
    assert (loaded.hop_s, loaded.bundle, loaded.watch.lost_after_s) == (0.5, "b", 3.0)
    assert loaded.serve is not None
    assert (loaded.serve.host, loaded.serve.port, loaded.serve.is_loopback) == ("::1", 1, True)
    file.write_text("bundle = ")
    with pytest.raises(RecipeError, match="expected TOML"):
        load_live_config(file)
    assert host_and_port("broker.local:1883", names=True) == ("broker.local", 1883)


def test_the_packaged_configuration_is_valid(pytestconfig):
    loaded = load_live_config(pytestconfig.rootpath / "packaging" / "live.toml")
    assert loaded.record is not None
    assert loaded.source[0].name == "door"


@pytest.mark.parametrize("output", ["output", "events", "annotate"])
def test_what_is_read_is_not_written_over(tmp_path: Path, output: str):
    (tmp_path / "imu.csv").write_text("time_s,x\n")
    source = SourceConfig("rig", streams={"imu": str(tmp_path / "imu.csv")})
    with pytest.raises(ValueError, match="expected another file than the source"):
        LiveConfig(source=(source,), **{output: f"{tmp_path}/./imu.csv"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[source]]\nname = 'a'\nur = 'x'", "unknown field `ur`.*did you mean `uri`"),
        ("source = [{name = 'a', uri = 'x', stream = {}}]", "unknown field `stream`.*did you mean `streams`"),
        ("a = " + "[" * 20_000, "expected TOML"),
        ("hop_s = " + "9" * 5000, "expected TOML"),
        ("[[source]]\nname = 'a'\nuri = \"rtsp\\u0000://x\"", "without control characters"),
        ("threads = 9999\n[[source]]\nname = 'a'\nuri = 'x'", "threads from 0 to 1024"),
        ("['rtsp://me:hunter2@cam']\nx = 1", r"unknown field `\.\.\.`"),
        (
            "[watch]\nrtsp_transport = 'rtsp://me:hunter2@cam'\n[[source]]\nname = 'a'\nuri = 'x'",
            "watch.rtsp_transport expected tcp or udp",
        ),
        ("[[source]]\nname = 'rtsp://me:hunter2@cam'\nuri = 'x'", "expected a source's name"),
        ("[mqtt]\nbroker = 'me:hunter2@broker:1883'\n[[source]]\nname = 'a'\nuri = 'x'", "expected HOST:PORT"),
    ],
)
def test_a_hostile_file_is_refused_in_a_sentence_without_secrets(text, words, tmp_path):
    file = tmp_path / "live.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=words) as refused:
        load_live_config(file)
    assert "hunter2" not in str(refused.value)
