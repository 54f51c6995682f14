"""Sends one of the sixty digits beside the model as a live series would come: a line of JSON five times a second.

    python examples/digits/send_digit.py --row 9 | taemi-edge run export/digits --live --stream fac=- --stream fou=- ...

Each line has the six views under their names, which is what `--stream NAME=-` takes where streams share a place.
`--seconds` ends it; else it goes on until the other end hangs up.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

from digits_data import NAMES, load_few

EVERY_S = 0.2


def lines(row: int, seconds: float) -> Iterator[str]:
    """The lines of a digit, in real time.

    Args:
        row: which of the sixty digits.
        seconds: for how long.
    """
    views, _ = load_few()
    line = json.dumps({view: [round(float(value), 6) for value in values[row]] for view, values in views.items()})
    started, sent = time.monotonic(), 0
    while sent * EVERY_S < seconds:
        time.sleep(max(0.0, started + sent * EVERY_S - time.monotonic()))
        yield line
        sent += 1


def main() -> None:
    """Write the lines to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", type=int, default=9, choices=range(60), metavar="0...59", help="which digit")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    print(f"this is a {NAMES[load_few()[1][options.row]]}", file=sys.stderr)
    try:
        for line in lines(options.row, options.seconds):
            print(line, flush=True)
    except BrokenPipeError:  # the run has ended
        sys.stderr.close()


if __name__ == "__main__":
    main()
