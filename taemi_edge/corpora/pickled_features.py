"""Reading numpy arrays from pickles that came with a data set, without running any code that a pickle may hold."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import CorpusError

#: What numpy's own arrays ask for, under the module names of numpy 1 and 2; `_codecs.encode` is how Python 2 and
#: protocol 0 spell bytes. https://docs.python.org/3/library/pickle.html#restricting-globals
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}

#: numpy 2 renamed the module; a pickle of either loads under both.
_CORE = "numpy._core" if hasattr(np, "_core") else "numpy.core"


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise CorpusError(f"expected a pickled numpy array, but the pickle asks for {module}.{name}: not loaded")
        return super().find_class(module.replace("numpy._core", _CORE).replace("numpy.core", _CORE), name)


def load_array(file: Path) -> Array:
    """Read a pickled array of numbers. No code of the pickle is run.

    Raises:
        CorpusError: the file is no pickle, holds no array of numbers, or asks for anything but numpy's arrays; the
            message names what it asks for.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pkl") as file:
        ...     _ = file.write(pickle.dumps(np.zeros((3, 2))))
        ...     file.flush()
        ...     load_array(Path(file.name)).shape
        (3, 2)
    """
    try:
        value = _ArrayUnpickler(io.BytesIO(file.read_bytes())).load()
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from error
    except OSError as error:
        raise CorpusError(f"{file}: expected a pickled numpy array, cannot read it: {error.strerror}") from error
    except Exception as error:
        raise CorpusError(f"{file}: expected a pickled numpy array, got a damaged file ({error})") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        found = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise CorpusError(f"{file}: expected a pickled numpy array of numbers, got {found}")
    return value
