"""Makes taemi-nano, the bundle that ships in the package, from nothing: clips, training, export, figures.

    python tools/make_nano.py

writes taemi_edge/assets/bundles/taemi-nano and benchmarks/taemi-nano.json. The clips lie in runs/nano and are taken
again by the next call. It takes some minutes on two cores. The same machine makes the same weights again, bit for bit;
another processor sums in another order and ends a little elsewhere. Needs the extras `train` and `synth`.
docs/start/taemi-nano.md tells the figures.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.cli.progress import shown_progress
from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.evaluation import evaluation_json
from taemi_edge.corpora.labelled_clips import read_mark
from taemi_edge.loaded_model import load
from taemi_edge.parity.golden import demo_clip
from taemi_edge.taemi.names import EMOTIONS, INTENSITIES
from taemi_edge.taemi.recipe import ModelRecipe

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.cue_times import line_ends_s  # noqa: E402  (the tools lie beside the package)

NAME = "taemi-nano"
BUNDLE = ROOT / "taemi_edge" / "assets" / "bundles" / NAME
PAGE = ROOT / "docs" / "start" / "taemi-nano.md"
#: Clips to train and choose the best epoch on, and others to judge by, of another seed.
CLIPS, SEED = 800, 0
HELD_OUT_CLIPS, HELD_OUT_SEED = 200, 1
#: What each line of the demo's clip shows (tools/make_demo_clip.py).
SHOWN = ("admiration", "amusement", "empathic_pain", "determination")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    words.add_argument("--work", type=Path, default=ROOT / "runs" / "nano", help="where clips and the checkpoint lie")
    words.add_argument("--corpus", type=Path, help="clips of seed 0 that were made already")
    words.add_argument("--held-out", type=Path, help="clips of seed 1 that were made already")
    words.add_argument("--output", type=Path, default=BUNDLE, help="the bundle")
    words.add_argument("--json", type=Path, default=ROOT / "benchmarks" / f"{NAME}.json", help="its figures")
    words.add_argument("--clips", type=int, default=CLIPS, help="how many clips there are to train on")
    words.add_argument("--threads", type=int, default=2, help="of training")
    given = words.parse_args()
    corpus = clips(given.corpus or given.work / f"corpus-{given.clips}", given.clips, SEED)
    held_out = clips(given.held_out or given.work / "held-out", HELD_OUT_CLIPS, HELD_OUT_SEED)
    checkpoint, seconds = trained(given.work, corpus, given.threads)
    exported(checkpoint, given.output)
    report = figures(given.output, held_out, seconds)
    write_json(given.work / "evaluation.json", report["evaluation"])
    exported(checkpoint, given.output, "--evaluation", str((given.work / "evaluation.json").resolve()))  # for its card
    report["bundle_bytes"] = sum(open_bundle(given.output).sizes.values())
    report["command"] += f" --clips {given.clips}" if given.clips != CLIPS else ""
    write_json(given.json, report)
    if given.output == BUNDLE:
        PAGE.write_text(page_with(report, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{given.output}: {report['bundle_bytes'] / 1e6:.2f} MB; figures in {given.json}")


def run(*words: str) -> None:
    """Run a command of taemi-edge, as a user would."""
    print("taemi-edge", shlex.join(words), flush=True)
    subprocess.run((sys.executable, "-m", "taemi_edge", *words), check=True, cwd=ROOT)


def exported(checkpoint: Path, bundle: Path, *words: str) -> None:
    """Export the checkpoint, named by a path in this tree, since the bundle says where it came from."""
    run("export", os.path.relpath(checkpoint, ROOT), "--output", str(bundle.resolve()), *words)


def clips(folder: Path, count: int, seed: int) -> Path:
    """A synthetic corpus, made where it is not there already."""
    mark = read_mark(folder)
    if mark is None or (mark.clips, mark.seed) != (count, seed):
        run("synth", str(folder.resolve()), "--clips", str(count), "--seed", str(seed))
    return folder


def trained(work: Path, corpus: Path, threads: int) -> tuple[Path, float]:
    """A new checkpoint, and how many seconds its training took."""
    import torch  # not for the workers that judge, nor for tests on a device

    from taemi_edge.cli.training_tables import print_epoch, print_training
    from taemi_edge.taemi.train.run import TrainOptions, train_recipe
    from tools.nano_scenes import clips_and_scenes

    checkpoint, state = work / "checkpoint", work / "training"
    for folder in (checkpoint, state):
        shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(threads)
    started = time.perf_counter()
    recipe = load_recipe("export", NAME, ModelRecipe)
    with shown_progress() as progress:
        result = train_recipe(
            recipe,
            TrainOptions(data=corpus, output=checkpoint, run=state),
            progress=progress,
            on_epoch=print_epoch,
            data_for=lambda untrained: clips_and_scenes(untrained, corpus, SEED, progress=progress),
        )
    print_training(result, checkpoint, state)
    return checkpoint, time.perf_counter() - started


def figures(bundle: Path, held_out: Path, seconds: float) -> dict[str, Any]:
    """What benchmarks/taemi-nano.json holds: how the bundle does on clips that nothing was trained on."""
    opened = open_bundle(bundle)
    evaluations = evaluate_on(str(bundle), held_out, "all", EvaluateOptions(tokens=("learned", "zeros")))
    found = evaluation_json(evaluations[0])
    found["artefact"] = NAME
    return {
        "about": "taemi-nano, the bundle in the package, judged on synthetic clips that it was not trained on",
        "command": "python tools/make_nano.py",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": {"processor": processor(), "python": platform.python_version(), "system": platform.platform()},
        "bundle_sha256": parts_sha256(bundle),
        "bundle_bytes": sum(opened.sizes.values()),
        "parameters": sum(part.parameters for part in opened.manifest.parts.values()),
        "training_seconds": round(seconds, 1),
        "held_out": {"clips": HELD_OUT_CLIPS, "seed": HELD_OUT_SEED, "synthetic": True},
        "evaluation": found,
        "zero_tokens": {name: score.value for name, score in evaluations[1].patterns.items()},
        "demo_clip": on_demo_clip(bundle),
    }


def parts_sha256(bundle: Path) -> dict[str, str]:
    """The hashes of what computes in a bundle."""
    manifest = open_bundle(bundle).manifest
    return {part.file: manifest.sha256[part.file] for part in manifest.parts.values()}


def on_demo_clip(bundle: Path) -> dict[str, Any]:
    """How the curves follow the demo's clip, line by line, with all streams and with each of them lost."""
    everything = {m: f"{m}@0-60" for m in ("vision", "audio", "text")}
    runs: dict[str, Sequence[str]] = {"all": (), **{f"no {m}": (drop,) for m, drop in everything.items()}}
    return {name: follows(bundle, drops) for name, drops in runs.items()}


