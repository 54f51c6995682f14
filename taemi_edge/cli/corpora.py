"""The commands that make data: `synth` draws a synthetic corpus, `extract` encodes a corpus's clips once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.cli.drive_options import CutOption, drive_options
from taemi_edge.cli.named_bundles import chosen_artefact
from taemi_edge.cli.options import (
    ASR_MODEL,
    AsrModelOption,
    CorpusOption,
    DeviceOption,
    FacesChoice,
    JsonOption,
    RayOption,
    SplitChoice,
    WorkersOption,
    chosen_workers,
    device_name,
    key_and_value,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.run_options import ClockOption, MapOption
from taemi_edge.cli.training_tables import print_extraction
from taemi_edge.errors import InputError

_ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The model whose encoders are run: a bundle, file.py:function of your own, a checkpoint or a recipe.",
    ),
]
_StoreOption = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR|URI",
        help="The feature store, a folder or s3://bucket/folder. The same command continues one that was stopped.",
    ),
]
_SplitOption = Annotated[
    list[SplitChoice] | None,
    typer.Option("--split", help="Only this split; repeatable  [default: all]"),
]
_TranscriptsOption = Annotated[
    Path | None,
    typer.Option(
        "--transcripts",
        metavar="DIR",
        help="The folder with a transcript of each clip: NNNNN.vtt, .srt, .txt or .jsonl  [default: DIR/transcripts]",
    ),
]
_AsrOption = Annotated[bool, typer.Option("--asr", help="Recognise the speech of clips without a transcript.")]
_FacesOption = Annotated[
    FacesChoice, typer.Option("--faces", help="Find faces in the video, or take face_images where there are any.")
]
_FeaturesOption = Annotated[
    list[str] | None,
    typer.Option("--features", metavar="STREAM=FOLDER", help="Take provided pickles, such as vision=vit; repeatable."),
]
_LongestOption = Annotated[
    float, typer.Option("--longest", metavar="S", min=1, help="How much of each clip is read, in seconds.")
]


def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The corpus to make: a new or empty folder.")],
    clips: Annotated[int, typer.Option("--clips", metavar="N", min=3, help="How many clips to make.")] = 600,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="The same seed gives the same clips.")] = 0,
    workers: WorkersOption = 0,
) -> None:
    """Make a synthetic corpus of drawn faces and espeak-ng voices, laid out on disk as Hume-Vidmimic2 is."""
    from taemi_edge.taemi.synthetic.corpus import write_corpus

    with shown_progress() as progress:
        write_corpus(folder, clips, seed, workers=workers, progress=progress)
    typer.echo(f"wrote {clips} synthetic clips to {folder}")


def extract(
    model: _ModelArgument,
    data: CorpusOption,
    output: _StoreOption,
    split: _SplitOption = None,
    transcripts: _TranscriptsOption = None,
    asr: _AsrOption = False,
    asr_model: AsrModelOption = ASR_MODEL,
    faces: _FacesOption = FacesChoice.detect,
    features: _FeaturesOption = None,
    longest: _LongestOption = 60.0,
    topics: MapOption = None,
    clock: ClockOption = "auto",
    cut: CutOption = None,
    workers: WorkersOption = 0,
    ray: RayOption = None,
    device: DeviceOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first clip that cannot be read.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Compute the features of every clip of a corpus once, for training. The same command continues a stopped one."""
    from taemi_edge.cli.extraction_json import extraction_json
    from taemi_edge.corpora.clip_reading import Reading
    from taemi_edge.corpora.extract import ExtractOptions, extract_features
    from taemi_edge.corpora.opening import open_any_corpus

    reading = Reading(
        longest_s=longest,
        faces=faces.value,
        asr_model=asr_model if asr else None,
        features=dict(key_and_value(text, "--features", "STREAM=FOLDER") for text in features or ()),
    )
    drives, began_s = drive_options(topics, clock, cut), time.monotonic()
    with shown_progress() as progress:
        pool = chosen_workers(workers, ray, device_name(device))
        result = extract_features(
            open_any_corpus(data, transcripts, drives=drives),
            chosen_artefact(model, recipes=True),
            output,
            ExtractOptions(reading, tuple(choice.value for choice in split or ()), pool, device_name(device), strict),
            progress=progress,
        )
    print_extraction(result)
    save_json(json_file, extraction_json(result, time.monotonic() - began_s))
    if result.problems and not result.store.count("all"):
        clip_id, problem = next(iter(result.problems.items()))
        raise InputError(f"none of {len(result.problems)} clips can be read, such as {clip_id}: {problem}")
