"""Repeats what the README says of the digits, as a user would: by commands, for each seed, from training to a run.

    python examples/digits/real_test.py --seeds 0,1,2 --output examples/digits/real-test.json

For each seed: train, export, parity, calibrate, parity of INT8, evaluate both over all presence patterns, build engines
for `cpu` and, where TensorRT-RTX is installed, for `rtx`, and run a digit. It takes 2.2 minutes of processor time a
seed. A seed whose figures lie in `--work` already is not repeated. It fails where a figure is outside the limits below.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits_data import VIEWS, load_digits, write_samples
from model import DigitsModel
from safetensors.torch import load_file

HERE = Path(__file__).parent
#: The least accuracy on 400 test digits, in FP32.
LEAST = {"all six": 0.965, "mean of 63 patterns": 0.94}
#: The most that INT8 may cost of it.
MOST_INT8_LOSS = {"all six": 0.005, "mean of 63 patterns": 0.005, "worst pattern": 0.03}
#: The largest difference between PyTorch's logits and those of the FP32 bundle.
MOST_ERROR = 1e-4


def main() -> None:
    """Test every seed, write what was found and fail where it is outside the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="separated by commas")
    parser.add_argument("--work", type=Path, default=Path("runs/digits-real-test"), help="where all files are made")
    parser.add_argument("--output", type=Path, help="where to write the figures, as JSON")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    write_samples(options.work / "samples")
    found = {f"seed {seed}": SeedTest(options.work, seed).run() for seed in seeds}
    text = json.dumps({"command": " ".join(["python", *sys.argv]), **found}, indent=1) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text, end="")
    if faults := [f"{seed}: {fault}" for seed, figures in found.items() for fault in faults_of(figures)]:
        sys.exit("; ".join(faults))


