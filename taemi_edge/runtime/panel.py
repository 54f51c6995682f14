"""Draws a prediction as a panel: a bar for each output, and a lamp for each stream.

Rows, axes, colours and lamps follow from the manifest. `panel_rows.py` decides what is shown; here it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.bundle.training_data import SYNTHETIC_MARK
from taemi_edge.bundle.values import Array
from taemi_edge.media.opencv import OpenCV
from taemi_edge.palette import DARK, series_colours
from taemi_edge.pictures import STATE_COLOURS, rgb
from taemi_edge.runtime.lettering import beginning, both_ends, text_width, write
from taemi_edge.runtime.panel_rows import HEADING_PX, TALL_PX, Bar, PanelRows
from taemi_edge.runtime.prediction import Prediction

cv2: Any = OpenCV("an annotated video")
Colours: TypeAlias = tuple[tuple[int, int, int], ...]
PANEL_WIDTH, PANEL_HEIGHT = 360, 480
BACKGROUND, TEXT, DIM = (24, 26, 30), (236, 238, 240), (150, 156, 164)
_TRACK, _ZERO = (52, 56, 64), (150, 156, 164)
_MARGIN, _TOP = 24, 50
#: Beyond so many, the colours come again with stripes.
_MOST_COLOURS = 48
_MARK = rgb(STATE_COLOURS["stale"])
_LAMPS = {state: rgb(colour) for state, colour in STATE_COLOURS.items()}
#: How lamps may stand: pixels for each, columns, and how many there may be of them.
_LAMP_LAYOUTS = ((40, 1, 3), (26, 1, 6), (24, 2, 12))
MOST_LAMPS = _LAMP_LAYOUTS[-1][2]


class Panel:
    """The panel of one model; it draws one prediction after the other.

    Outputs that do not fit are left out, the ones with the shortest bars, and the panel says how many they are. Long
    names are shortened. Numbers without a declared range get an axis that holds all that were drawn so far.

    Args:
        outputs, streams: by name, as the manifest has them.
        synthetic: whether the model was trained on synthetic data, which is said until predictions say it themselves.

    Example:
        >>> from taemi_edge.bundle.folder import read_manifest
        >>> from pathlib import Path
        >>> manifest = read_manifest(Path("export/taemi-tiny"))
        >>> Panel(manifest.outputs, manifest.streams).draw(None).shape
        (480, 360, 3)
    """

    def __init__(
        self, outputs: Mapping[str, OutputSpec], streams: Mapping[str, StreamSpec], synthetic: bool = False
    ) -> None:
        self._is_synthetic = synthetic
        self._colours = _colours(max(spec.size for spec in outputs.values()))
        self._streams = tuple(streams)
        self._lamp_px, self._lamp_columns, _ = next(
            (layout for layout in _LAMP_LAYOUTS if len(streams) <= layout[2]), _LAMP_LAYOUTS[-1]
        )
        lines = -(-min(len(streams), MOST_LAMPS) // self._lamp_columns)
        self._lamps_y = PANEL_HEIGHT + 2 - lines * self._lamp_px
        self._rows = PanelRows(outputs, self._lamps_y - 20 - _TOP)
        self._drawn: tuple[Prediction | None, Array] | None = None

    def draw(self, prediction: Prediction | None) -> Array:
        """Draw a prediction; None is what there is before the first one.

        Returns:
            RGB, uint8 (480, 360, 3); read-only, since the same prediction is drawn only once.
        """
        if self._drawn is None or self._drawn[0] is not prediction:
            canvas = np.full((PANEL_HEIGHT, PANEL_WIDTH, 3), BACKGROUND, np.uint8)
            if self._is_synthetic if prediction is None else prediction.synthetic:
                write(canvas, SYNTHETIC_MARK, (_MARGIN, 17), _MARK, 12)
            if prediction is None:
                write(canvas, "waiting for the first hop", (_MARGIN, 40), DIM, 15)
            else:
                self._draw_time(canvas, prediction)
                self._draw_outputs(canvas, prediction)
                self._draw_lamps(canvas, prediction)
            canvas.flags.writeable = False
            self._drawn = (prediction, canvas)
        return self._drawn[1]

    def _draw_time(self, canvas: Array, prediction: Prediction) -> None:
        write(canvas, f"{prediction.time_s:.1f} s", (_MARGIN, 36), DIM, 15)
        if prediction.status != "ok":
            write(canvas, prediction.status, (_MARGIN + 80, 36), _LAMPS["missing"], 15)

    def _draw_outputs(self, canvas: Array, prediction: Prediction) -> None:
        y, right = _TOP, PANEL_WIDTH - _MARGIN
        shown = self._rows.choose(prediction.outputs)
        for section in shown.sections:
            if section.heading:
                note = (beginning if "," in section.note else both_ends)(section.note, 170, 15)
                write(canvas, note, (right - text_width(note, 15), y + 16), TEXT, 15)
                write(canvas, both_ends(section.heading, 130, 15), (_MARGIN, y + 16), DIM, 15)
                y += HEADING_PX
            number_width = max((text_width(bar.number, 14) for bar in section.bars), default=0)
            for bar in section.bars:
                if shown.row_px >= TALL_PX:
                    _draw_tall_bar(canvas, bar, y, self._colours)
                else:
                    _draw_low_bar(canvas, bar, (y, shown.row_px), max(34, number_width), self._colours)
                y += shown.row_px
        if shown.left_out:
            write(canvas, f"{shown.left_out} smaller ones are not shown", (_MARGIN, y + 14), DIM, 13)

    def _draw_lamps(self, canvas: Array, prediction: Prediction) -> None:
        names = self._streams
        if len(names) > MOST_LAMPS:  # those that are not live come first, and the last place says how many are left
            names = tuple(sorted(names, key=lambda name: prediction.presence[name] == "live"))[: MOST_LAMPS - 1]
        width = (PANEL_WIDTH - 2 * _MARGIN) // self._lamp_columns
        longest = max(text_width(name, 15) for name in names)
        name_width = min(max(92, longest + 40), 190) if self._lamp_columns == 1 else width
        for index, name in enumerate(names):
            row, column = divmod(index, self._lamp_columns)
            x, y = _MARGIN + column * width, self._lamps_y + row * self._lamp_px
            state = prediction.presence[name]
            if self._lamp_columns > 1:
                _draw_shape(canvas, state, (x + 8, y - 5))
                write(canvas, both_ends(name, width - 34, 14), (x + 24, y), TEXT if state == "live" else DIM, 14)
                continue
            cv2.circle(canvas, (x + 8, y - 5), 8, _LAMPS[state], -1, cv2.LINE_AA)
            write(canvas, both_ends(name, name_width - 34, 15), (x + 28, y), TEXT, 15)
            reason = beginning(prediction.reason.get(name, state), width - name_width, 13)
            write(canvas, reason, (x + name_width, y), DIM, 13)
        if hidden := len(self._streams) - len(names):
            y = self._lamps_y + (MOST_LAMPS // self._lamp_columns - 1) * self._lamp_px
            write(canvas, f"and {hidden} more", (_MARGIN + width + 24, y), DIM, 14)


def _colours(count: int) -> Colours:
    """The colours of the bars of a group of outputs, on the dark panel."""
    return tuple(rgb(colour) for colour in series_colours(min(count, _MOST_COLOURS), DARK))


def _draw_tall_bar(canvas: Array, bar: Bar, y: int, colours: Colours) -> None:
    """A row of two lines: the name and the number, and below them the bar."""
    x, right = _MARGIN, PANEL_WIDTH - _MARGIN
    number_x = right - max(34, text_width(bar.number, 15))
    write(canvas, both_ends(bar.name, number_x - x - 12, 15), (x, y + 16), TEXT, 15)
    write(canvas, bar.number, (number_x, y + 16), DIM, 15)
    _draw_bar(canvas, bar, (x, y + 24, right, y + 36), colours)


def _draw_low_bar(canvas: Array, bar: Bar, row: tuple[int, int], number_width: int, colours: Colours) -> None:
    """A row of one line, at a height and so many pixels high: the name, the bar and the number."""
    y, row_px = row
    x, right, size = _MARGIN, PANEL_WIDTH - _MARGIN, 14 if row_px >= 20 else 13
    base = y + round(row_px * 0.5) + 5
    write(canvas, both_ends(bar.name, 116, size), (x, base), TEXT if bar.strong else DIM, size)
    write(canvas, bar.number, (right - text_width(bar.number, size), base), TEXT if bar.strong else DIM, size)
    _draw_bar(canvas, bar, (x + 124, y + 4, right - number_width - 8, y + row_px - 4), colours)


def _draw_bar(canvas: Array, bar: Bar, box_xyxy: tuple[int, int, int, int], colours: Colours) -> None:
    """A bar from the axis' zero to the value. Where there are more bars than colours, one comes again with stripes."""
    left, top, right, bottom = box_xyxy
    cv2.rectangle(canvas, (left, top), (right, bottom), _TRACK, -1)
    again, colour = divmod(bar.index, len(colours))
    zero_x = left + round((right - left) * bar.zero)
    if bar.share is not None:
        from_x, to_x = sorted((zero_x, left + round((right - left) * bar.share)))
        cv2.rectangle(canvas, (from_x, top), (to_x, bottom), colours[colour], -1)
        _stripe(canvas[top : bottom + 1, from_x : to_x + 1], again)
    if 0 < bar.zero < 1:
        cv2.line(canvas, (zero_x, top - 2), (zero_x, bottom + 2), _ZERO, 1)


