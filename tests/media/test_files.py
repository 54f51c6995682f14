"""Media files as they come: every container, and every fault of the list."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from taemi_edge.errors import MediaError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop
from tests.media import damage_middle, moving_picture, remux, tone, write_float_wav, write_media

FRAMES = [i / 25 for i in range(75)]


def hops_of(path: Path, hop_s: float = 0.5, frames_per_second: float | None = None) -> list[Hop]:
    with MediaFile(path, 16_000, frames_per_second) as media:
        return list(media.hops(hop_s))


def sound_of(hops: list[Hop]) -> np.ndarray:
    """All samples laid where their times say."""
    pieces = [piece for hop in hops for piece in hop.sound]
    sound = np.zeros(max(round(p.time_s * 16_000) + len(p.values) for p in pieces), np.float32)
    for piece in pieces:
        start = round(piece.time_s * 16_000)
        sound[max(0, start) : start + len(piece.values)] = piece.values[max(0, -start) :]
    return sound


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 25 frames a second with a 440 Hz tone."""
    return write_media(tmp_path_factory.mktemp("media") / "plain.mp4", frame_times_s=FRAMES, samples=tone(3.0))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "ts", "webm"])
def test_every_container_gives_the_same_times(tmp_path: Path, plain: Path, ending: str):
    if ending == "webm":
        codecs = {"video_codec": "libvpx", "audio_codec": "libopus"}
        path = write_media(
            tmp_path / "a.webm", frame_times_s=FRAMES, samples=tone(3.0, 48_000), rate_hz=48_000, **codecs
        )
    else:
        path = remux(plain, tmp_path / f"a.{ending}")
    hops = hops_of(path)
    frames = [frame.time_s for hop in hops for frame in hop.frames]
    assert [hop.end_s for hop in hops] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    np.testing.assert_allclose(frames, FRAMES[: len(frames)], atol=0.03)
    assert len(frames) >= 74
    assert all(hop.end_s - 0.5 < f.time_s <= hop.end_s + 1e-6 for hop in hops[1:] for f in hop.frames)
    assert len(sound_of(hops)) == pytest.approx(48_000, abs=1600)


@pytest.mark.parametrize("ending", ["wav", "mp3"])
def test_sound_alone(tmp_path: Path, ending: str):
    codec = {"wav": "pcm_s16le", "mp3": "libmp3lame"}[ending]
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=22_050, layout="mono")
        values = (tone(2.0, 22_050) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(values[None], format="s16p" if ending == "mp3" else "s16", layout="mono")
        frame.sample_rate = 22_050
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    hops = hops_of(path)
    assert len(hops) == 4
    assert not any(hop.frames for hop in hops)
    sound = sound_of(hops)[2000:30_000]
    crossings = np.count_nonzero(np.diff(np.signbit(sound))) / 2 / (len(sound) / 16_000)
    assert crossings == pytest.approx(440, abs=3)


def test_a_file_without_sound(tmp_path: Path):
    path = write_media(tmp_path / "a.mp4", frame_times_s=FRAMES)
    with MediaFile(path) as media:
        assert (media.has_video, media.has_audio) == (True, False)
        assert len(list(media.hops(1.0))) == 3


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path):
    times = [0.0, 0.04, 0.5, 0.54, 1.7, 1.74, 2.2]
    path = write_media(tmp_path / "a.mp4", frame_times_s=times)
    frames = [frame.time_s for hop in hops_of(path) for frame in hop.frames]
    np.testing.assert_allclose(frames, times, atol=1e-3)


def test_a_stereo_file_is_mixed_to_the_mean_and_never_clips(tmp_path: Path):
    left = np.stack([tone(2.0, level=0.9), np.zeros(32_000, np.float32)])
    both = np.stack([tone(2.0, level=0.9)] * 2)
    levels = []
    for name, samples in (("left.mkv", left), ("both.mkv", both)):
        path = write_media(tmp_path / name, samples=samples, audio_codec="pcm_s16le")
        levels.append(np.abs(sound_of(hops_of(path))).max())
    assert levels == pytest.approx([0.45, 0.9], abs=0.01)


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, 0)), (180, (-1, 0)), (270, (-1, -1))])
def test_a_rotated_file_comes_upright(tmp_path: Path, plain: Path, degrees: int, corner: tuple[int, int]):
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[:40, -40:] = 255  # a white patch, top right
    source = write_media(tmp_path / "flat.mp4", frame_times_s=[0.0, 0.2, 0.4], image=picture)
    turned = write_rotation(source, tmp_path / "turned.mp4", degrees)
    image = hops_of(turned)[0].frames[0].image
    assert image.shape == ((120, 160, 3) if degrees == 180 else (160, 120, 3))
    assert image[corner[0], corner[1]].mean() > 200


def write_rotation(source: Path, target: Path, degrees: int) -> Path:
    """Turn the display matrix in an mp4's track header (tkhd), as phones do: the pixels stay as they are."""
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b = {90: (0, -1), 180: (-1, 0), 270: (0, 1)}[degrees]
    matrix = np.array([a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30], ">i4")
    content[at : at + 36] = matrix.tobytes()
    target.write_bytes(content)
    return target


