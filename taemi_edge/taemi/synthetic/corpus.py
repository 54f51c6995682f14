"""Writing a corpus of synthetic clips to disk, laid out as Hume-Vidmimic2 is: drawn faces and espeak-ng voices.

Each clip consists of four scenes, which differ in wall, light and background sound. In every scene a face and a voice
show a feeling. Only one scene shows the feeling of the labels, and only the words say which one: they name its place.
The words also name the feeling itself, but with noise. So no stream suffices. A model that lets text choose among the
moments of sound and picture has more to gain than one that averages over them.

Nothing here is anybody's emotion. Reports call this data synthetic.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from taemi_edge import __version__
from taemi_edge.bundle.atomic import new_file, new_folder
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.values import Array
from taemi_edge.bundle.workers import WorkerPool, run_parallel
from taemi_edge.corpora.labelled_clips import SYNTHETIC_FILE, SyntheticMark
from taemi_edge.errors import UsageError
from taemi_edge.media.opencv import opencv
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.synthetic.clip_plan import (
    ClipPlan,
    plan_clip,
)
from taemi_edge.taemi.synthetic.rendering import (
    FRAMES_PER_SECOND,
    SAMPLE_RATE_HZ,
    SIZE_WH,
    SoundTrack,
    draw_frames,
    speak_clip,
)
from taemi_edge.taemi.synthetic.voice import restart_voice, speak
from taemi_edge.taemi.vidmimic2 import COLUMNS

#: The share of clips in each split.
SPLIT_SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}


# --------------------------------------------------------------------------------------------------------- on disk
#: What a corpus records as its maker.
MADE_BY = f"taemi-edge {__version__}"


def write_corpus(
    folder: Path,
    clips: int,
    seed: int,
    *,
    workers: int | WorkerPool = 0,
    progress: Progress = SILENT,
) -> None:
    """Make a corpus. When anything fails, no folder is left behind.

    The same seed gives the same clips, whatever the number of workers.

    Args:
        folder: a new or empty folder.
        clips: how many clips to make, at least one for each split.
        seed: 0 or more.
        workers: processes; 0 for as many as there are cores.
        progress: counts the clips that are done.

    Raises:
        UsageError: fewer clips than splits, or a negative seed.
        OutputError: there is no room on the disk, or `folder` holds other files.
        MissingExtraError: espeakng-loader is not installed.
    """
    if clips < len(SPLIT_SHARES):
        raise UsageError(f"expected at least {len(SPLIT_SHARES)} clips, one a split, got {clips}")
    if seed < 0:
        raise UsageError(f"expected a seed of 0 or more, got {seed}")
    speak("one")  # a missing library is an error at once, not one from a worker
    with new_folder(folder, ()) as draft:
        for name in ("raw", "audio", "transcripts"):
            (draft / name).mkdir()
        labels: dict[int, Array] = {}
        tasks = partial(write_clip, draft, seed)
        for done, (index, values) in enumerate(run_parallel(tasks, range(clips), workers), 1):
            labels[index] = values
            progress.count(done, clips, "making clips")
        _write_labels(draft, labels)
        mark = SyntheticMark(made_by=MADE_BY, clips=clips, seed=seed)
        write_json(draft / SYNTHETIC_FILE, mark)


def write_clip(folder: Path, seed: int, index: int) -> tuple[int, Array]:
    """Plan, speak, draw and write one clip.

    Args:
        folder: the corpus, with its folders `raw`, `audio` and `transcripts`.
        seed: of the corpus.
        index: the number of the clip, from 0.

    Returns:
        The number of the clip and its labels, float64 (6,).
    """
    opencv("synthetic clips").setNumThreads(1)
    restart_voice()
    rng = np.random.default_rng([seed, index])
    plan = plan_clip(rng)
    track = speak_clip(plan, rng)
    frames = draw_frames(plan, track, rng)
    name = clip_id(index)
    sound = None if "audio" in plan.lost else track.samples
    _write_video(folder / "raw" / f"{name}.mp4", frames, sound)
    if sound is not None:
        _write_mp3(folder / "audio" / f"{name}.mp3", sound)
    if "text" not in plan.lost:
        _write_vtt(folder / "transcripts" / f"{name}.vtt", plan, track)
    return index, plan.labels


def clip_id(index: int) -> str:
    """The name of a clip: five digits, as the data set names its files.

    Example:
        >>> clip_id(7)
        '00007'
    """
    return f"{index:05d}"


def _write_video(path: Path, frames: list[Array], samples: Array | None) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "24", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = *SIZE_WH, "yuv420p"
        video.thread_count = 1
        audio = None
        if samples is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
            audio.bit_rate = 64_000
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None and samples is not None:
            _encode_sound(container, audio, samples)


def _write_mp3(path: Path, samples: Array) -> None:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("mp3", rate=16_000, layout="mono")
        audio.bit_rate = 48_000
        _encode_sound(container, audio, samples)


def _encode_sound(container: Any, stream: Any, samples: Array) -> None:
    sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    sound.sample_rate = SAMPLE_RATE_HZ
    container.mux(stream.encode(sound))
    container.mux(stream.encode(None))


def _write_vtt(path: Path, plan: ClipPlan, track: SoundTrack) -> None:
    def clock(time_s: float) -> str:
        return f"00:{int(time_s // 60):02d}:{time_s % 60:06.3f}"

    cues = [
        f"{clock(start_s)} --> {clock(end_s)}\n{shot.text}"
        for shot, (start_s, end_s) in zip(plan.shots, track.spoken_s, strict=True)
    ]
    path.write_text("WEBVTT\n\n" + "\n\n".join(cues) + "\n", encoding="utf-8")


def _write_labels(folder: Path, labels: dict[int, Array]) -> None:
    first = 0
    shares = list(SPLIT_SHARES.values())
    for number, split in enumerate(SPLIT_SHARES):
        last = round(sum(shares[: number + 1]) * len(labels)) if number + 1 < len(SPLIT_SHARES) else len(labels)
        with (
            new_file(folder / f"{split}_split.csv") as draft,
            draft.open("w", encoding="utf-8", newline="") as handle,
        ):
            rows = csv.writer(handle)
            rows.writerow(("Filename", *COLUMNS))
            for index in range(first, last):
                rows.writerow((clip_id(index), *(f"{value:.3f}" for value in labels[index])))
        first = last
