"""Streams a video file to a served model, hop by hop, and prints the predictions as JSON lines.

    python client.py talk.mp4 --transcript talk.vtt --model taemi-mobile --address localhost:8001

The video stands for a camera: each request carries what came in half a second. What the model takes is asked of the
server, so any model does whose streams are pictures, sound and words. Needs `pip install 'taemi-edge[triton]'`; of
taemi-edge it uses only the readers of media, and no bundle.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop
from taemi_edge.media.transcripts import Word, read_transcript

TYPES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64"}


def inputs_of(client: Any, model: str) -> dict[str, list[int]]:
    """The shapes of a model's inputs by name, as its configuration has them."""
    config = client.get_model_config(model).config
    return {tensor.name: list(tensor.dims) for tensor in config.input}


def tensors_of(hop: Hop, words: list[Word], inputs: Mapping[str, list[int]]) -> dict[str, Any]:
    """The tensors of a hop. A stream that is left out is lost; an empty one is connected and gave nothing."""
    tensors: dict[str, Any] = {"end_s": np.array([hop.end_s])}
    for name, shape in inputs.items():
        if f"{name}_times_s" in inputs and shape == [-1, -1, -1, 3] and hop.pieces.get("video"):
            frames = hop.pieces["video"]
            tensors[name] = np.stack([frame.image for frame in frames])
            tensors[f"{name}_times_s"] = np.array([frame.time_s for frame in frames])
        elif f"{name}_time_s" in inputs and hop.pieces.get("audio"):
            tensors[name] = np.concatenate([piece.values for piece in hop.pieces["audio"]])
            tensors[f"{name}_time_s"] = np.array([hop.pieces["audio"][0].time_s])
        elif name != "end_s" and shape == [-1] and not name.endswith("_times_s") and f"{name}_time_s" not in inputs:
            lines = [json.dumps({"start": word.start_s, "end": word.end_s, "text": word.text}) for word in words]
            tensors[name] = np.frombuffer("\n".join(lines).encode(), np.uint8)
    return tensors


def predictions(client: Any, model: str, hops: Iterator[Hop], words: list[Word], source: str) -> Iterator[Any]:
    """Send hops as one sequence, and give what the model says of each."""
    inputs = inputs_of(client, model)
    wanted = [triton.InferRequestedOutput("prediction")]
    spoken, started = list(words), False
    hop = next(hops, None)
    while hop is not None:
        following = next(hops, None)
        said = [word for word in spoken if word.end_s <= hop.end_s]
        spoken = spoken[len(said) :]
        tensors = []
        for name, array in tensors_of(hop, said, inputs).items():
            tensors.append(triton.InferInput(name, [1, *array.shape], TYPES[array.dtype.name]))
            tensors[-1].set_data_from_numpy(array[None])
        answer = client.infer(
            model,
            tensors,
            outputs=wanted,
            sequence_id=source,  # becomes the `source` of the predictions
            sequence_start=not started,
            sequence_end=following is None,
        )
        yield json.loads(answer.as_numpy("prediction").tobytes())
        hop, started = following, True


def main() -> int:
    """Parse the command line and stream."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--transcript", type=Path, help="a .vtt, .srt, .jsonl or .txt with what is said")
    parser.add_argument("--model", default="taemi-mobile")
    parser.add_argument("--address", default="localhost:8001", help="of the server's gRPC interface")
    parser.add_argument("--source", help="what predictions call the source; by default the video's name")
    parser.add_argument("--hop", type=float, default=0.5, help="seconds that a request carries")
    parser.add_argument("--rate", type=int, default=16_000, help="samples a second that the model's sound has")
    parser.add_argument("--frames", type=float, default=5.0, help="frames a second to send")
    parser.add_argument("--real-time", action="store_true", help="send no faster than a camera would")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        with (
            triton.InferenceServerClient(options.address) as client,
            MediaFile(options.video, options.rate, options.frames) as media,
        ):
            words = read_transcript(options.transcript, media.duration_s) if options.transcript else []
            source = options.source or options.video.name
            for prediction in predictions(client, options.model, media.hops(options.hop), words, source):
                print(json.dumps(prediction, ensure_ascii=False), flush=True)
                if options.real_time:
                    time.sleep(max(0.0, began + prediction["time_s"] - time.monotonic()))
    except InferenceServerException as refusal:
        print(f"client.py: {options.model} at {options.address}: {refusal.message()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