class SeedTest:
    """The whole way of one seed; its files lie in a folder of their own."""

    def __init__(self, work: Path, seed: int) -> None:
        self.seed, self.samples = seed, work / "samples"
        self.folder = work / f"seed-{seed}"
        self.weights = self.folder / "weights.safetensors"
        self.fp32, self.int8 = self.folder / "digits", self.folder / "digits-int8"

    def run(self) -> dict[str, Any]:
        """Go all the way, or read what was found before.

        Raises:
            SystemExit: a command fails; its message is shown.
        """
        before = self.folder / "figures.json"
        if not before.is_file():
            found = self._all_figures()
            before.write_text(json.dumps(found), encoding="utf-8")
        figures: dict[str, Any] = json.loads(before.read_text(encoding="utf-8"))
        return figures

    def _all_figures(self) -> dict[str, Any]:
        self._python(HERE / "train.py", "--seed", self.seed, "--output", self.weights)
        self._command("export", f"{HERE / 'model.py'}:build", "--output", self.fp32)
        self._command("calibrate", self.fp32, "--data", self.samples, "--set", "held_out=400", "--output", self.int8)
        accuracy = {"FP32": self._accuracy(self.fp32), "INT8": self._accuracy(self.int8)}
        return {
            "accuracy": accuracy,
            "INT8 loses": losses(accuracy["FP32"], accuracy["INT8"]),
            "parity": {"FP32": self._parity(self.fp32), "INT8": self._parity(self.int8)},
            "FP32 against PyTorch, 400 test digits in 63 patterns": self._against_pytorch(),
            "engines": self._engines(),
            "run": self._recognise(),
        }

    def _accuracy(self, bundle: Path) -> dict[str, float]:
        """By presence pattern, the one with all six first."""
        found = self._json("evaluate", bundle, "--data", self.samples, "--split", "test")
        lost = {name: score["value"] for name, score in found["patterns"].items()}
        return {"all six": found["clean"]["value"], **lost}

    def _parity(self, bundle: Path) -> dict[str, Any]:
        """The worst figure of each stage against PyTorch's golden outputs."""
        report = self._json("parity", bundle)
        return {
            stage["stage"]: {"max_abs": stage["max_abs"], "cosine": round(stage["cosine"], 6), "flips": stage["flips"]}
            for stage in report["stages"]
        }

    def _against_pytorch(self) -> dict[str, float]:
        """PyTorch's logits and those of the bundle, for every test digit in every pattern with a live view."""
        from taemi_edge.parity.artefact import open_artefact
        from taemi_edge.parity.windows import batch_with_stand_ins

        model = DigitsModel()
        model.load_state_dict(load_file(self.weights))
        views, digits = load_digits("test")
        inputs = {view: torch.from_numpy(values) for view, values in views.items()}
        error, flips = 0.0, 0
        with open_artefact(str(self.fp32), "cpu", 1) as bundle, torch.no_grad():
            features = {
                view: np.concatenate([bundle.run(view, {"values": row[None]})["features"] for row in values])
                for view, values in views.items()
            }
            for pattern in filter(None, bundle.specs.patterns):
                live = torch.tensor([[view in pattern for view in VIEWS]]).expand(len(digits), -1)
                expected = model.eval()(inputs, live).numpy()
                for row in range(len(digits)):
                    window = {view: features[view][row].reshape(1, -1) for view in pattern}
                    feeds = batch_with_stand_ins([window], bundle.tokens, bundle.streams)
                    logits = bundle.run("fusion", feeds)["digit"][0]
                    error = max(error, float(np.abs(logits - expected[row]).max()))
                    flips += int(logits.argmax() != expected[row].argmax())
        return {"max_abs": error, "labels that differ": flips}

    def _engines(self) -> dict[str, Any]:
        """Which precision each part of the engines has, and whether they are verified."""
        wanted = [("cpu", "int8"), ("cpu", "auto")]
        if find_spec("tensorrt_rtx_bindings"):  # it compiles without a GPU; nothing times or verifies it then
            wanted.append(("rtx", "int8"))
        made = {}
        for target, precision in wanted:
            name = f"{target}-{precision}"
            words = ("--target", target, "--precision", precision, "--output", self.folder / name)
            self._command("build-engine", self.int8, *words)
            manifest = json.loads((self.folder / name / "manifest.json").read_text(encoding="utf-8"))
            parts = {part: spec["precision"] for part, spec in manifest["parts"].items()}
            made[name] = {"verified": manifest["verified"], "precision": parts}
        return made

    def _recognise(self) -> dict[str, list[str]]:
        """Send a nine to the INT8 engine of `cpu`, take a view away each second, and give what was read each time."""
        words: list[object] = ["run", self.folder / "cpu-int8", "digit", "--live"]
        for second, view in enumerate(reversed(VIEWS), 3):
            words += ["--stream", f"{view}=-", "--drop", f"{view}@{second}-99"]
        sender = [sys.executable, str(HERE / "send_digit.py"), "--row", "9", "--seconds", "9"]
        with subprocess.Popen(sender, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as digit:
            predictions = map(json.loads, self._command(*words, stdin=digit.stdout).splitlines())
        found: dict[str, list[str]] = {}
        for prediction in predictions:
            live = sum(state == "live" for state in prediction["presence"].values())
            best = prediction["digit"]["best"]
            found.setdefault(f"{live} views", []).append(f"{best} {prediction['digit']['probabilities'][best]:.3f}")
        return found

    def _json(self, *words: object) -> Any:
        file = self.folder / "found.json"
        self._command(*words, "--json", file)
        return json.loads(file.read_text(encoding="utf-8"))

    def _command(self, *words: object, stdin: Any = None) -> str:
        return self._python("-m", "taemi_edge", *words, stdin=stdin)

    def _python(self, *words: object, stdin: Any = None) -> str:
        command = [sys.executable, *map(str, words)]
        print(f"seed {self.seed}:", *command[1:], file=sys.stderr)
        environment = {**os.environ, "DIGITS_WEIGHTS": str(self.weights)}
        done = subprocess.run(command, env=environment, stdin=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


def losses(fp32: dict[str, float], int8: dict[str, float]) -> dict[str, Any]:
    """What INT8 loses of the accuracy with all six views, on average over 63 patterns, and in the worst of them."""
    lost = {pattern: fp32[pattern] - int8[pattern] for pattern in fp32 if pattern != "none"}
    worst = max(lost, key=lambda pattern: lost[pattern])
    return {
        "all six": lost["all six"],
        "mean of 63 patterns": float(np.mean(list(lost.values()))),
        "worst pattern": lost[worst],
        "which": worst,
    }


def faults_of(found: dict[str, Any]) -> list[str]:
    """A sentence for every figure of a seed that is outside its limit."""
    fp32 = found["accuracy"]["FP32"]
    mean = float(np.mean([value for pattern, value in fp32.items() if pattern != "none"]))
    reached = {"all six": fp32["all six"], "mean of 63 patterns": mean}
    faults = [f"{n}: expected at least {LEAST[n]}, got {reached[n]:.4f}" for n in LEAST if reached[n] < LEAST[n]]
    for name, most in MOST_INT8_LOSS.items():
        if (loss := found["INT8 loses"][name]) > most + 1e-9:
            faults.append(f"{name} in INT8: expected a loss of at most {most}, got {loss:.4f}")
    exact = found["FP32 against PyTorch, 400 test digits in 63 patterns"]
    if exact["max_abs"] >= MOST_ERROR or exact["labels that differ"]:
        faults.append(f"FP32: expected less than {MOST_ERROR} off PyTorch and all labels equal, got {exact}")
    return faults


if __name__ == "__main__":
    main()
