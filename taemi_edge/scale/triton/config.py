"""The configuration of a bundle as a model of Triton: `config.pbtxt`, and what `model.py` reads of it again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from taemi_edge import __version__
from taemi_edge.bundle.folder import MANIFEST, Bundle
from taemi_edge.bundle.limits import LEAST_HOP_S, MOST_SOURCES, MOST_THREADS, MOST_WINDOW_S
from taemi_edge.bundle.streams import AudioSpec
from taemi_edge.bundle.training_data import said_shortly
from taemi_edge.errors import OptionError
from taemi_edge.runtime.sessions import Device, require_device
from taemi_edge.scale.triton.requests import END, input_specs
from taemi_edge.scale.triton.tensors import STATES, TensorSpec, output_specs

#: Triton finds a model under the name of its folder, and clients name it in addresses.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: The options of the command line that are not called like their field.
_FLAGS = {"window_s": "--window", "hop_s": "--hop", "idle_s": "--idle-s", "queue_delay_us": "--queue-delay-us"}
_MOST_IDLE_S, _MOST_DELAY_US = 86_400.0, 1_000_000


@dataclass(frozen=True)
class ServingOptions:
    """How a model is served.

    Attributes:
        slots: how many sequences there may be at once.
        device: where to run; None takes what the bundle was built for.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
        window_s: how far back a prediction looks, in seconds; None takes the bundle's own.
        hop_s: how often a prediction is made, in seconds; None takes the bundle's own.
        idle_s: after how many seconds without a request a sequence is dropped.
        queue_delay_us: how long a request may wait for others to share its call, in microseconds.

    Raises:
        OptionError: a value that cannot be.
    """

    slots: int = 8
    device: Device | None = None
    threads: int | None = None
    window_s: float | None = None
    hop_s: float | None = None
    idle_s: float = 30.0
    queue_delay_us: int = 0

    def __post_init__(self) -> None:
        _require("slots", self.slots, 1, MOST_SOURCES, "sequences at once")
        _require("threads", self.threads, 0, MOST_THREADS, "threads")
        _require("window_s", self.window_s, LEAST_HOP_S, MOST_WINDOW_S, "seconds")
        _require("hop_s", self.hop_s, LEAST_HOP_S, MOST_WINDOW_S, "seconds")
        _require("idle_s", self.idle_s, 1.0, _MOST_IDLE_S, "seconds")
        _require("queue_delay_us", self.queue_delay_us, 0, _MOST_DELAY_US, "microseconds")


def _require(name: str, value: float | None, least: float, most: float, unit: str) -> None:
    if value is not None and not least <= value <= most:
        raise OptionError(name, _FLAGS.get(name, f"--{name}"), f"{value:g}: expected {least:g} to {most:g} {unit}")


@dataclass(frozen=True)
class ServedModel:
    """A bundle with the options that it is served with, all of them settled.

    Attributes:
        device: where it runs.
        window_s, hop_s: of the model, in seconds.
    """

    slots: int
    device: Device
    threads: int | None
    window_s: float
    hop_s: float
    idle_s: float


def settle(bundle: Bundle, options: ServingOptions) -> ServedModel:
    """Fill in what the options leave to the bundle.

    Raises:
        OptionError: the hop is longer than the window.
        UsageError: the bundle cannot run on that device.
    """
    window = bundle.manifest.window
    window_s, hop_s = options.window_s or window.length_s, options.hop_s or window.hop_s
    if hop_s > window_s:
        raise OptionError(
            "hop_s",
            "--hop",
            f"{hop_s:g}: expected a hop no longer than the window of {window_s:g} s, or data would be lost",
        )
    device = require_device(bundle, options.device)
    return ServedModel(options.slots, device, options.threads, window_s, hop_s, options.idle_s)


def require_model_name(name: str) -> None:
    """Refuse a name under which Triton and its clients would not find a model.

    Raises:
        OptionError: it has other signs than letters of ASCII, digits and `._-`, or too many.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(
            "name",
            "--name",
            f"{name!r:.120}: expected a model name for Triton: up to 100 letters (a-z), digits and any of . _ -, a "
            f"letter or digit first",
        )


