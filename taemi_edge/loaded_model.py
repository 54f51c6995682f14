"""A bundle as a Python object: what `taemi_edge.load` gives to notebooks and services.

`LoadedModel` takes arrays, files and live addresses, and gives predictions. It prints nothing and installs no signal
handlers. A program that owns its own loop calls `push` and `hop`; for everything else one call is enough.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, overload

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.named import find_bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.trusted_keys import required_key
from taemi_edge.errors import UsageError
from taemi_edge.live.background import LiveRun, predict_live
from taemi_edge.live.config import LiveConfig, load_live_config
from taemi_edge.live.lines import is_line_place
from taemi_edge.media.recordings.topic_map import named_topics
from taemi_edge.media.rehearsed_losses import Drop, parse_drop
from taemi_edge.runtime.files import RunOptions, predict_file, predict_files
from taemi_edge.runtime.hop_builder import HopBuilder, StreamInput
from taemi_edge.runtime.host_way import require_threads
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.sessions import Device, require_device, require_verified
from taemi_edge.runtime.window import Source

#: The options of `stream`: what holds for every source, and the fields of `LiveConfig` that `load` has not settled.
_SOURCE_OPTIONS = ("transcript", "asr", "streams", "topics", "clock")
_SETTLED = ("source", "bundle", "device", "threads", "unverified", "require_signature")
_LIVE_OPTIONS = [name for name in LiveConfig.__struct_fields__ if name not in _SETTLED]


def load(
    bundle: str | Path,
    *,
    device: Device | None = None,
    threads: int | None = None,
    unverified: bool = False,
    require_signature: str | Path | None = None,
) -> LoadedModel:
    """Open a bundle to predict with.

    Args:
        bundle: a bundle's folder, or its name: "taemi-mobile" finds it in `engines/`, `calibration/` or `export/` of
            the working directory, and "taemi-nano" comes with the package (`taemi_edge.bundle.named.find_bundle`).
        device: "cpu", "cuda" or "tensorrt"; by default what the bundle was built for.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
        unverified: run engines although parity has not passed them.
        require_signature: a file with the public key that must have signed the bundle. By default it is the key that
            this device trusts, where one is installed (<https://taemi-edge.github.io/taemi-edge/how-to/signing/>).

    Returns:
        The model. Use it in a `with` statement, or call `close` when you are done.

    Raises:
        SignatureError: a signature is asked for, and the bundle is not what the holder of the key signed.
        BundleError: there is no bundle of that name, or one of its files was changed.
        EngineError: the engines have not passed parity, or are for another device.
        UsageError: the device is not there, or the bundle is not for it.

    Example:
        >>> import taemi_edge as te
        >>> with te.load("export/taemi-tiny") as model:
        ...     prediction = model.predict(text="so it is")
        >>> prediction.presence
        {'vision': 'missing', 'audio': 'missing', 'text': 'live'}
    """
    require_threads(threads)
    opened = open_bundle(find_bundle(bundle), require_signature=required_key(require_signature))
    require_verified(opened, unverified)
    return LoadedModel(opened, device=device, threads=threads)


class LoadedModel:
    """A bundle that is open, with one method for each way to predict.

    Calls from several threads wait for each other. With TensorRT, `predict`, `hop` and `close` belong to the thread of
    the first prediction, since a GPU's context does.

    Attributes:
        bundle: the bundle that was opened.

    Example:
        >>> import taemi_edge as te
        >>> with te.load("export/taemi-tiny") as model:
        ...     predictions = list(model.run("talk.mp4", transcript="talk.vtt"))
        >>> len(predictions), predictions[-1].presence["audio"]
        (33, 'live')
    """

    def __init__(self, bundle: Bundle, *, device: Device | None = None, threads: int | None = None) -> None:
        self.bundle = bundle
        self._device, self._threads = require_device(bundle, device), threads
        #: The runtimes behind `predict` and `hop`, each opened with its first call.
        self._fleets: dict[str, Fleet] = {}
        self._closed = False
        self._lock = threading.Lock()
        self._pushed = HopBuilder(bundle.manifest)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself: streams, window, outputs, tolerances, provenance."""
        return self.bundle.manifest

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the streams that the model reads."""
        return tuple(self.manifest.streams)

    def predict(self, *, end_s: float | None = None, **streams: StreamInput | None) -> Prediction:
        """Predict from arrays: one window that ends now. Calls do not depend on each other.

        Args:
            streams: data by stream name; a stream that is left out, or None, is missing.
                Video is a `Frames`, or an array uint8 (N, H, W, 3) or (H, W, 3) of RGB pictures at the stream's frame
                rate. Audio is a `Sound`, or an array (n,) or (n, channels) at the stream's sample rate. A series is a
                `Samples`, or an array (n, channels) at the stream's rate; where it has none, one row. Text is a
                string, or a list of `Word` with times. A bare array, and a string, end now.
            end_s: when "now" is, in seconds on the clock of `Frames.times_s`, `Sound.time_s`, `Samples.times_s` and
                `Word`. By default it is the newest time that they name.

        Raises:
            UsageError: an unknown stream, or data of another type, shape or range.

        Example:
            >>> import numpy as np, taemi_edge as te
            >>> second = np.sin(np.arange(48_000) / 20).astype(np.float32)
            >>> with te.load("export/taemi-tiny") as model:
            ...     prediction = model.predict(audio=te.Sound(second, 48_000), text="so it is")
            >>> prediction.presence["audio"], prediction.reason["vision"]
            ('live', 'not given')
        """
        builder = HopBuilder(self.manifest)
        hop = builder.window(streams, end_s)
        absent: dict[str, str] = {name: "not given" for name in self.streams if streams.get(name) is None}
        with self._lock:
            fleet = self._opened_fleet("predict")
            fleet.reset(0, Source(absent=absent))
            return builder.in_given_time(fleet.predict_one(0, hop))

    def run(self, file: str | Path | None = None, **options: Any) -> Iterator[Prediction]:
        """Predict from recorded files, hop by hop, as fast as they can be read.

        Args:
            file: a video or audio file that FFmpeg reads, one of series (.csv, .npz, .parquet), or a recording of a
                robot (.mcap, or a ROS bag). It feeds the streams of its kind, a recording those that its topics fit;
                it may be left out where `streams` names all files.
            options: fields of `RunOptions`, by name: `streams` (a file for each stream that has one of its own),
                `transcript` (a path), `asr`, `window_s`, `hop_s`, and `drops`, such as ["vision@2-4"], which rehearses
                losses. Of recordings, `topics` such as {"eye": "/camera/image_raw"}, or a TOML file with them, and
                `clock` ("header", "log" or "auto").

        Raises:
            InputError: a file cannot be read, or the files are shorter than a hop.
            UsageError: an option that does not exist, or options or files that do not fit.
        """
        return predict_file(self.bundle, None if file is None else Path(file), self._run_options(options))

    def run_many(self, files: Sequence[str | Path], **options: Any) -> Iterator[Prediction]:
        """Predict from several media files side by side; their inputs share each call of the encoders.

        Predictions of different files are interleaved; `Prediction.source` is the name of the file. A file that fails
        leaves the others to go on; what failed first is raised at the end.

        Args:
            files: different files.
            options: as for `run`.

        Example:
            >>> import shutil, taemi_edge as te
            >>> _ = shutil.copyfile("talk.mp4", "again.mp4")
            >>> with te.load("export/taemi-tiny") as model:
            ...     sources = {prediction.source for prediction in model.run_many(["talk.mp4", "again.mp4"])}
            >>> sorted(sources)
            ['again.mp4', 'talk.mp4']
        """
        if isinstance(files, (str, Path)):
            raise UsageError(f"expected a list of files, got {str(files)!r}: for one file there is `run`")
        if not files:
            raise UsageError("expected at least one file, got none")
        return predict_files(self.bundle, [Path(file) for file in files], self._run_options(options))

    @overload
    def stream(
        self,
        sources: str | Path | Mapping[str, str] | None = None,
        *,
        stop: threading.Event | None = ...,
        on_prediction: None = ...,
        **options: Any,
    ) -> Iterator[Prediction]: ...

    @overload
    def stream(
        self,
        sources: str | Path | Mapping[str, str] | None = None,
        *,
        stop: threading.Event | None = ...,
        on_prediction: Callable[[Prediction], None],
        **options: Any,
    ) -> LiveRun: ...

    def stream(
        self,
        sources: str | Path | Mapping[str, str] | None = None,
        *,
        stop: threading.Event | None = None,
        on_prediction: Callable[[Prediction], None] | None = None,
        **options: Any,
    ) -> Iterator[Prediction] | LiveRun:
        """Predict from live sources, one prediction a hop of each, until `stop` is set or all sources have ended.

        Args:
            sources: an address such as "rtsp://camera/1", or several by name: {"door": "rtsp://camera/1"}.
                <https://taemi-edge.github.io/taemi-edge/how-to/live/#sources> has every kind of address. None where
                `streams` has a place for each stream.
            stop: set it to end the run.
            on_prediction: called with each prediction, in the run's own thread. It must not block: a slow one makes
                hops late.
            options: fields of `LiveConfig`, by name: `transcript`, `asr`, `streams` (places of their own, by stream),
                `topics` and `clock` of every source, `window_s`, `hop_s`, `duration_s`, `loop`, `presence`, `watch`,
                `serve`, `mqtt`, `ros`, `record` and so on.

        Returns:
            With `on_prediction` a `LiveRun`, which is under way. Without it an iterator of predictions; leaving the
            loop ends the run. Where the reader is slow, the oldest predictions are dropped.

        Raises:
            UsageError, RecipeError: an address or an option that is wrong.

        Example:
            >>> import taemi_edge as te
            >>> with te.load("export/taemi-tiny") as model:
            ...     for prediction in model.stream("talk.mp4", duration_s=1.0):
            ...         print(prediction.time_s)
            0.5
            1.0
        """
        config = self._live_config(sources, options)
        if on_prediction is not None:
            return LiveRun(self.bundle, config, on_prediction, stop)
        return predict_live(self.bundle, config, stop)

    def push(self, stream: str, data: StreamInput, time_s: float) -> None:
        """Hand over data for the next `hop`.

        Args:
            stream: the stream's name.
            data: as for `predict`. A bare array ends at `time_s`; so does a string, whose words were just said.
            time_s: seconds on a clock of yours; any origin will do, as long as it is one clock for all streams.

        Data is copied, and kept until the hop that takes it. Blocks of sound, and of rows with a rate, that follow each
        other are put together, however unevenly they are handed over.

        Raises:
            UsageError: an unknown stream, or data of another type, shape or range.
        """
        with self._lock:
            self._require_open()
            self._pushed.add(stream, data, time_s)

    def hop(self, end_s: float) -> Prediction:
        """Predict at a moment, from all that was pushed up to it.

        Args:
            end_s: later than that of the last call, on the same clock as `push`.

        Raises:
            UsageError: `end_s` is not later than before.

        Example:
            >>> import numpy as np, taemi_edge as te
            >>> with te.load("export/taemi-tiny") as model:
            ...     model.push("text", "so it is", time_s=12.4)
            ...     prediction = model.hop(12.5)
            >>> prediction.time_s, prediction.presence["text"]
            (12.5, 'live')
        """
        with self._lock:
            fleet = self._opened_fleet("hop")
            hop = self._pushed.hop(end_s)
            if self._pushed.begins_session:
                fleet.reset(0, Source())
            return self._pushed.in_given_time(fleet.predict_one(0, hop))

    def reset(self) -> None:
        """Forget all that was pushed: the next `push` starts a new session, on another clock if you like."""
        with self._lock:
            self._pushed = HopBuilder(self.manifest)

    def close(self) -> None:
        """Release the device. The model cannot be used any more; live runs that are under way go on."""
        with self._lock:
            self._closed = True
            while self._fleets:
                self._fleets.popitem()[1].close()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _opened_fleet(self, use: str) -> Fleet:
        """The runtime behind `predict` or `hop`: each has its own, since their windows have nothing in common."""
        self._require_open()
        if use not in self._fleets:
            self._fleets[use] = Fleet(self.bundle, [Source()], device=self._device, threads=self._threads)
        return self._fleets[use]

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("expected an open model, got one that was closed: load it again")

    def _run_options(self, given: Mapping[str, Any]) -> RunOptions:
        self._require_open()
        known = [name for name in RunOptions.__dataclass_fields__ if name not in ("device", "threads", "annotate")]
        _require_known(given, known)
        values = dict(given)
        if values.get("transcript") is not None:
            values["transcript"] = Path(values["transcript"])
        values["streams"] = {name: Path(place) for name, place in _places(values).items()}
        values["topics"] = named_topics(values.get("topics"))
        drops = values.get("drops") or ()
        drops = (drops,) if isinstance(drops, (str, Drop)) else tuple(drops)
        if wrong := [drop for drop in drops if not isinstance(drop, (str, Drop))]:
            raise UsageError(f"expected drops such as 'vision@2-4', got {wrong[0]!r}")
        values["drops"] = tuple(parse_drop(drop) if isinstance(drop, str) else drop for drop in drops)
        try:
            return RunOptions(**values, device=self._device, threads=self._threads)
        except TypeError as error:
            raise UsageError(f"expected options of the types that `RunOptions` has: {error}") from error

    def _live_config(self, sources: str | Path | Mapping[str, str] | None, given: Mapping[str, Any]) -> LiveConfig:
        self._require_open()
        _require_known(given, [*_SOURCE_OPTIONS, *_LIVE_OPTIONS])
        places = _places(given)
        if not isinstance(sources, (str, Path, Mapping)) and not (sources is None and places):
            raise UsageError(f"expected an address, or addresses by name, got a {type(sources).__name__}")
        named = sources if isinstance(sources, Mapping) else {"source": sources or ""}
        if len(named) > 1 and (own := [name for name, place in places.items() if not is_line_place(place)]):
            raise UsageError(
                f"expected one source with {own[0]} from {places[own[0]]}, got {len(named)}: run each alone"
            )
        options = {name: value for name, value in given.items() if name not in _SOURCE_OPTIONS}
        of_source = {name: given[name] for name in _SOURCE_OPTIONS if given.get(name)}
        if "transcript" in of_source:
            of_source["transcript"] = str(of_source["transcript"])
        if places:
            of_source["streams"] = places
        if topics := named_topics(given.get("topics")):
            of_source["topics"] = topics
        content = {
            "source": [{"name": name, "uri": str(address), **of_source} for name, address in named.items()],
            "device": self._device,
            "threads": self._threads,
            **options,
        }
        return load_live_config(None, content)


def _require_known(given: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise UsageError(f"expected options among {', '.join(known)}, got {unknown[0]!r}")


def _places(given: Mapping[str, Any]) -> dict[str, str]:
    """The places of `streams`, by stream."""
    places = given.get("streams") or {}
    if not isinstance(places, Mapping) or not all(isinstance(place, (str, Path)) for place in places.values()):
        raise UsageError(f"expected streams as places by name, such as {{'imu': 'imu.csv'}}, got {places!r:.60}")
    return {str(name): str(place) for name, place in places.items()}
