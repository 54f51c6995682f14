"""The steps, the most valuable first: what each runs, how long it may take, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The first word of a command that runs in the interpreter with TensorRT, or in that of the rivals.
PYTHON, RIVALS = "{python}", "{rivals}"
_RIVAL_WORDS = ("--against", "torch-eager", "--against", "torch-compile", "--against", "onnxruntime-cuda")
_ALONE = ("--against", "none")
#: Engines for one source take a window's pictures, and those for sixteen sources more.
_PICTURES = ("--batch", "vision=16")
_MANY_PICTURES = (*_PICTURES, "--batch", "vision=24")
_SOURCES = ("--sources", "1,2,4,8,16")
_BESIDE = "a hop, the window and parts beside the rivals"
_MANY = "1 to 16 sources in one call"
_EXECUTE = "hops on this GPU: what execute takes, and where"
_LAYERS = "its fused layers"
_MODULE = "tools.gpu_evidence."


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        what: what it finds or makes, in a few words.
        command: its words; {python}, {rivals}, {work} and {json} are filled in. Where no word is {json}, the runner
            writes a JSON file that says how long it took.
        limit_s: the most seconds that it may take.
        needs: the steps whose folders it reads; they are run first where a folder is not there.
        makes: the folder that it makes in the working folder. Such a step is run only where another one needs it.
    """

    name: str
    what: str
    command: tuple[str, ...]
    limit_s: int
    needs: tuple[str, ...] = ()
    makes: str = ""

    @property
    def json(self) -> str:
        """The name of its JSON file."""
        return f"{self.name}.json"


@dataclass(frozen=True)
class Plan:
    """What the steps are made of; a rehearsal takes small models and the processor.

    Attributes:
        base, mobile, tiny: recipes.
        target: of the engines.
        changes: of the target, such as "optimisation_level=2".
        fp8: the precision of engines in FP8.
        runs: how often a benchmark runs each thing; 0 for its own default.
    """

    base: str = "taemi-base"
    mobile: str = "taemi-mobile"
    tiny: str = "taemi-tiny"
    target: str = "tensorrt"
    changes: tuple[str, ...] = ()
    fp8: str = "fp8"
    runs: int = 0

    def export(self, name: str, recipe: str, *words: str) -> Step:
        """A bundle of graphs."""
        command = (RIVALS, "-m", "taemi_edge", "export", recipe, "--output", f"{{work}}/graphs/{name}", *words)
        return Step(f"graphs-{name}", f"graphs of {recipe}", command, 600, makes=f"graphs/{name}")

    def build(self, name: str, graphs: str, precision: str = "fp16", sources: int = 1, limit_s: int = 900) -> Step:
        """Engines. Those that parity does not pass are timed all the same: their manifest and their JSON say so."""
        changes = [word for change in self.changes for word in ("--set", change)]
        words = ("--target", self.target, "--precision", precision, "--sources", str(sources), *changes)
        places = ("--output", f"{{work}}/engines/{name}", "--json", "{json}")
        command = (PYTHON, "-m", "taemi_edge", "build-engine", f"{{work}}/graphs/{graphs}", *words, *places)
        what = f"engines of {graphs} in {precision} for {sources} source{'s' * (sources > 1)}"
        return Step(f"engines-{name}", what, command, limit_s, (f"graphs-{graphs}",), f"engines/{name}")

    def bench(self, name: str, what: str, engines: str, *words: str, limit_s: int = 480) -> Step:
        """Times of engines."""
        words += ("--unverified", "--rivals-python", RIVALS, "--json", "{json}")
        words += ("--runs", str(self.runs)) if self.runs else ()
        command = (PYTHON, "-m", "taemi_edge", "bench", f"{{work}}/engines/{engines}", *words)
        return Step(name, what, command, limit_s, (f"engines-{engines}",))


def own(name: str, what: str, module: str, *words: str, needs: tuple[str, ...] = (), limit_s: int = 300) -> Step:
    """A module of this folder, in the interpreter with TensorRT."""
    return Step(name, what, (PYTHON, "-m", _MODULE + module, *words, "--json", "{json}"), limit_s, needs)


def all_steps(plan: Plan) -> tuple[Step, ...]:
    """Every step in the order in which they are worth their time; what a step needs stands before it."""
    return (*_base(plan), *_mobile(plan), *_base_of_many(plan), *_fp8(plan), *_tests(plan))


