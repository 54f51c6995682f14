"""The address of a bundle in a registry, such as `oci://registry.example/models/mine:3`.

A registry is the kind of server that container images lie in (Open Container Initiative, OCI). A tag is a name that can
be moved to another bundle; a digest is the sha256 of what is meant, and means the same for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from taemi_edge.errors import UsageError

#: What a tag may be, and each component of a name: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_CHARACTERS = 255
_SCHEME = "oci://"
_EXPECTED = "expected oci://HOST[:PORT]/NAME, with :TAG or @sha256:DIGEST at its end"


@dataclass(frozen=True)
class Reference:
    """Where a bundle lies in a registry.

    Attributes:
        host: the registry, with its port where it has one.
        repository: the name of the bundle there; it may have slashes.
        tag: "" where the reference has a digest alone.
        digest: "" where it is not known.

    Example:
        >>> reference = parse_reference("oci://registry.example:5000/models/mine:3")
        >>> reference.host, reference.repository, reference.tag
        ('registry.example:5000', 'models/mine', '3')
        >>> str(reference.at("sha256:" + "0" * 64))[:52]
        'oci://registry.example:5000/models/mine@sha256:00000'
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.host}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def host_name(self) -> str:
        """The registry's name without its port."""
        return self.host.rpartition(":")[0] if re.search(r":[0-9]+$", self.host) else self.host

    @property
    def is_local(self) -> bool:
        """Whether the registry is on this machine, so that nobody listens on the way."""
        return self.host_name in ("localhost", "[::1]") or bool(re.fullmatch(r"127(\.[0-9]{1,3}){3}", self.host_name))

    def at(self, digest: str) -> Reference:
        """The same place, by digest."""
        return replace(self, tag="", digest=digest)


def parse_reference(text: str) -> Reference:
    """Read the address of a bundle in a registry; without tag and digest it means the tag `latest`.

    Raises:
        UsageError: it is none. An address with a user name or a password in it is refused too, and not shown.

    Example:
        >>> parse_reference("oci://ghcr.io/me/mine")
        Reference(host='ghcr.io', repository='me/mine', tag='latest', digest='')
    """
    if not text.startswith(_SCHEME):
        raise UsageError(f"{_shown(text)}: {_EXPECTED}")
    host, slash, path = text.removeprefix(_SCHEME).partition("/")
    if "@" in host:
        raise UsageError(
            "expected oci://HOST/NAME without a user name or a password (it is not shown here): log in with "
            "`docker login HOST` or `oras login HOST`, which keep them in a file that is read from there"
        )
    name, at, digest = path.partition("@")
    repository, colon, tag = name.partition(":")
    sound = (
        slash
        and _HOST.fullmatch(host)
        and _REPOSITORY.fullmatch(repository)
        and len(repository) <= _MOST_CHARACTERS
        and (not colon or _TAG.fullmatch(tag))
        and (not at or _DIGEST.fullmatch(digest))
    )
    if not sound:
        raise UsageError(f"{_shown(text)}: {_EXPECTED}; names are of small letters, digits and . _ - /")
    return Reference(host, repository, "" if at else tag or "latest", digest)


def _shown(text: str) -> str:
    """What may be shown of something that is no reference: no more than what cannot hold a password."""
    return ascii(text[:_MOST_CHARACTERS]) if not {"@", "?", " "} & set(text) else "the address"
