"""Series from files beside a media file: their rows are added to its hops, on the same clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from taemi_edge.bundle.streams import SeriesSpec, StreamSpec
from taemi_edge.errors import UsageError
from taemi_edge.media.hops import Hop, Values
from taemi_edge.media.series import Series, is_series_file, read_streams, shifted_to_one_clock

_EPSILON_S = 1e-6


def open_tracks(places: Mapping[str, Path], streams: Mapping[str, StreamSpec]) -> dict[str, Series]:
    """Read the series that come from files of their own.

    Args:
        places: a .csv, .npz or .parquet file, by stream.
        streams: of the model.

    Raises:
        UsageError: a stream that the model does not have, or whose place cannot be beside a media file.
        InputError: a file that cannot be read; see `taemi_edge.media.series.read_streams`.
    """
    found: dict[str, Series] = {}
    for name, place in places.items():
        spec = streams.get(name)
        if spec is None:
            raise UsageError(f"--stream {name}={place}: expected one of {', '.join(streams)}, got {name!r}")
        if not isinstance(spec, SeriesSpec) or not is_series_file(place):
            raise UsageError(
                f"--stream {name}={place}: expected a series and its .csv, .npz or .parquet file beside a media file; "
                f"with --live a stream of any kind may have a place of its own"
            )
        found[name] = read_streams(place, {name: spec.channels}, alone=True)[name]
    return shifted_to_one_clock(found)


def with_tracks(hops: Iterable[Hop], tracks: Mapping[str, Series]) -> Iterator[Hop]:
    """The same hops, each with the rows of its time.

    Args:
        hops: in the order of time.
        tracks: the series by stream, on the clock of the hops.

    Example:
        >>> imu = Series(np.array([0.0, 0.5, 0.6]), np.zeros((3, 2), np.float32))
        >>> [len(hop.pieces["imu"][0].rows) for hop in with_tracks([Hop(0.5), Hop(1.0)], {"imu": imu})]
        [2, 1]
    """
    taken = dict.fromkeys(tracks, 0)
    for hop in hops:
        for name, series in tracks.items():
            stop = int(np.searchsorted(series.times_s, hop.end_s + _EPSILON_S, side="right"))
            if stop > taken[name]:
                hop.pieces[name] = [Values(series.times_s[taken[name] : stop], series.rows[taken[name] : stop])]
            taken[name] = stop
        yield hop