def _base(plan: Plan) -> tuple[Step, ...]:
    """A transformer of 200 million weights: where a hop's time goes, and what FP32 islands cost."""
    host = (PYTHON, "-m", "taemi_edge", "bench", "{work}/graphs/base", "--host", "--json", "{json}")
    free = (RIVALS, "-m", _MODULE + "free_graphs", "{work}/graphs/base", "{work}/graphs/base-free")
    without = "the same graphs in FP16, without FP32 islands of softmax and LayerNorm"
    return (
        plan.export("base", plan.base, *(["--random-weights"] if plan.base == "taemi-base" else [])),
        Step("host", "microseconds of the host in a hop, on a device that does nothing", host, 300, ("graphs-base",)),
        plan.build("base", "base"),
        own("host-device", _EXECUTE, "device_hops", "{work}/engines/base", needs=("engines-base",)),
        plan.bench("base", _BESIDE, "base", *_RIVAL_WORDS, *_PICTURES, limit_s=900),
        own("base-layers", _LAYERS, "layers", "{work}/engines/base", needs=("engines-base",)),
        Step("graphs-base-free", without, free, 600, ("graphs-base",), "graphs/base-free"),
        plan.build("base-free", "base-free"),
        plan.bench("base-free", "the same without the islands", "base-free", *_ALONE, *_PICTURES),
        own("base-free-layers", _LAYERS, "layers", "{work}/engines/base-free", needs=("engines-base-free",)),
    )


def _mobile(plan: Plan) -> tuple[Step, ...]:
    """The model for devices: many sources, and the rivals."""
    sources = ("{work}/engines/mobile-16", "--sources", "1,4,8,16")
    return (
        plan.export("mobile", plan.mobile),
        plan.build("mobile-16", "mobile", sources=16),
        plan.bench("mobile-16", _MANY, "mobile-16", *_ALONE, *_SOURCES, *_MANY_PICTURES),
        own("host-device-16", _EXECUTE, "device_hops", *sources, needs=("engines-mobile-16",)),
        plan.build("mobile", "mobile"),
        plan.bench("mobile", _BESIDE, "mobile", *_RIVAL_WORDS, *_PICTURES, limit_s=900),
    )


def _base_of_many(plan: Plan) -> tuple[Step, ...]:
    return (
        plan.build("base-16", "base", sources=16),
        plan.bench("base-16", _MANY, "base-16", *_RIVAL_WORDS, *_SOURCES, *_MANY_PICTURES, limit_s=900),
    )


def _tests(plan: Plan) -> tuple[Step, ...]:
    files = [f"tests/gpu/test_{name}.py" for name in ("runtime", "engines")]
    names = ("tests-runtime", "tests-engines")
    return (
        plan.export("tiny", plan.tiny),
        *(
            own(name, file, "gpu_tests", file, "{work}/graphs/tiny", needs=("graphs-tiny",), limit_s=900)
            for name, file in zip(names, files, strict=True)
        ),
    )


def _fp8(plan: Plan) -> tuple[Step, ...]:
    """Engines in FP8: few clips give the ranges, since only times are wanted."""
    clips = Step(
        "clips",
        "twelve synthetic clips",
        (RIVALS, "-m", "taemi_edge", "synth", "{work}/clips", "--clips", "12", "--seed", "0"),
        300,
        makes="clips",
    )
    few = ("min_clips=2", "held_out=3", "trial_clips=3", "frames_per_clip=4", "budget.mean_pearson_drop=2")
    words = ("{work}/graphs/mobile", "--data", "{work}/clips", "--also", "fp8", "--output", "{work}/graphs/mobile-fp8")
    changes = (word for change in few for word in ("--set", change))
    command = (RIVALS, "-m", "taemi_edge", "calibrate", *words, "--clips", "6", *changes, "--json", "{json}")
    graphs = Step(
        "graphs-mobile-fp8",
        f"{plan.mobile} with ranges",
        command,
        900,
        ("graphs-mobile", "clips"),
        "graphs/mobile-fp8",
    )
    return (
        clips,
        graphs,
        plan.build("mobile-fp8", "mobile-fp8", plan.fp8),
        plan.bench("mobile-fp8", "the same in FP8, where TensorRT and the GPU have it", "mobile-fp8", *_ALONE),
    )


def chosen(steps: Sequence[Step], names: Sequence[str]) -> tuple[Step, ...]:
    """The steps of these names, or all that find something.

    Raises:
        ValueError: a name is not known.
    """
    known = {step.name: step for step in steps}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--only {unknown[0]}: expected one of {', '.join(known)}")
    return tuple(step for step in steps if (step.name in names if names else not step.makes))
