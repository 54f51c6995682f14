"""What `--help` says beside the options themselves: groups of commands and of options, examples, and pages to read on.

It is data that the help pages (`cli/help_pages.py`), the site and the tests read. A command that is not in each of
these tables fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The commands by what they are for, in the order of `taemi-edge --help`.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Model": ("init-model", "init", "train", "evaluate", "ablate", "sweep", "synth", "extract", "export"),
    "Engines": ("calibrate", "build-engine", "parity", "bench"),
    "Run": ("run", "replay", "demo", "update", "export-triton", "triton-probe"),
    "Look": ("inspect", "doctor"),
    "Ship": ("keygen", "sign", "verify", "push", "pull"),
}

#: The page of the site that a command's help names, inside docs/.
PAGES: Mapping[str, str] = {
    "init-model": "how-to/models",
    "init": "how-to/training",
    "train": "how-to/training",
    "evaluate": "how-to/training",
    "ablate": "how-to/training",
    "sweep": "how-to/sweeps",
    "synth": "how-to/training",
    "extract": "how-to/training",
    "export": "how-to/models",
    "calibrate": "how-to/precision",
    "build-engine": "how-to/engines",
    "parity": "reference/checks",
    "bench": "how-to/bench",
    "run": "how-to/live",
    "replay": "how-to/robot-corpora",
    "demo": "start/demo",
    "update": "how-to/updates",
    "export-triton": "how-to/triton",
    "triton-probe": "how-to/triton-operations",
    "inspect": "reference/checks",
    "doctor": "reference/checks",
    "keygen": "how-to/signing",
    "sign": "how-to/signing",
    "verify": "how-to/signing",
    "push": "how-to/fleet",
    "pull": "how-to/fleet",
}
#: Where the words of this project are explained.
GLOSSARY = "concepts/glossary"

_RECORDINGS = ("--map", "--clock", "--cut")
_WORK = ("--workers", "--ray", "--device", "--threads")
#: The options of commands that have many, by what they are for. Those that are not named stand under "Options".
OPTION_GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "run": {
        "Sources": (
            *("--transcript", "--asr", "--asr-model", "--video", "--audio", "--live", "--loop", "--duration"),
            *("--map", "--clock"),
        ),
        "Streams": ("--stream", "--window", "--hop"),
        "Losses": ("--drop", "--deadline"),
        "Outputs": ("--output", "--events", "--annotate", "--plot", "--record", "--lossless", "--foxglove-layout"),
        "Live outputs": (
            *("--serve", "--token-file", "--tls-certificate", "--tls-key", "--push", "--mqtt", "--ros-publish"),
            "--foxglove",
        ),
        "Performance": ("--device", "--threads"),
        "Which engines may run": ("--unverified", "--rebuild", "--require-signature"),
        "Settings in a file": ("--config", "--set"),
    },
    "calibrate": {
        "Clips": ("--data", "--clips", "--transcripts", *_RECORDINGS),
        "Graphs": ("--recipe", "--set", "--also", "--ranges", "--quantiser"),
        "Judging": ("--metric",),
        "Outputs": ("--output", "--json"),
        "Performance": _WORK,
    },
    "bench": {
        "What is timed": ("--host", "--sweep", "--batch", "--all-patterns", "--sources", "--runs"),
        "Rivals": ("--against", "--rivals-python", "--checkpoint", "--model", "--data"),
        "Performance": ("--device", "--threads", "--unverified"),
        "Outputs": ("--json", "--plot"),
    },
    "extract": {
        "Clips": ("--data", "--split", "--longest", "--strict", "--faces", "--features", *_RECORDINGS),
        "Words": ("--transcripts", "--asr", "--asr-model"),
        "Outputs": ("--output", "--json"),
        "Performance": _WORK,
    },
    "evaluate": {
        "Clips": ("--data", "--split", "--store", *_RECORDINGS),
        "Judging": ("--metric", "--at-least", "--zero-tokens"),
        "Outputs": ("--json", "--plot"),
        "Performance": _WORK,
    },
}


@dataclass(frozen=True)
class Example:
    """A command line that can be copied, and what it does in one sentence."""

    does: str
    words: str


#: One to three examples of each command; files such as talk.mp4 are the user's own.
EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "init-model": (
        Example("Write my-model/model.py, a model of two streams to change.", "taemi-edge init-model my-model"),
    ),
    "init": (
        Example("Make a checkpoint of a recipe that ships.", "taemi-edge init taemi-tiny --output checkpoints/tiny"),
        Example(
            "Make one without the network: all weights are random.", "taemi-edge init taemi-mobile --random-weights"
        ),
    ),
    "train": (
        Example(
            "Train the head of a recipe on features that `extract` has stored.",
            "taemi-edge train taemi-mobile --data runs/features --epochs 30",
        ),
        Example(
            "Change the recipe, and continue a run that was stopped.",
            "taemi-edge train taemi-mobile --data runs/features --set fusion.kind=concat --resume",
        ),
    ),
    "evaluate": (
        Example(
            "Judge a bundle on the test split, and draw what each lost stream costs.",
            "taemi-edge evaluate export/taemi-mobile --data runs/features --plot evaluation.png",
        ),
        Example(
            "Fail in a script where the metric on clean data is below 0.5.",
            "taemi-edge evaluate export/taemi-mobile --data corpus --split valid --at-least 0.5",
        ),
    ),
    "ablate": (
        Example(
            "Train the paper's variants for half a minute each, on a small synthetic task.",
            "taemi-edge ablate --quick --seeds 1 --output runs/ablation.md",
        ),
    ),
    "sweep": (
        Example(
            "Train three learning rates with five seeds each.",
            "taemi-edge sweep taemi-mobile --data runs/features --set training.learning_rate=3e-4,1e-3,3e-3 --seeds 5",
        ),
        Example(
            "Draw 20 settings: a rate by its logarithm, a dropout uniformly, and one of two heads.",
            "taemi-edge sweep taemi-mobile --data runs/features --random 20 --set training.learning_rate=1e-4..1e-2 "
            "--set fusion.dropout=0..0.5 --set fusion.kind=anchored,concat",
        ),
        Example(
            "Export the best setting of a sweep.",
            "taemi-edge export runs/sweep-taemi-mobile/best --output export/mine",
        ),
    ),
    "synth": (
        Example("Make 200 synthetic clips to train and calibrate on.", "taemi-edge synth corpus --clips 200 --seed 1"),
    ),
    "extract": (
        Example(
            "Store the features of a corpus for training.",
            "taemi-edge extract taemi-mobile --data corpus --output runs/features",
        ),
        Example(
            "Work on a Ray cluster, and read and write a bucket.",
            "taemi-edge extract taemi-mobile --data s3://data/corpus --output s3://data/features --ray auto",
        ),
    ),
    "export": (
        Example(
            "Export a model of your own, which model.py declares.",
            "taemi-edge export my-model/model.py:build --output export/mine",
        ),
        Example("Export a TAEMI checkpoint that was trained.", "taemi-edge export checkpoints/taemi-mobile"),
        Example("Export a recipe that ships.", "taemi-edge export taemi-mobile"),
    ),
    "calibrate": (
        Example(
            "Make FP16 and INT8 graphs, and judge them on clips that were held out.",
            "taemi-edge calibrate export/taemi-mobile --data corpus",
        ),
        Example(
            "Make the same graphs on another machine from the ranges that were found.",
            "taemi-edge calibrate export/taemi-mobile --ranges calibration/taemi-mobile/ranges.json",
        ),
    ),
    "build-engine": (
        Example(
            "Build for this machine's processor, each part in its fastest precision.",
            "taemi-edge build-engine calibration/taemi-mobile --target cpu",
        ),
        Example(
            "Build FP16 engines on a Jetson Orin Nano, for four cameras.",
            "taemi-edge build-engine export/taemi-mobile --target jetson-orin-nano --precision fp16 --sources 4",
        ),
    ),
    "parity": (
        Example(
            "Check a bundle against the outputs that PyTorch gave at the export.",
            "taemi-edge parity taemi-nano",
        ),
        Example(
            "Compare engines with the bundle that they were built from, and draw the errors.",
            "taemi-edge parity export/taemi-mobile engines/taemi-mobile-cpu --plot parity.png",
        ),
    ),
    "bench": (
        Example("Compare the bundle that ships with ONNX Runtime here.", "taemi-edge bench taemi-nano"),
        Example(
            "Compare it with OpenVINO alone, and keep the figures.",
            "taemi-edge bench engines/taemi-mobile-cpu --against openvino --json bench.json",
        ),
    ),
    "run": (
        Example(
            "Predict every hop of a file; the camera is lost from 2 to 4 seconds.",
            "taemi-edge run taemi-nano talk.mp4 --transcript talk.vtt --drop vision@2-4",
        ),
        Example(
            "Watch a camera and a microphone in a browser.",
            "taemi-edge run engines/taemi-mobile-cpu --video v4l2:/dev/video0 --audio alsa:default "
            "--serve 127.0.0.1:8080",
        ),
        Example(
            "Run two network cameras side by side, and keep the predictions.",
            "taemi-edge run engines/taemi-mobile-cpu door=rtsp://10.0.0.5/live hall=rtsp://10.0.0.6/live "
            "--output predictions.jsonl",
        ),
    ),
    "replay": (
        Example(
            "Run another bundle on what `run --record` has kept, and draw both.",
            "taemi-edge replay run.mcap engines/taemi-mobile-cpu --plot replay.png",
        ),
    ),
    "demo": (
        Example("See every step on a synthetic clip that ships with the package.", "taemi-edge demo"),
        Example("Use a clip of your own.", "taemi-edge demo talk.mp4 --transcript talk.vtt"),
    ),
    "update": (
        Example(
            "Bring this device to the newest bundle that your key has signed.",
            "taemi-edge update --from oci://registry.local/taemi:stable --root /var/lib/taemi --key team.pub",
        ),
        Example("Go back to the version before.", "taemi-edge update --rollback --root /var/lib/taemi"),
    ),
    "export-triton": (
        Example(
            "Write a model repository for a Triton server.",
            "taemi-edge export-triton taemi-nano --output models --slots 16",
        ),
    ),
    "triton-probe": (
        Example("Ask a server that runs here.", "taemi-edge triton-probe http://localhost:8000 taemi-mobile"),
    ),
    "inspect": (
        Example("Show what is in a bundle, and verify its hashes.", "taemi-edge inspect taemi-nano"),
        Example(
            "Show which topics of a recording a model would read.", "taemi-edge inspect drive.mcap export/taemi-mobile"
        ),
    ),
    "doctor": (
        Example("See what works on this machine.", "taemi-edge doctor"),
        Example("Get the same as JSON for a script.", "taemi-edge doctor --json"),
    ),
    "keygen": (Example("Make the keys team and team.pub.", "taemi-edge keygen team"),),
    "sign": (
        Example(
            "Sign a bundle; the signature is export/taemi-mobile.sig.", "taemi-edge sign export/taemi-mobile --key team"
        ),
    ),
    "verify": (Example("Check a bundle and who signed it.", "taemi-edge verify export/taemi-mobile --key team.pub"),),
    "push": (
        Example(
            "Send a bundle and its signature to a registry.",
            "taemi-edge push export/taemi-mobile oci://registry.local/taemi:stable",
        ),
    ),
    "pull": (
        Example(
            "Fetch a bundle that your key has signed.",
            "taemi-edge pull oci://registry.local/taemi:stable --output export/taemi --require-signature team.pub",
        ),
    ),
}