def test_a_cover_picture_is_no_video(tmp_path: Path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("libmp3lame", rate=16_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 160, 120, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(moving_picture(0), format="rgb24")))
        sound = av.AudioFrame.from_ndarray(tone(1.0)[None], format="fltp", layout="mono")
        sound.sample_rate = 16_000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    with MediaFile(path) as media:
        assert (media.has_video, media.has_audio) == (False, True)


def test_damage_in_the_middle_is_counted_and_the_clock_goes_on(tmp_path: Path, demo_video: Path):
    path = damage_middle(demo_video, tmp_path / "damaged.mp4")
    with MediaFile(path) as media:
        hops = list(media.hops(0.5))
        damaged = media.damaged_packets
    assert damaged > 0
    assert hops[-1].end_s == pytest.approx(16.5)
    assert hops[-1].frames
    assert hops[-1].sound


@pytest.mark.parametrize("ending", ["ts", "mkv"])
def test_a_file_that_was_cut_in_half_plays_to_the_cut(tmp_path: Path, demo_video: Path, ending: str):
    whole = remux(demo_video, tmp_path / f"a.{ending}").read_bytes()
    half = tmp_path / f"half.{ending}"
    half.write_bytes(whole[: len(whole) // 2])
    assert 4 <= hops_of(half)[-1].end_s <= 13


def test_sound_that_pauses_leaves_a_gap_and_does_not_move(tmp_path: Path):
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start_s in (0.0, 2.0):
            frame = av.AudioFrame.from_ndarray((tone(1.0) * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, round(start_s * 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    hops = hops_of(path)
    heard = [sum(len(p.values) for p in hop.sound) for hop in hops]
    assert heard == pytest.approx([8000, 8000, 0, 0, 8000, 8000], abs=80)


def test_a_timestamp_that_leaps_hours_ahead_is_damage(tmp_path: Path):
    path = write_media(tmp_path / "leap.mkv", frame_times_s=[*FRAMES[:50], 90_000.0, 90_000.04])
    with MediaFile(path) as media:
        assert [hop.end_s for hop in media.hops(0.5)] == [0.5, 1.0, 1.5, 2.0]
        assert media.damaged_packets == 2


def test_nan_in_the_sound_is_a_gap_with_its_reason(tmp_path: Path):
    samples = tone(3.0)
    samples[16_000:24_000] = np.nan
    hops = hops_of(write_float_wav(tmp_path / "a.wav", samples))
    assert all(np.isfinite(piece.values).all() for hop in hops for piece in hop.sound)
    # FFmpeg reads 1,024 samples at a time, so the fault begins up to 64 ms before the first NaN
    assert [hop.faults.get("audio") for hop in hops] == [None, "NaN in the sound", "NaN in the sound", None, None, None]
    assert sum(len(p.values) for p in hops[2].sound) == 0
    assert sum(len(p.values) for p in hops[4].sound) == 8000


def test_a_stream_that_ends_early_does_not_hold_the_other_back(tmp_path: Path):
    path = write_media(tmp_path / "a.mp4", frame_times_s=FRAMES[:25], samples=tone(20.0))
    with MediaFile(path) as media:
        longest_queue = 0
        for _ in media.hops(0.5):
            longest_queue = max(longest_queue, sum(len(p.values) for p in media._tracks[0].waiting))
    assert longest_queue < 7 * 16_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.mp4", None, "found nothing"),
        ("empty.mp4", b"", "got an empty file"),
        ("text.mp4", b"this is not a video\n" * 100, "FFmpeg cannot read it"),
        ("noise.mkv", bytes(range(256)) * 64, "FFmpeg cannot read it"),
    ],
)
def test_what_is_no_media_file_is_one_sentence(tmp_path: Path, name: str, content: bytes | None, message: str):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=message):
        MediaFile(path)
    with pytest.raises(MediaError, match="found a folder"):
        MediaFile(tmp_path)


def test_a_file_whose_index_was_cut_off_is_one_sentence(tmp_path: Path, plain: Path):
    content = plain.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: content.rindex(b"moov") - 4])
    with pytest.raises(MediaError, match="FFmpeg cannot read it"):
        MediaFile(path)


def test_closing_frees_the_file(plain: Path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        hops_of(plain, 1.0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray16le", "rgb48le", "yuv420p", "yuv420p10le", "bgra"])
@pytest.mark.parametrize("size_wh", [(64, 48), (33, 17)])
def test_every_kind_of_pixels_becomes_rgb(tmp_path: Path, pixels: str, size_wh: tuple[int, int]):
    width, height = size_wh
    ramp = np.repeat(np.linspace(0, 255, width)[None, :, None].astype(np.uint8), height, axis=0).repeat(3, axis=2)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(ramp, format="rgb24").reformat(format=pixels, threads=1)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    image = hops_of(tmp_path / "a.mkv")[0].frames[0].image
    assert (image.dtype, image.shape) == (np.uint8, ramp.shape)
    np.testing.assert_allclose(image, ramp, atol=3)
