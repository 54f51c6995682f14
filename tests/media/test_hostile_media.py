"""Files that are damaged, that lie about themselves, or that were made to do harm: hops, or one sentence."""

from __future__ import annotations

import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from taemi_edge.errors import MediaError
from taemi_edge.media.files import MediaFile, read_samples
from tests.media.fuzzing import FORMS, TITLE, mutants, write_form

ROOT = Path(__file__).parents[2]
MOST_HOPS = 8000


def _read(file: Path) -> tuple[int, float]:
    """Read a file as a run does; how many hops there are, and how long it is."""
    hops = 0
    with MediaFile(file, 16_000, 5.0) as media:
        for hop in media.hops(0.5):
            hops += 1
            for frame in hop.pieces["video"]:
                assert frame.image.ndim == 3
            if hops >= MOST_HOPS:  # a leap in time is data that does not come, an hour of it at most
                break
        else:
            media.rest()
        return hops, media.length_s


def _read_mutants(files: Sequence[Path], count: int) -> None:
    """Read so many mutants of each file; each ends within 2 s or a fast forward over a leap in time."""
    for file in files:
        content = file.read_bytes()
        mutant = file.with_name(f"mutant{file.suffix}")
        for number, changed in enumerate(islice(mutants(content, random.Random(file.suffix)), count)):
            mutant.write_bytes(changed)
            started_s, hops = time.process_time(), 0
            try:
                hops, _ = _read(mutant)
            except MediaError as error:
                assert "\n" not in str(error)
            except Exception as error:
                raise AssertionError(f"mutant {number} of {file.suffix}") from error
            assert time.process_time() - started_s < 2 + hops / 500, f"mutant {number} of {file.suffix}"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("forms")
    return [write_form(form, folder) for form in FORMS if _can_write(form)]


def _can_write(form: str) -> bool:
    return all(codec is None or codec in av.codecs_available for codec in FORMS[form][1:])


def test_damaged_files_give_hops_or_one_sentence(clips):
    _read_mutants(clips, 5)


@pytest.mark.nightly
def test_thousands_of_damaged_files_give_hops_or_one_sentence(clips):
    _read_mutants(clips, 150)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 < 1000


@pytest.mark.parametrize("form", ["mp4", "mkv", "ts", "flac", "mp3", "wav", "avi"])
def test_titles_in_any_encoding_do_not_matter(form, tmp_path):
    if not _can_write(form):
        pytest.skip(f"this FFmpeg does not write {form}")
    file = write_form(form, tmp_path)
    content = file.read_bytes()
    file.write_bytes(content.replace(TITLE.encode(), b"\xe9\xff" * (len(TITLE) // 2) + b"\xc3" * (len(TITLE) % 2)))
    assert _read(file)[0] == 3


def png_file(width: int, height: int, claimed: tuple[int, int] | None = None) -> bytes:
    packed = zlib.compressobj(9)
    rows = b"".join([packed.compress(bytes(1 + 3 * width)) for _ in range(height)] + [packed.flush()])
    size = struct.pack(">IIBBBBB", *(claimed or (width, height)), 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", size), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


_MEASURE = """
import resource, sys
from pathlib import Path
from tests.media.test_hostile_media import _read
resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sys.argv[1:]:
    try:
        _read(Path(file))
    except Exception as error:
        print(type(error).__name__)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_pictures_that_unpack_to_gigabytes_take_no_memory(tmp_path):
    files = {
        "claims": png_file(64, 64, (16_000, 16_000)),
        "huge": png_file(64, 64, (100_000, 100_000)),
        "is": png_file(9000, 5000),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    command = [sys.executable, "-c", _MEASURE, *(str(tmp_path / f"{name}.png") for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout.splitlines()[-1]) < 100_000  # kB


def _clip_with_times(file: Path, times: Sequence[int], base: Fraction = Fraction(1, 1000)) -> Path:
    """A picture and a tenth of a second of sound at each of some times."""
    with av.open(str(file), "w", format="matroska") as container:
        picture = container.add_stream("mjpeg", rate=10)
        picture.width, picture.height, picture.pix_fmt, picture.codec_context.time_base = 64, 48, "yuvj420p", base
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for at in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = at, base
            container.mux(picture.encode(frame))
            tone = av.AudioFrame.from_ndarray(np.full((1, 1600), 99, np.int16), "s16", "mono")
            tone.sample_rate, tone.pts, tone.time_base = 16_000, at * 16, Fraction(1, 16_000)
            container.mux(sound.encode(tone))
    return file


def test_sound_with_gaps_of_an_hour_takes_no_memory_and_is_refused_where_it_must_be_whole(tmp_path):
    file = _clip_with_times(tmp_path / "gaps.mkv", [0, 3_500_000])
    assert _read(file)[1] == pytest.approx(3500, abs=1.1)
    with pytest.raises(MediaError, match="cut the file at its gaps"):
        read_samples(file, 16_000)
    assert len(read_samples(file, 16_000, longest_s=2.0)) < 3 * 16_000


@pytest.mark.parametrize(
    "times", [[0, 100, 2**40], [-(2**40), 0, 100], [0, 2**40, 100], [2**40, 2**40 + 100], [5, 5, 5]]
)
def test_times_that_cannot_be_are_left_out(times, tmp_path):
    try:
        file = _clip_with_times(tmp_path / "times.mkv", times)
    except av.FFmpegError:
        pytest.skip("this FFmpeg does not write them")
    _, length_s = _read(file)
    assert 0 <= length_s < 4000


def test_names_that_are_no_text_or_too_long(tmp_path):
    odd = Path(str(tmp_path)) / b"caf\xe9 \n.mp4".decode(errors="surrogateescape")
    write_form("mp4", tmp_path).rename(odd)
    assert _read(odd)[0] == 3
    odd.write_bytes(b"x")
    for name, words in (
        (odd, "cannot read it"),
        (tmp_path / ("x" * 300), "too long"),
        (Path("a\0b"), "no file can have"),
    ):
        with pytest.raises(MediaError, match=words) as refused:
            _read(name)
        assert str(refused.value).isprintable()


def test_thousands_of_streams_are_no_trouble(tmp_path):
    file = tmp_path / "many.mkv"
    with av.open(str(file), "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(900)]
        for stream in streams:
            tone = av.AudioFrame.from_ndarray(np.full((1, 1600), 99, np.int16), "s16", "mono")
            tone.sample_rate, tone.pts, tone.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(stream.encode(tone))
    started_s = time.process_time()
    _read(file)
    assert time.process_time() - started_s < 2