def _stripe(area: Array, again: int) -> None:
    """Darken a pattern of an area, by how often its colour came before: one of four stripes, squares or dots."""
    if again == 0:
        return
    y, x = np.indices(area.shape[:2])
    patterns = (x + y) % 6, x % 6, (x - y) % 6, 2 * y % 6, (x // 4 + y // 4) % 2 * 2, (x % 6 // 2 + y % 6 // 2) * 2
    dark = patterns[(again - 1) % len(patterns)] < 2
    area[dark] = area[dark] // 3


def _draw_shape(canvas: Array, state: str, centre_xy: tuple[int, int]) -> None:
    """A lamp without words beside it: its shape tells the state as well as its colour does, as on the live page."""
    (x, y), colour = centre_xy, _LAMPS[state]
    if state == "missing":
        cv2.circle(canvas, (x, y), 6, colour, 2, cv2.LINE_AA)
    elif state == "stale":
        cv2.rectangle(canvas, (x - 6, y - 6), (x + 6, y + 6), colour, -1)
    elif state == "recovering":
        cv2.fillPoly(canvas, [np.array([(x, y - 7), (x + 7, y + 6), (x - 7, y + 6)])], colour, cv2.LINE_AA)
    else:
        cv2.circle(canvas, (x, y), 7, colour, -1, cv2.LINE_AA)
