"""The files of a bundle folder: opening one with every hash checked, and writing its manifest and tokens.

bundle/
  manifest.json         taemi_edge.bundle.spec.Manifest, with the sha256 of every other file
  NAME.onnx, fusion.onnx   the encoder of each stream, and the head
  tokens.safetensors    what stands for each missing stream, float32 (D,) or (steps, D)
  tokenizer.json        one for each stream of text, under the name that its spec gives
  golden.npz            feeds, and PyTorch's outputs for them: taemi_edge.parity.golden
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.spec import SCHEMA, Manifest
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BundleError

if TYPE_CHECKING:
    from taemi_edge.bundle.signatures import SignedBy

MANIFEST = "manifest.json"
TOKENS = "tokens.safetensors"
TOKENIZER = "tokenizer.json"
GOLDEN = "golden.npz"
#: What `taemi-edge calibrate` adds: the plan that another machine can use, and the sensitivity of every block.
RANGES, SENSITIVITY, PARETO = "ranges.json", "sensitivity.json", "sensitivity.png"
#: What `taemi-edge build-engine --precision auto` adds.
CHOICE = "choice.png"
#: What `build-engine --require-signature` adds: the signature of the graphs.
SOURCE_SIGNATURE = "source.sig"
#: The files of every bundle; `replaceable_files` adds those that depend on the model.
_FILES = (MANIFEST, TOKENS, TOKENIZER, GOLDEN, RANGES, SENSITIVITY, PARETO, CHOICE, SOURCE_SIGNATURE)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle folder. Every file in it was found to be the one that its manifest was written for.

    Attributes:
        folder: where it lies.
        manifest: the content of its `manifest.json`.
        tokens: what stands for each stream when it is missing, float32 (steps, D); most have one step.

    Example:
        >>> bundle = open_bundle("export/taemi-tiny")
        >>> bundle.part_file("text").name, bundle.tokens["text"].shape
        ('text.onnx', (1, 16))
    """

    folder: Path
    manifest: Manifest
    tokens: Mapping[str, Array]
    digests: Mapping[str, str] = field(default_factory=dict)
    signed_by: SignedBy | None = None

    def read(self, name: str) -> bytes:
        """Give the bytes of a file."""
        return (self.folder / name).read_bytes()

    def part_file(self, part: str) -> Path:
        """The file of a part: an ONNX graph or an engine."""
        return self.folder / self.manifest.parts[part].file

    def tokenizer_file(self, stream: str) -> Path:
        """The tokenizer of a stream of text, as the `tokenizers` library writes it."""
        spec = self.manifest.streams[stream]
        if not isinstance(spec, TextSpec):
            raise BundleError(f"{self.folder}: expected {stream!r} to be a stream of text")
        return self.folder / spec.tokenizer

    @property
    def golden_file(self) -> Path:
        """The feeds and PyTorch's outputs that were recorded at export."""
        return self.folder / GOLDEN


