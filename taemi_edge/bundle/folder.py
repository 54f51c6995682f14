"""The files of a bundle folder: opening one with every file hashed, and writing its manifest and tokens.

bundle/
  manifest.json         taemi_edge.bundle.spec.Manifest, with the sha256 of every other file
  NAME.onnx, fusion.onnx   the encoder of each stream, and the head
  tokens.safetensors    what stands for each missing stream, float32 (D,) or (steps, D)
  tokenizer.json        one for each stream of text, under the name that its spec gives
  golden.npz            feeds, and PyTorch's outputs for them: taemi_edge.parity.golden
  MODEL_CARD.md         for people; card.json has what the model's author said for it: taemi_edge.bundle.card

What is used of a bundle are bytes that were hashed: `Bundle.read` hashes what it reads, and gives nothing that is not
what the manifest was written for. A folder that holds any other file is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from mmap import mmap
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

import msgspec

from taemi_edge.bundle.card import CARD_FILES, write_card
from taemi_edge.bundle.external_data import MARK, require_no_external_data
from taemi_edge.bundle.foreign_models import no_bundle_problem
from taemi_edge.bundle.json_files import values_problem, write_json
from taemi_edge.bundle.limits import (
    MOST_FILE_BYTES,
    MOST_FILES,
    MOST_GRAPH_BYTES,
    MOST_MANIFEST_BYTES,
    MOST_SIGNATURE_BYTES,
    MOST_TOKENIZER_BYTES,
    MOST_TOKENS_BYTES,
)
from taemi_edge.bundle.opened_folder import FileDigest, OpenedFolder
from taemi_edge.bundle.spec import SCHEMA, Manifest
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.token_file import TOKENS as TOKENS
from taemi_edge.bundle.token_file import read_tokens
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BundleError

if TYPE_CHECKING:
    from taemi_edge.bundle.signatures import SignedBy

_Content = TypeVar("_Content", bound=bytes | mmap)

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
GOLDEN = "golden.npz"
#: What `taemi-edge calibrate` adds: the plan that another machine can use, and the sensitivity of every block.
RANGES, SENSITIVITY, PARETO = "ranges.json", "sensitivity.json", "sensitivity.png"
#: What `taemi-edge build-engine --precision auto` adds.
CHOICE = "choice.png"
#: What `taemi-edge build-engine --require-signature` adds: the signature of the graphs.
SOURCE_SIGNATURE = "source.sig"
#: The files of every bundle; `replaceable_files` adds those that depend on the model.
_FILES = (MANIFEST, TOKENS, TOKENIZER, GOLDEN, RANGES, SENSITIVITY, PARETO, CHOICE, SOURCE_SIGNATURE, *CARD_FILES)
#: So many problems of a folder are said; a copy that was cut short has one for each file.
_MOST_SAID = 8


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle folder. Every file in it was found to be the one that its manifest was written for.

    Attributes:
        folder: where it lies.
        manifest: the content of its `manifest.json`.
        tokens: what stands for each stream when it is missing, float32 (steps, D); most have one step.
        digests: the sha256 of every file of the folder by name, `manifest.json` included.
        sizes: the same files' sizes in bytes.
        place: the folder that `folder` led to when it was opened: a link may lead to another bundle by now.
        signed_by: who signed it; None where no signature was asked for.

    Example:
        >>> bundle = open_bundle("export/taemi-tiny")
        >>> len(bundle.read_part("text")) == bundle.sizes["text.onnx"], bundle.tokens["text"].shape
        (True, (1, 16))
    """

    folder: Path
    manifest: Manifest
    tokens: Mapping[str, Array]
    digests: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    place: Path | None = None
    signed_by: SignedBy | None = None

    def read(self, name: str, most: int = MOST_FILE_BYTES) -> bytes:
        """Give the bytes of a file of the bundle, hashed as they were read.

        Args:
            name: of a file that the manifest lists, or "manifest.json".
            most: how many bytes it may have.

        Raises:
            BundleError: the file is not listed, is gone, is too large, or is another one by now.
        """
        return self._content(name, lambda files: files.read(name, most))

    def read_graph(self, name: str) -> bytes:
        """Give the bytes of an ONNX graph of the bundle, hashed as they were read.

        Raises:
            BundleError: see `read`; or the graph names data outside its file, which nobody has hashed.
        """
        content = self.read(name, MOST_GRAPH_BYTES)
        require_no_external_data(content, f"{self.folder / name}")
        return content

    def read_part(self, part: str) -> bytes:
        """Give the bytes of a part, a graph or an engine, hashed as they were read.

        Raises:
            BundleError: see `read_graph`.
        """
        name = self.manifest.parts[part].file
        return self.read(name) if name.endswith(".engine") else self.read_graph(name)

    def map_part(self, part: str) -> bytes | mmap:
        """Give the content of a part as `read_part` does; an engine is mapped into memory, where that is safe.

        An engine may have gigabytes, which a device would otherwise hold twice while TensorRT reads them.

        Raises:
            BundleError: see `read_graph`.
        """
        name = self.manifest.parts[part].file
        if not name.endswith(".engine"):
            return self.read_graph(name)
        return self._content(name, lambda files: files.map(name, MOST_FILE_BYTES))

    def read_tokenizer(self, stream: str) -> str:
        """Give the tokenizer of a stream of text, as the `tokenizers` library writes it.

        Raises:
            BundleError: see `read`; or the stream has no text, or the file is no UTF-8.
        """
        name = self._text_spec(stream).tokenizer
        try:
            return self.read(name, MOST_TOKENIZER_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{self.folder / name}: expected UTF-8: {error}") from error

    def part_file(self, part: str) -> Path:
        """Where a part lies, to say so. Nothing loads it from there: `read_part` gives the bytes that were hashed."""
        return self.folder / self.manifest.parts[part].file

    def tokenizer_file(self, stream: str) -> Path:
        """Where the tokenizer of a stream of text lies; `read_tokenizer` gives what was hashed."""
        return self.folder / self._text_spec(stream).tokenizer

    @property
    def golden_file(self) -> Path:
        """Where the feeds and PyTorch's outputs lie that were recorded at export; `read` gives what was hashed."""
        return self.folder / GOLDEN

    def _content(self, name: str, read: Callable[[OpenedFolder], tuple[_Content, FileDigest]]) -> _Content:
        """What `read` gives of a file, if it is the one that the manifest was written for."""
        want = self.digests.get(name) or self.manifest.sha256.get(name)
        if want is None:
            raise BundleError(f"{self.folder}: expected a file that the manifest lists, got {name!r:.80}")
        try:
            with OpenedFolder(self.place or self.folder) as files:
                content, found = read(files)
        except BundleError as error:
            raise BundleError(f"{self.folder}: {error}: export the bundle again, or copy it anew") from error
        if found.sha256 != want:
            raise BundleError(f"{self.folder}: {_changed(name)}: export the bundle again, or copy it anew")
        return content

    def _text_spec(self, stream: str) -> TextSpec:
        spec = self.manifest.streams[stream]
        if not isinstance(spec, TextSpec):
            raise BundleError(f"{self.folder}: expected {stream!r} to be a stream of text")
        return spec


def open_bundle(folder: Path | str, *, require_signature: Path | None = None) -> Bundle:
    """Read a bundle, hash every file in it, and refuse what its manifest was not written for.

    Args:
        folder: of the bundle, or a link to it.
        require_signature: a file with the public key that must have signed the bundle; None asks for no signature.

    Raises:
        SignatureError: the bundle is not signed, or not with that key, or its files are not those that were signed.
        BundleError: the folder is no bundle, a file is missing, changed, not listed or no regular file, the schema is
            newer than this package, a graph names data outside its file, or a token has the wrong shape. The message
            names every file that is wrong.

    Example:
        >>> open_bundle("export/taemi-tiny").manifest.window
        WindowSpec(length_s=4.0, hop_s=0.5)
    """
    folder = Path(folder)
    _require_manifest(folder)
    place = folder.resolve()
    if require_signature is not None:
        Thread(target=_import_signatures, name="import-signatures").start()  # while the files are hashed
    with OpenedFolder(place) as files:
        content, digest = _manifest_bytes(files, folder)
        manifest = _manifest_of(content, folder)
        digests = {MANIFEST: digest, **_digests(files, manifest, folder)}
    hashes = {name: found.sha256 for name, found in digests.items()}
    bundle = Bundle(folder, manifest, {}, hashes, {name: found.size for name, found in digests.items()}, place)
    if require_signature is not None:
        bundle = replace(bundle, signed_by=_signer(bundle, place, require_signature))
    for name in (name for name, found in digests.items() if found.found):
        bundle.read_graph(name)  # it holds the word that names external data: is it meant so?
    return with_tokens(bundle)


def with_tokens(bundle: Bundle) -> Bundle:
    """Give a bundle with its tokens read.

    Raises:
        BundleError: a token is missing, has the wrong shape or type, or holds what is no number.
    """
    tokens = read_tokens(bundle.read(TOKENS, MOST_TOKENS_BYTES), bundle.manifest.streams, bundle.folder / TOKENS)
    return replace(bundle, tokens=tokens)


def read_manifest(folder: Path) -> Manifest:
    """Read and validate the manifest alone; the other files are not looked at.

    Raises:
        BundleError: there is no manifest, it is not JSON, it has another schema, or keys are unknown or missing.
    """
    _require_manifest(folder)
    with OpenedFolder(folder) as files:
        return _manifest_of(_manifest_bytes(files, folder)[0], folder)


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write the model card and `manifest.json` into a bundle that is being made, with the hashes of all its files.

    Returns:
        The manifest with these hashes.

    Raises:
        OutputError: there is no room or no permission.
    """
    write_card(folder, manifest)
    hashes = {file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    complete: Manifest = msgspec.structs.replace(manifest, sha256=hashes)
    write_json(folder / MANIFEST, complete)
    return complete


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # msgspec's errors are ValueErrors
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


def _require_manifest(folder: Path) -> None:
    if not os.path.lexists(folder / MANIFEST):  # unlike pathlib, it takes names that no file system has
        raise BundleError(no_bundle_problem(folder, MANIFEST))


def _manifest_bytes(files: OpenedFolder, folder: Path) -> tuple[bytes, FileDigest]:
    try:
        return files.read(MANIFEST, MOST_MANIFEST_BYTES)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}: export the bundle again, or copy it anew") from error


def _manifest_of(raw: bytes, folder: Path) -> Manifest:
    file = folder / MANIFEST
    try:
        content = msgspec.json.decode(raw)
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            newer = isinstance(schema, int) and schema > SCHEMA
            advice = (
                "update taemi-edge"
                if newer
                else f"export the model again with `taemi-edge export MODEL --output {folder}`"
            )
            raise BundleError(f"{file}: expected schema {SCHEMA}, got {schema!r:.80}: {advice}")
        if problem := values_problem(content):
            raise ValueError(problem)
        return msgspec.convert(content, Manifest)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        reason = f"{error!s:.1000}"
        raise BundleError(
            f"{file}: expected a manifest of schema {SCHEMA}: {reason}: export the model again"
        ) from error


def _digests(files: OpenedFolder, manifest: Manifest, folder: Path) -> dict[str, FileDigest]:
    """Hash every file that the manifest lists, and say everything that is wrong with the folder at once."""
    problems = _listing_problems(files, manifest)
    graphs = _graph_files(manifest)
    digests: dict[str, FileDigest] = {}
    for name, want in manifest.sha256.items():
        try:
            is_graph = name in graphs
            found = files.digest(name, MOST_GRAPH_BYTES if is_graph else MOST_FILE_BYTES, MARK if is_graph else b"")
        except BundleError as error:
            problems.append(str(error))
            continue
        digests[name] = found
        if found.sha256 != want:
            problems.append(_changed(name))
    if problems:
        more = f"; and {len(problems) - _MOST_SAID} more" if len(problems) > _MOST_SAID else ""
        said = "; ".join(problems[:_MOST_SAID])
        raise BundleError(f"{folder}: {said}{more}: export the bundle again, or copy it anew")
    return digests


def _listing_problems(files: OpenedFolder, manifest: Manifest) -> list[str]:
    """What the manifest does not list: files that it names, and files that lie in the folder."""
    named = {part.file for part in manifest.parts.values()} | {TOKENS, GOLDEN, *tokenizer_names(manifest)}
    named |= _graph_files(manifest)
    problems = [f"{name} has no hash in the manifest" for name in sorted(named - set(manifest.sha256))]
    there = files.names(MOST_FILES + 2)
    unlisted = [name for name in there if name not in manifest.sha256 and name not in (MANIFEST, *named)]
    problems += [
        f"{name!r:.80} is not a file of the bundle: its manifest does not list it, so move it out of the folder"
        for name in unlisted
    ]
    return problems


def _graph_files(manifest: Manifest) -> set[str]:
    files = {part.file for part in manifest.parts.values()}
    files |= {file for flavours in manifest.graphs.values() for file in flavours.values()}
    return {file for file in files if not file.endswith(".engine")}


def _changed(name: str) -> str:
    return f"{name} is not the file that the manifest was written for (its sha256 differs)"


def _import_signatures() -> None:
    """Import what checks a signature, which takes as long as hashing 40 MB."""
    with suppress(ImportError):  # the check itself says what is missing
        from taemi_edge.bundle import signatures

        signatures.import_what_checks_keys()


def _signer(bundle: Bundle, place: Path, key: Path) -> SignedBy:
    """Check that a bundle is signed, with the hashes that opening made: no file is read again."""
    from taemi_edge.bundle.signatures import BuiltFrom, check_signature

    record, built_from = bundle.manifest.engine, None
    if record is not None and record.source_digests and SOURCE_SIGNATURE in bundle.digests:
        built_from = BuiltFrom(record.source_digests, bundle.read(SOURCE_SIGNATURE, MOST_SIGNATURE_BYTES))
    return check_signature(place, bundle.digests, key, built_from)
