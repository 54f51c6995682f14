"""Fetches NVIDIA's bindings, pinned by hash, and builds the stub libraries that they are linked to."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "nvidia-bindings.txt"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge" / "nvidia-bindings"
#: Why the wheels cannot be imported here; "" where they can.
UNFIT = (
    ""
    if sys.version_info[:2] == (3, 11) and platform.machine() == "x86_64"
    else "the pinned bindings are for CPython 3.11 on x86-64"
)

#: What TensorRT's bindings call when they are imported: their C functions, and four of C++ that 8.6 adds.
_FUNCTIONS = """
void *createInferBuilder_INTERNAL(void *logger, int version) { return 0; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return 0; }
void *createInferRuntime_INTERNAL(void *logger, int version) { return 0; }
void *getBuilderPluginRegistry(int capability) { return 0; }
void *getPluginRegistry(void) { return 0; }
int getInferLibVersion(void) { return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void *logger, const char *space) { return 1; }
void *caffe(void) __asm__("_ZN14nvcaffeparser117createCaffeParserEv");
void *caffe(void) { return 0; }
void end_caffe(void) __asm__("_ZN14nvcaffeparser123shutdownProtobufLibraryEv");
void end_caffe(void) {}
void *uff(void) __asm__("_ZN11nvuffparser15createUffParserEv");
void *uff(void) { return 0; }
void field(void) __asm__("_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi");
void field(void) {}
"""
_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers")


def pinned(names: Sequence[str]) -> list[str]:
    """The pinned requirements of some packages, "name==version"."""
    lines = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    return [line.split()[0] for line in lines if line.partition("==")[0] in names]


def fetch(requirements: Sequence[str]) -> dict[str, Path]:
    """The files of pinned packages, from the user's cache or from the registry.

    Raises:
        ConnectionError: the registry cannot be reached.
    """
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(requirements, pool.map(_fetched, requirements), strict=True))


def _fetched(requirement: str) -> Path:
    folder, line = CACHE / requirement.replace("==", "-"), _line(requirement)
    if not any(folder.glob("*.*")):
        draft = folder.with_name(f"{folder.name}.{os.getpid()}")
        draft.mkdir(parents=True)
        wanted = draft / "wanted"
        wanted.write_text(line, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps"]
        kind = ["--no-binary", ":all:", "--no-build-isolation"] if requirement.startswith("pycuda") else []
        command += ["--require-hashes", *kind, "-d", str(draft), "-r", str(wanted)]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)
        if fetched.returncode:
            raise ConnectionError(f"{requirement} cannot be fetched: {fetched.stderr.strip().splitlines()[-1:]}")
        wanted.unlink()
        draft.rename(folder) if not folder.exists() else None
    [file] = folder.glob("*.*")
    assert f"sha256:{sha256(file.read_bytes()).hexdigest()}" in line, file
    return file


def _line(requirement: str) -> str:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{requirement} "))


def unpack(wheels: Sequence[Path], folder: Path) -> Path:
    """Unpack wheels into a folder from which they can be imported."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as files:
            files.extractall(folder)
    return folder


def build_stubs(major: str, folder: Path) -> list[str]:
    """Build the libraries that bindings of one major version are linked to, with functions that do nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "stub.c"
    source.write_text(_FUNCTIONS, encoding="utf-8")
    built = []
    for name in _LIBRARIES:
        library = folder / f"lib{name}.so.{major}"
        compiler = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-shared",
            "-fPIC",
            "-nostdlib",
            f"-Wl,-soname,{library.name}",
        ]
        caches = {name: str(folder / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
        subprocess.run([*compiler, "-o", library, source], check=True, env={**os.environ, **caches})
        built.append(str(library))
    return built