def open_bundle(folder: Path | str, *, require_signature: Path | None = None) -> Bundle:
    """Read a bundle and check the hash of every file.

    Raises:
        BundleError: the folder is no bundle, a part is missing, a byte was changed, the schema is newer than this
            package, or a token has the wrong shape. The message names every file that is wrong.

    Example:
        >>> open_bundle("export/taemi-tiny").manifest.window
        WindowSpec(length_s=4.0, hop_s=0.5)
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if outside := [name for name in manifest.sha256 if Path(name).name != name]:
        raise BundleError(
            f"{folder / MANIFEST}: expected plain file names, got {outside[0]!r}: export the bundle again"
        )
    problems = [problem for name, want in manifest.sha256.items() if (problem := _file_problem(folder / name, want))]
    named = {part.file for part in manifest.parts.values()} | {TOKENS, GOLDEN, *tokenizer_names(manifest)}
    named |= {file for flavours in manifest.graphs.values() for file in flavours.values()}
    problems += [f"{name} has no hash in the manifest" for name in sorted(named - set(manifest.sha256))]
    if problems:
        raise BundleError(f"{folder}: {'; '.join(problems)}: export the bundle again, or copy it anew")
    digests = {**manifest.sha256, MANIFEST: sha256_of(folder / MANIFEST)}
    bundle = Bundle(folder, manifest, _read_tokens(folder, manifest), digests)
    if require_signature is None:
        return bundle
    return replace(bundle, signed_by=_check_signature(bundle, require_signature))


def _check_signature(bundle: Bundle, key: Path) -> SignedBy:
    """Check that a bundle is signed, with the hashes that opening made."""
    from taemi_edge.bundle.signatures import BuiltFrom, check_signature

    record, built_from = bundle.manifest.engine, None
    if record is not None and record.source_digests and SOURCE_SIGNATURE in bundle.manifest.sha256:
        built_from = BuiltFrom(record.source_digests, bundle.read(SOURCE_SIGNATURE))
    return check_signature(bundle.folder, bundle.digests, key, built_from)


def read_manifest(folder: Path) -> Manifest:
    """Read and validate the manifest alone; the other files are not looked at.

    Raises:
        BundleError: there is no manifest, it is not JSON, it has another schema, or keys are unknown or missing.
    """
    file = folder / MANIFEST
    if not file.is_file():
        found = "a file" if folder.is_file() else "a folder without one" if folder.is_dir() else "nothing"
        raise BundleError(f"{folder}: expected a bundle (a folder with {MANIFEST}), found {found}")
    try:
        content = msgspec.json.decode(file.read_bytes())
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            newer = isinstance(schema, int) and schema > SCHEMA
            advice = (
                "update taemi-edge"
                if newer
                else f"export the model again with `taemi-edge export MODEL --output {folder}`"
            )
            raise BundleError(f"{file}: expected schema {SCHEMA}, got {schema!r}: {advice}")
        return msgspec.convert(content, Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{file}: expected a manifest of schema {SCHEMA}: {error}: export the model again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into a bundle that is being made, with the hashes of the files that are there now.

    Raises:
        OutputError: there is no room or no permission.
    """
    hashes = {file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    complete = msgspec.structs.replace(manifest, sha256=hashes)
    write_json(folder / MANIFEST, complete)


def write_tokens(folder: Path, tokens: Mapping[str, Array]) -> None:
    """Write `tokens.safetensors`.

    Args:
        folder: the bundle that is being made.
        tokens: what stands for each missing stream, (D,) or (steps, D).
    """
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value, np.float32) for name, value in tokens.items()}, folder / TOKENS)


def tokenizer_names(manifest: Manifest) -> tuple[str, ...]:
    """The names of the tokenizer files of a bundle; several streams of text may share one."""
    return tuple(dict.fromkeys(s.tokenizer for s in manifest.streams.values() if isinstance(s, TextSpec)))


def replaceable_files(folder: Path) -> set[str]:
    """The names of files that may be replaced where a bundle is written: those of the bundle that lies there.

    Args:
        folder: the place to write a bundle to; it need not exist, nor hold a bundle.
    """
    named: set[str] = set()
    try:
        content = msgspec.json.decode((folder / MANIFEST).read_bytes())
        named = set(content["sha256"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        pass  # no bundle lies there: only files that every bundle has are replaced
    return named | set(_FILES)


def sha256_of(file: Path) -> str:
    """Give the sha256 of a file as 64 hexadecimal digits; the file is read in blocks.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     sha256_of(Path(file.name))[:12]
        'e3b0c44298fc'
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _file_problem(file: Path, want: str) -> str | None:
    if not file.is_file():
        return f"{file.name} is missing"
    if sha256_of(file) != want:
        return f"{file.name} is not the file that the manifest was written for (its sha256 differs)"
    return None


def _read_tokens(folder: Path, manifest: Manifest) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tokens = load_file(folder / TOKENS)
    except SafetensorError as error:
        raise BundleError(f"{folder / TOKENS}: expected safetensors: {error}") from error
    stand_ins: dict[str, Array] = {}
    for name, spec in manifest.streams.items():
        want = (spec.missing.steps, spec.feature_dim)
        got = tokens[name].shape if name in tokens else None
        if got is None or (got != want and not (want[0] == 1 and got == want[1:])):
            raise BundleError(f"{folder / TOKENS}: expected the token {name!r} of shape {want}, got {got}")
        stand_ins[name] = tokens[name].reshape(want)
    return stand_ins
