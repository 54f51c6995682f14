"""Streams a video file to a served model, hop by hop, and prints the predictions as JSON lines.

    python client.py talk.mp4 --transcript talk.vtt --model taemi-mobile --address localhost:8001

The video stands for a camera and a microphone: each request carries what came in half a second. What the model takes is
asked of the server, so any model does; streams other than pictures, sound and words are lost. Needs
`pip install 'taemi-edge[triton]'`; of taemi-edge it uses only the readers of media, and no bundle.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from taemi_edge.errors import TaemiError, UsageError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop
from taemi_edge.media.transcripts import Word, read_transcript

TYPES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64"}
#: What a stream holds, by the type of its input and the number of its axes.
KINDS = {("TYPE_UINT8", 4): "pictures", ("TYPE_FP32", 1): "sound", ("TYPE_UINT8", 1): "words"}


@dataclass(frozen=True)
class Served:
    """What a model on a server takes.

    Attributes:
        model: its name.
        streams: what each of its streams holds, by name: pictures, sound or words; others are left out.
        rate_hz: the rate of its sound. Streams of another rate are left out.
    """

    model: str
    streams: Mapping[str, str]
    rate_hz: int

    @classmethod
    def by(cls, client: Any, model: str) -> Served:
        """Ask a server.

        Raises:
            UsageError: the model's configuration does not say what its streams are.
        """
        config = client.get_model_config(model, as_json=True)["config"]
        inputs = {tensor["name"]: (tensor["data_type"], len(tensor["dims"])) for tensor in config["input"]}
        parameters = config.get("parameters", {})
        if not {"streams", "sample_rates_hz"} <= set(parameters):
            raise UsageError(
                f"{model}: expected a model that `taemi-edge export-triton` wrote, got one that tells nothing"
            )
        told = {key: json.loads(parameters[key]["string_value"]) for key in ("streams", "sample_rates_hz")}
        rates_hz: dict[str, int] = told["sample_rates_hz"]
        rate_hz = next(iter(rates_hz.values()), 16_000)
        kinds = {name: KINDS.get(inputs[name]) for name in told["streams"] if rates_hz.get(name, rate_hz) == rate_hz}
        return cls(model, {name: kind for name, kind in kinds.items() if kind}, rate_hz)


def tensors_of(hop: Hop, words: list[Word] | None, streams: Mapping[str, str]) -> dict[str, Any]:
    """The tensors of a hop. A stream that is left out is lost; an empty one is connected and gave nothing.

    Args:
        words: that were said; None where there is nobody who writes them down.
        streams: what each of them holds; those that the video does not have are not among them.
    """
    tensors: dict[str, Any] = {"end_s": np.array([hop.end_s])}
    frames, sound = hop.pieces.get("video", []), hop.pieces.get("audio", [])
    for name, kind in streams.items():
        if kind == "pictures":
            tensors[name] = np.stack([frame.image for frame in frames]) if frames else np.zeros((0, 1, 1, 3), np.uint8)
            tensors[f"{name}_times_s"] = np.array([frame.time_s for frame in frames], np.float64)
        elif kind == "sound":
            tensors[name] = np.concatenate([piece.values for piece in sound] or [np.zeros(0, np.float32)])
            if sound:
                tensors[f"{name}_time_s"] = np.array([sound[0].time_s])
        elif words is not None:
            lines = [json.dumps({"start": word.start_s, "end": word.end_s, "text": word.text}) for word in words]
            tensors[name] = np.frombuffer("\n".join(lines).encode(), np.uint8)
    return tensors


def predictions(
    client: Any, served: Served, hops: Iterable[Hop], words: list[Word] | None, source: str
) -> Iterator[Any]:
    """Send hops as one sequence, and give what the model says of each."""
    wanted = [triton.InferRequestedOutput("prediction")]
    spoken, coming, started = list(words or []), iter(hops), False
    hop = next(coming, None)
    while hop is not None:
        following = next(coming, None)
        said = [word for word in spoken if word.end_s <= hop.end_s]
        spoken = [word for word in spoken if word.end_s > hop.end_s]
        tensors = []
        for name, array in tensors_of(hop, None if words is None else said, served.streams).items():
            tensors.append(triton.InferInput(name, [1, *array.shape], TYPES[array.dtype.name]))
            tensors[-1].set_data_from_numpy(array[None])
        answer = client.infer(
            served.model,
            tensors,
            outputs=wanted,
            sequence_id=source,  # becomes the `source` of the predictions
            sequence_start=not started,
            sequence_end=following is None,
        )
        yield json.loads(answer.as_numpy("prediction").tobytes())
        hop, started = following, True


def stream(options: argparse.Namespace) -> None:
    """Stream the video, and print the predictions."""
    began = time.monotonic()
    with triton.InferenceServerClient(options.address) as client:
        served = Served.by(client, options.model)
        with MediaFile(options.video, served.rate_hz, options.frames) as media:
            there = {"pictures": media.has_video, "sound": media.has_audio, "words": True}
            served = Served(served.model, {n: k for n, k in served.streams.items() if there[k]}, served.rate_hz)
            words = read_transcript(options.transcript, media.duration_s) if options.transcript else None
            source = options.source or options.video.name
            for prediction in predictions(client, served, media.hops(options.hop), words, source):
                print(json.dumps(prediction, ensure_ascii=False), flush=True)
                if options.real_time:
                    time.sleep(max(0.0, began + prediction["time_s"] - time.monotonic()))


def above_0(text: str) -> float:
    """A number of the command line."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return number


def main() -> int:
    """Parse the command line and stream."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--transcript", type=Path, help="a .vtt, .srt, .jsonl or .txt with what is said")
    parser.add_argument("--model", default="taemi-mobile")
    parser.add_argument("--address", default="localhost:8001", help="of the server's gRPC interface")
    parser.add_argument("--source", help="what predictions call the source; by default the video's name")
    parser.add_argument("--hop", type=above_0, default=0.5, help="seconds that a request carries")
    parser.add_argument("--frames", type=above_0, default=5.0, help="frames a second to send")
    parser.add_argument("--real-time", action="store_true", help="send no faster than a camera would")
    options = parser.parse_args()
    try:
        stream(options)
    except InferenceServerException as refusal:
        print(f"client.py: {options.model} at {options.address}: {refusal.message()}", file=sys.stderr)
        return 1
    except TaemiError as error:  # of the video, the transcript or the model
        print(f"client.py: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the predictions has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
