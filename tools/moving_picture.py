"""Makes the README's moving picture of the demo's annotated video: python tools/moving_picture.py [VIDEO] [F.gif]

`make demo` leaves the video at runs/demo/annotated.mp4. The picture has few frames, few pixels and one palette, so that
it loads quickly where it is shown; nothing else is changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
from PIL import Image

ROOT = Path(__file__).parent.parent
VIDEO = ROOT / "runs" / "demo" / "annotated.mp4"
PICTURE = ROOT / "docs" / "images" / "demo.gif"
#: What the picture may take: it is the first thing that a reader loads.
MOST_BYTES = 1_500_000


def main() -> None:
    """Make the picture, and say how large it became."""
    parser = argparse.ArgumentParser(description="Makes the README's moving picture of the demo's annotated video.")
    parser.add_argument("video", nargs="?", type=Path, default=VIDEO)
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--width", type=int, default=720, help="pixels")
    parser.add_argument("--rate", type=float, default=4.0, help="frames a second")
    parser.add_argument("--colours", type=int, default=128)
    given = parser.parse_args()
    frames = read_frames(given.video, given.rate, given.width)
    write_gif(frames, given.picture, given.rate, given.colours)
    size = given.picture.stat().st_size
    print(f"{given.picture}: {len(frames)} frames of {frames[0].width} x {frames[0].height}, {size / 1e6:.2f} MB")
    if size > MOST_BYTES:
        raise SystemExit(f"expected at most {MOST_BYTES / 1e6} MB: take a lower --rate, --width or --colours")


def read_frames(video: Path, rate: float, width: int) -> list[Image.Image]:
    """The frames of a video at a lower rate, made smaller."""
    frames: list[Image.Image] = []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            if frame.time >= len(frames) / rate:
                picture: Image.Image = frame.to_image()
                height = round(picture.height * width / picture.width)
                frames.append(picture.resize((width, height), Image.Resampling.LANCZOS))
    return frames


def write_gif(frames: list[Image.Image], file: Path, rate: float, colours: int) -> None:
    """Write frames as a GIF that goes on for ever, in one palette.

    Half of its colours are those that most of the picture has (a face, a wall). The others lie far apart, for what is
    small: lamps and bars. Eight frames are asked for them.
    """
    some = frames[:: max(1, len(frames) // 8)][:8]
    strip = Image.new("RGB", (some[0].width * len(some), some[0].height))
    for place, frame in enumerate(some):
        strip.paste(frame, (place * frame.width, 0))
    entries: list[int] = []
    for method in (Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE):
        entries += (strip.quantize(colours // 2, method=method).getpalette() or [])[: 3 * (colours // 2)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries)
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first.save(file, save_all=True, append_images=others, duration=round(1000 / rate), loop=0, optimize=True)


if __name__ == "__main__":
    main()