def config_text(bundle: Bundle, name: str, options: ServingOptions) -> str:
    """The content of `config.pbtxt`.

    There is room in the batcher for more sequences than there are slots. Triton would let a sequence too many wait
    without a word; so it is told at once that all slots are taken.

    Args:
        name: of the model.

    Raises:
        UsageError: see `settle` and `taemi_edge.scale.triton.requests.input_specs`.
    """
    served = settle(bundle, options)
    inputs = [_input(spec) for spec in input_specs(bundle.manifest).values()]
    outputs = [_tensor(spec) for spec in output_specs(bundle.manifest).values()]
    delay = f"max_queue_delay_microseconds: {options.queue_delay_us}"
    parameters = _parameters(bundle, served)
    lines = [
        "# Written by `taemi-edge export-triton`.",
        f"name: {_quoted(name)}",
        'backend: "python"',
        f"max_batch_size: {served.slots}",
        *_listed("input", inputs),
        *_listed("output", outputs),
        "sequence_batching {",
        f"  max_sequence_idle_microseconds: {round(served.idle_s * 1e6)}",
        f"  oldest {{ max_candidate_sequences: {2 * served.slots} {delay} }}",
        "}",
        f"instance_group [ {{ {_instance(served.device)} }} ]",
        *(f"parameters {{ key: {_quoted(k)} value {{ string_value: {_quoted(v)} }} }}" for k, v in parameters.items()),
    ]
    return "\n".join(lines) + "\n"


def served_model(parameters: Mapping[str, Mapping[str, str]]) -> ServedModel:
    """Read the parameters of a model's configuration, as Triton hands it to `model.py`.

    Example:
        >>> from taemi_edge.bundle.folder import open_bundle
        >>> bundle = open_bundle("export/taemi-tiny")
        >>> parameters = _parameters(bundle, settle(bundle, ServingOptions(slots=2)))
        >>> served_model({key: {"string_value": value} for key, value in parameters.items()}).slots
        2
    """
    text = {key: value["string_value"] for key, value in parameters.items()}
    threads = json.loads(text["threads"])
    device: Device = json.loads(text["device"])
    numbers = [float(text[name]) for name in ("window_s", "hop_s", "idle_s")]
    return ServedModel(int(text["slots"]), device, threads, *numbers)


def _parameters(bundle: Bundle, served: ServedModel) -> dict[str, str]:
    """What `model.py` and clients read, as JSON each."""
    manifest = bundle.manifest
    values = {
        "streams": list(manifest.streams),
        "sample_rates_hz": {
            n: spec.sample_rate_hz for n, spec in manifest.streams.items() if isinstance(spec, AudioSpec)
        },
        "presence_states": STATES,
        "outputs": {name: spec.names for name, spec in manifest.outputs.items()},
        "slots": served.slots,
        "device": served.device,
        "threads": served.threads,
        "window_s": served.window_s,
        "hop_s": served.hop_s,
        "idle_s": served.idle_s,
        "taemi_edge": __version__,
        "manifest_sha256": bundle.digests.get(MANIFEST, ""),
        **({"synthetic": True, "trained_on": said_shortly(manifest.trained_on)} if manifest.synthetic else {}),
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _instance(device: Device) -> str:
    """One instance, since a sequence lives in one process; on a GPU the first one, as everywhere in this package."""
    return "kind: KIND_CPU count: 1" if device == "cpu" else "kind: KIND_GPU count: 1 gpus: [ 0 ]"


def _listed(what: str, entries: Iterable[str]) -> list[str]:
    return [f"{what} [", ",\n".join(f"  {{ {entry} }}" for entry in entries), "]"]


def _tensor(spec: TensorSpec) -> str:
    dims = ", ".join(map(str, spec.dims))
    return f"name: {_quoted(spec.name)} data_type: TYPE_{spec.dtype} dims: [ {dims} ]"


def _input(spec: TensorSpec) -> str:
    """An input; all but `end_s` may be left out, and differ in shape between the sequences of a batch."""
    return _tensor(spec) if spec.name == END else f"{_tensor(spec)} optional: true allow_ragged_batch: true"


def _quoted(text: str) -> str:
    r"""A string of protobuf's text format, in UTF-8.

    >>> print(_quoted('["a\\nb"]'))
    "[\"a\\nb\"]"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(sign if sign >= " " else f"\\{ord(sign):03o}" for sign in escaped) + '"'
