"""`taemi_edge.load`: arrays, files, live sources and a loop of one's own, all through one object."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import taemi_edge as te
from taemi_edge.errors import SignatureError
from taemi_edge.media.transcripts import read_transcript


@pytest.fixture(scope="module")
def model(tiny_folder: Path):
    with te.load(tiny_folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def from_file(model: te.LoadedModel, demo_video: Path, demo_vtt: Path) -> list[te.Prediction]:
    return list(model.run(demo_video, transcript=demo_vtt))


def _without_times(prediction: te.Prediction) -> tuple[object, ...]:
    return prediction.time_s, prediction.intensities, prediction.presence, prediction.reason, prediction.status


def test_a_file_gives_a_prediction_a_hop(from_file: list[te.Prediction]):
    assert [prediction.time_s for prediction in from_file] == [0.5 * n for n in range(1, 34)]
    assert from_file[-1].presence == {"vision": "live", "audio": "live", "text": "live"}


def test_the_loop_over_a_file_may_be_left_early(model: te.LoadedModel, demo_video: Path):
    predictions = model.run(demo_video)
    assert next(predictions).time_s == 0.5
    predictions.close()


@pytest.mark.parametrize("start_s", [0.0, 100.137, 1_700_000_000.137])
def test_pushing_a_clip_gives_what_the_file_gives(
    model: te.LoadedModel, from_file: list[te.Prediction], demo_video: Path, demo_vtt: Path, start_s: float
):
    """Whatever clock the caller has; float64 seconds since 1970 hold 0.2 microseconds."""
    model.reset()
    words = read_transcript(demo_vtt, None)
    pushed = []
    rate_hz = model.manifest.streams["audio"].sample_rate_hz
    with te.MediaFile(demo_video, rate_hz, 5.0) as media:
        for hop in media.hops(0.5):
            for frame in hop.frames:
                model.push("vision", frame.image, time_s=start_s + frame.time_s)
            for piece in hop.sound:
                sound = te.Sound(piece.values, rate_hz, time_s=start_s + piece.time_s)
                model.push("audio", sound, time_s=start_s + hop.end_s)
            said = [w for w in words if hop.end_s - 0.5 < w.end_s <= hop.end_s]
            shifted = [te.Word(start_s + w.start_s, start_s + w.end_s, w.text) for w in said]
            model.push("text", shifted, time_s=start_s + hop.end_s)
            pushed.append(model.hop(start_s + hop.end_s))
    assert [p.time_s - start_s for p in pushed] == pytest.approx([p.time_s for p in from_file])
    assert [p.presence for p in pushed] == [p.presence for p in from_file]
    assert [p.intensities for p in pushed] == [p.intensities for p in from_file]


def test_one_window_of_arrays_is_what_the_file_gives_there(
    model: te.LoadedModel, from_file: list[te.Prediction], demo_video: Path, demo_vtt: Path
):
    end_s, window_s = 8.0, model.manifest.window.length_s
    rate_hz = model.manifest.streams["audio"].sample_rate_hz
    frames, samples = [], np.zeros(round(end_s * rate_hz), np.float32)
    with te.MediaFile(demo_video, rate_hz, model.manifest.streams["vision"].frames_per_second) as media:
        for hop in media.hops(1.0):
            frames += [f for f in hop.frames if end_s - window_s < f.time_s <= end_s]
            for piece in hop.sound:
                at = round(piece.time_s * rate_hz)
                kept = piece.values[: max(0, len(samples) - at)]
                samples[at : at + len(kept)] = kept
    words = [w for w in read_transcript(demo_vtt, None) if end_s - window_s < w.end_s <= end_s]
    prediction = model.predict(
        vision=te.Frames(np.stack([f.image for f in frames]), np.array([f.time_s for f in frames])),
        audio=te.Sound(samples[-round(window_s * rate_hz) :], rate_hz, time_s=end_s - window_s),
        text=words,
        end_s=end_s,
    )
    there = next(p for p in from_file if p.time_s == end_s)
    assert prediction.time_s == end_s
    assert prediction.window_s == there.window_s
    assert prediction.presence == there.presence
    # the first chunk of the window has no sound before it, where the file has
    assert list(prediction.intensities.values()) == pytest.approx(list(there.intensities.values()), abs=5e-3)


def test_windows_do_not_depend_on_each_other(model: te.LoadedModel):
    sound = np.sin(np.arange(32_000) / 9).astype(np.float32)
    first = model.predict(audio=sound, text="so it is")
    model.predict(audio=np.zeros(16_000, np.float32), text="something else altogether")
    again = model.predict(audio=sound, text="so it is")
    assert _without_times(first) == _without_times(again)


def test_a_window_leaves_what_was_pushed_alone(model: te.LoadedModel):
    def pushed(between) -> list[dict[str, float]]:
        model.reset()
        found = []
        for second in range(1, 4):
            sound = np.sin(np.arange(16_000) / (5 + second)).astype(np.float32)
            model.push("audio", sound, time_s=float(second))
            between()
            found.append(model.hop(float(second)).intensities)
        return found

    assert pushed(lambda: None) == pushed(lambda: model.predict(audio=np.ones(16_000, np.float32) / 3))


def test_sound_of_any_rate_and_shape(model: te.LoadedModel):
    tone = np.sin(2 * np.pi * 220 * np.arange(2 * 48_000) / 48_000)
    mono = model.predict(audio=te.Sound(tone.astype(np.float32), 48_000))
    stereo = model.predict(audio=te.Sound(np.stack([tone, tone], axis=1).astype(np.float32), 48_000))
    assert mono.presence["audio"] == stereo.presence["audio"] == "live"
    assert list(mono.intensities.values()) == pytest.approx(list(stereo.intensities.values()), abs=1e-4)


def test_nothing_at_all_is_no_signal(model: te.LoadedModel):
    prediction = model.predict()
    assert prediction.status == "no signal"
    assert set(prediction.reason.values()) == {"not given"}


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({"video": np.zeros((1, 2, 2, 3), np.uint8)}, "vision, audio, text, got 'video'"),
        ({"vision": np.zeros(4, np.uint8)}, "uint8"),
        ({"vision": np.full((1, 4, 4, 3), 255, np.float32)}, r"floats in \[0, 1\], got 255"),
        ({"vision": "a picture"}, "vision: expected Frames or an array of pictures"),
        ({"audio": [0.0, 0.1]}, "audio: expected Sound or an array float32"),
        ({"text": 3}, "text: expected a string or a list of Word, got a int"),
        ({"text": "\ud800 x"}, "words that can be written in UTF-8"),
        ({"text": [te.Word("so", 0.0, 1.0)]}, "expected a time in seconds, got 'so'"),
        ({"text": "so", "end_s": 10**400}, "expected a time in seconds"),
    ],
)
def test_wrong_data_is_one_sentence(model: te.LoadedModel, streams: dict[str, object], message: str):
    with pytest.raises(te.errors.UsageError, match=message):
        model.predict(**streams)


def test_hops_must_go_on(model: te.LoadedModel):
    model.reset()
    model.hop(2.0)
    with pytest.raises(te.errors.UsageError, match="ends after the last one, at 2 s, got 1 s"):
        model.hop(1.0)
    with pytest.raises(te.errors.UsageError, match="expected a time in seconds, got nan"):
        model.push("text", "so", time_s=float("nan"))


def test_a_long_pause_starts_a_new_session(model: te.LoadedModel):
    model.reset()
    model.push("audio", np.ones(16_000, np.float32) / 2, time_s=1.0)
    assert model.hop(1.0).presence["audio"] == "live"
    model.push("audio", np.ones(16_000, np.float32) / 2, time_s=90_000.0)
    prediction = model.hop(90_000.0)
    assert prediction.presence["audio"] == "live"
    assert prediction.time_s == 90_000.0


@pytest.mark.parametrize(("rate_hz", "block"), [(48_000, 1024), (44_100, 480), (44_100, 64)])
def test_small_blocks_of_another_rate_are_one_sound(model: te.LoadedModel, rate_hz: int, block: int):
    """Resampled alone, a block would lose a fraction of a sample: 64 at 44.1 kHz would be lost as a whole."""
    sound = np.sin(2 * np.pi * 440 * np.arange(4 * rate_hz) / rate_hz).astype(np.float32) / 2
    whole = model.predict(audio=te.Sound(sound, rate_hz))
    model.reset()
    at = 0
    for end_s in np.arange(1, 9) / 2:
        while at < end_s * rate_hz:
            piece = te.Sound(sound[at : at + block], rate_hz, time_s=at / rate_hz)
            model.push("audio", piece, time_s=at / rate_hz)
            at += block
        prediction = model.hop(float(end_s))
    assert prediction.presence["audio"] == "live"
    assert list(prediction.intensities.values()) == pytest.approx(list(whole.intensities.values()), abs=5e-3)


def test_several_threads_wait_for_each_other(model: te.LoadedModel):
    texts = ["so it is", "an entirely different sentence"]
    alone = [_without_times(model.predict(text=text)) for text in texts]
    found: list[list[object]] = [[], []]

    def predict(number: int) -> None:
        found[number] = [_without_times(model.predict(text=texts[number])) for _ in range(40)]

    threads = [threading.Thread(target=predict, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [[alone[0]] * 40, [alone[1]] * 40]


def test_several_files_side_by_side(model: te.LoadedModel, demo_video: Path, from_file, demo_vtt: Path, tmp_path: Path):
    other = shutil.copyfile(demo_video, tmp_path / "other.mp4")
    predictions = list(model.run_many([demo_video, other]))
    assert {p.source for p in predictions} == {demo_video.name, "other.mp4"}
    assert sum(p.source == "other.mp4" for p in predictions) == len(from_file)


def test_an_option_that_does_not_exist_is_named(model: te.LoadedModel, demo_video: Path):
    with pytest.raises(te.errors.UsageError, match="got 'speed'"):
        model.run(demo_video, speed=2)


def test_a_live_run_ends_when_it_is_told_to(model: te.LoadedModel, demo_video: Path):
    stop = threading.Event()
    times = []
    for prediction in model.stream(str(demo_video), stop=stop):
        times.append(prediction.time_s)
        if len(times) == 2:
            stop.set()
    assert times[:2] == [0.5, 1.0]
    assert len(times) <= 3
    after = threading.Event()
    assert [p.time_s for p in model.stream(str(demo_video), stop=after, duration_s=0.5)] == [0.5]
    assert not after.is_set()  # it is the caller's: several runs may share it


def test_leaving_the_loop_ends_a_live_run(model: te.LoadedModel, demo_video: Path):
    before = threading.active_count()
    for _ in model.stream({"door": str(demo_video)}):
        break
    assert threading.active_count() <= before


def test_a_live_run_in_the_background(model: te.LoadedModel, demo_video: Path, capfd: pytest.CaptureFixture[str]):
    seen: list[te.Prediction] = []
    with model.stream({"door": str(demo_video)}, on_prediction=seen.append, duration_s=1.5) as run:
        summary = run.join(30)
    assert [p.time_s for p in seen] == [0.5, 1.0, 1.5]
    assert {p.source for p in seen} == {"door"}
    assert summary.counts.made == 3
    assert not run.running
    assert capfd.readouterr().out == ""


def test_what_a_callback_raises_comes_out_of_join(model: te.LoadedModel, demo_video: Path):
    run = model.stream(str(demo_video), on_prediction=lambda _: 1 / 0, duration_s=5.0)
    with pytest.raises(ZeroDivisionError):
        run.join(30)


def test_a_live_run_that_cannot_start_says_why(model: te.LoadedModel):
    with pytest.raises(te.errors.RecipeError, match="duration_s"):
        model.stream("rtsp://camera/1", duration_s=-1.0)
    with pytest.raises(te.errors.UsageError, match="rtsp.* got another scheme"):
        list(model.stream("gopher://camera/1"))


def test_a_failure_that_nobody_joined_is_raised_at_the_end(model: te.LoadedModel, demo_video: Path):
    with pytest.raises(ZeroDivisionError), model.stream(demo_video, on_prediction=lambda _: 1 / 0) as run:
        run._thread.join(30)


def test_a_closed_model_says_so(tiny_folder: Path, demo_video: Path):
    with te.load(tiny_folder) as model:
        model.predict(text="so it is")
    for use in (lambda: model.predict(text="so"), lambda: model.hop(1.0), lambda: model.run(demo_video)):
        with pytest.raises(te.errors.UsageError, match="one that was closed: load it again"):
            use()
    model.close()


def test_a_buffer_may_be_used_again_after_a_push(model: te.LoadedModel, demo_video: Path):
    def pushed(after_push) -> dict[str, float]:
        model.reset()
        with te.MediaFile(demo_video) as media:
            hop = next(media.hops(1.0))
        image, sound = hop.frames[0].image.copy(), np.concatenate([piece.values for piece in hop.sound])[:16_000]
        model.push("vision", image, time_s=1.0)
        model.push("audio", sound, time_s=1.0)
        after_push(image, sound)
        return model.hop(1.0).intensities

    def overwrite(image, sound) -> None:
        image[:], sound[:] = 0, 0

    assert pushed(overwrite) == pushed(lambda image, sound: None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, clip: model.run_many(str(clip)), "expected a list of files"),
        (lambda model, clip: model.run_many([]), "at least one file"),
        (lambda model, clip: model.stream(clip, source=[]), "got 'source'"),
        (lambda model, clip: model.stream(None), "expected an address, or addresses by name, got a NoneType"),
        (lambda model, clip: model.run(clip, window_s="4"), "expected options of the types"),
        (lambda model, clip: model.run(clip, drops=[3]), "expected drops such as 'vision@2-4', got 3"),
        (lambda model, clip: model.stream(clip, device="cuda"), "got 'device'"),
        (lambda model, clip: model.run(clip, drops="vision"), "loss vision: expected STREAM@START-END"),
    ],
)
def test_options_that_make_no_sense(model: te.LoadedModel, demo_video: Path, call, message: str):
    with pytest.raises(te.errors.UsageError, match=message):
        call(model, demo_video)


def test_options_may_be_paths_and_single_words(model: te.LoadedModel, demo_video: Path, demo_vtt: Path):
    [prediction] = model.stream(demo_video, transcript=demo_vtt, duration_s=0.5)
    assert prediction.time_s == 0.5
    first = next(model.run(demo_video, drops="vision@0-1", transcript=demo_vtt))
    assert first.reason["vision"] == "dropped by --drop vision@0-1"


def test_a_bundle_by_its_name(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(tiny_folder, tmp_path / "export" / "mine")
    monkeypatch.chdir(tmp_path)
    with te.load("mine") as found:
        assert found.bundle.folder == Path("export/mine")
    with pytest.raises(te.errors.BundleError, match="found none of that name"):
        te.load("yours")


def test_a_signature_may_be_required(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("cryptography", reason="signatures need the extra `fleet`")
    from taemi_edge.fleet.signing import make_key, sign_bundle

    shutil.copytree(tiny_folder, tmp_path / "m")
    public, _ = make_key(tmp_path / "k")
    with pytest.raises(SignatureError, match="found none"):
        te.load(tmp_path / "m", require_signature=public)
    with monkeypatch.context() as trusting:
        trusting.setenv("TAEMI_EDGE_TRUSTED_KEY", str(public))
        with pytest.raises(SignatureError, match="found none"):
            te.load(tmp_path / "m")
    sign_bundle(tmp_path / "m", tmp_path / "k")
    with te.load(tmp_path / "m", require_signature=str(public)) as model:
        assert model.predict(text="so it is").presence["text"] == "live"