def follows(bundle: Path, drops: Sequence[str]) -> dict[str, Any]:
    """The intensities at the end of each line, and which of them stands out there.

    An intensity stands out by how far it is above its own mean over the clip: some are higher than others throughout.
    """
    video, transcript = demo_clip()
    with load(bundle, threads=1) as model:
        made = list(model.run(video, transcript=transcript, drops=drops))
    values = np.array([[p.outputs[INTENSITIES][e] for e in EMOTIONS] for p in made])  # type: ignore[index]
    times = np.array([p.time_s for p in made])
    lines = line_ends_s(transcript)
    begins = (0.0, *lines[:-1])
    shown = [
        values[(times > begin + 1.0) & (times <= end + 0.5)].mean(0) for begin, end in zip(begins, lines, strict=True)
    ]
    above = np.array(shown) - values.mean(0)
    found = [
        {
            "until_s": round(end, 1),
            "shows": want,
            "stands_out": EMOTIONS[int(row.argmax())],
            "above_its_mean": round(float(row[EMOTIONS.index(want)]), 3),
        }
        for end, want, row in zip(lines, SHOWN, above, strict=True)
    ]
    return {"lines": found, "right": sum(line["shows"] == line["stands_out"] for line in found)}


def page_with(report: Mapping[str, Any], page: str) -> str:
    """The page with the tables of a report in it, each between its two comments."""
    for name, table in {"figures": scores_table(report), "lines": lines_table(report)}.items():
        head, begin, rest = page.partition(f"<!-- {name}:")
        comment, _, rest = rest.partition("\n")
        _, end, tail = rest.partition(f"<!-- end of {name} -->")
        if not (begin and end):
            raise SystemExit(f"expected a place for the {name} in the page, found none")
        page = f"{head}{begin}{comment}\n\n{table}\n{end}{tail}"
    return page


def scores_table(report: Mapping[str, Any]) -> str:
    """How the bundle does on clips, clean and with streams lost, as Markdown."""
    found, zeros = report["evaluation"], report["zero_tokens"]
    lost = {"no vision": "audio+text", "no audio": "vision+text", "no text": "vision+audio"}
    rows = {"clean": found["clean"], "natural": found["natural"], **{k: found["patterns"][v] for k, v in lost.items()}}
    lines = ["| streams | clips | mean Pearson | 95 % | with zeros for tokens |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        interval, zero = row["interval"], zeros.get(lost.get(name, ""))
        between = f"{interval['low']:.3f} to {interval['high']:.3f}"
        without = "" if zero is None else f"{zero:.3f}"
        lines.append(f"| {name} | {row['clips']} | {row['mean_pearson']:.3f} | {between} | {without} |")
    seconds = report["training_seconds"]
    trained_in = "" if seconds is None else f" It was trained in {seconds:.0f} s."
    size = f"The bundle has {report['bundle_bytes'] / 1e6:.2f} MB and {report['parameters']:,} parameters."
    weights = f" Its weights are from {report['weights']}." if report.get("weights") else ""
    lines += ["", *wrap(f"{size}{trained_in}{weights} {where(report)}", 120)]
    return "\n".join(lines) + "\n"


def lines_table(report: Mapping[str, Any]) -> str:
    """What stands out in each line of the demo's clip, with every stream and without each, as Markdown."""
    runs = report["demo_clip"]
    lines = ["| until | the line shows | " + " | ".join(runs) + " |", "|---|---|" + "---|" * len(runs)]
    for number, line in enumerate(runs["all"]["lines"]):
        found = [each["lines"][number]["stands_out"] for each in runs.values()]
        lines.append(f"| {line['until_s']} s | {line['shows']} | " + " | ".join(found) + " |")
    return "\n".join(lines).replace("empathic_pain", "empathic pain") + "\n"


def where(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    return f"Measured on {report['date']}: {machine['processor']}, CPython {machine['python']}."


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {len(os.sched_getaffinity(0))} cores"
    return platform.machine()


if __name__ == "__main__":
    main()
