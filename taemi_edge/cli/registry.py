"""The commands that exchange bundles with a registry: `push` and `pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taemi_edge.cli.options import BundleArgument, JsonOption, RequireSignatureOption, extra_needed, save_json
from taemi_edge.cli.progress import shown_progress

if TYPE_CHECKING:
    from taemi_edge.fleet.registry import Access

_PlainHttpOption = Annotated[
    bool,
    typer.Option(
        "--plain-http",
        help="Speak http with another machine: everybody between the two can read and change what is sent.",
    ),
]
_CaFileOption = Annotated[
    Path | None,
    typer.Option("--ca-file", metavar="F.pem", help="The certificate of who signed the registry's certificate."),
]
_TokenHostOption = Annotated[
    list[str] | None,
    typer.Option("--token-host", metavar="HOST", help="Another host that may see the credentials; repeatable."),
]
_KeyOption = Annotated[
    Path | None,
    typer.Option("--require-signature", metavar="K.pub", help="Refuse what this key did not sign."),
]


def push(
    bundle: BundleArgument,
    reference: Annotated[str, typer.Argument(metavar="oci://HOST/NAME:TAG", help="Where to push it.")],
    require_signature: _KeyOption = None,
    ca_file: _CaFileOption = None,
    plain_http: _PlainHttpOption = False,
    token_host: _TokenHostOption = None,
    json_file: JsonOption = None,
) -> None:
    """Push a bundle and its signature to a registry of container images; what is there already is not sent again.

    Credentials are those of `docker login`, `podman login` or `oras login`.
    """
    with extra_needed("fleet", "taemi-edge push"):
        from taemi_edge.fleet.push import push_bundle
    with shown_progress() as progress:
        pushed = push_bundle(
            bundle,
            reference,
            require_signature=require_signature,
            access=_access(plain_http, ca_file, token_host),
            progress=progress,
        )
    signed = "with its signature" if pushed.signed else "without a signature"
    typer.echo(f"pushed {bundle} {signed}: {_megabytes(pushed.sent_bytes)} sent, {_megabytes(pushed.kept_bytes)} there")
    typer.echo(pushed.reference.digest)
    typer.echo(f"taemi-edge pull {pushed.reference} --output {bundle.name}")
    save_json(
        json_file,
        {
            "reference": str(pushed.reference),
            "digest": pushed.reference.digest,
            "sent_bytes": pushed.sent_bytes,
            "kept_bytes": pushed.kept_bytes,
            "signed": pushed.signed,
        },
    )


def pull(
    reference: Annotated[
        str, typer.Argument(metavar="oci://HOST/NAME[:TAG|@DIGEST]", help="What to pull; a digest means one bundle.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The bundle to write.")],
    require_signature: RequireSignatureOption = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option("--reuse", metavar="DIR", help="A bundle whose files need not be fetched again; repeatable."),
    ] = None,
    ca_file: _CaFileOption = None,
    plain_http: _PlainHttpOption = False,
    token_host: _TokenHostOption = None,
    json_file: JsonOption = None,
) -> None:
    """Pull a bundle from a registry, check every byte of it, and write DIR and its signature DIR.sig.

    A pull that broke goes on where it stopped. On any failure what stood at DIR stays.
    """
    with extra_needed("fleet", "taemi-edge pull"):
        from taemi_edge.bundle.trusted_keys import required_key
        from taemi_edge.fleet.pull import pull_bundle
    with shown_progress() as progress:
        pulled = pull_bundle(
            reference,
            output,
            require_signature=required_key(require_signature),
            reuse=reuse or (),
            access=_access(plain_http, ca_file, token_host),
            progress=progress,
        )
    signed = "with a signature" if pulled.signed else "without a signature"
    fetched, reused = _megabytes(pulled.fetched_bytes), _megabytes(pulled.reused_bytes)
    typer.echo(f"pulled {pulled.reference} {signed}: {fetched} fetched, {reused} here already")
    typer.echo(f"wrote {output}")
    save_json(
        json_file,
        {
            "reference": str(pulled.reference),
            "digest": pulled.reference.digest,
            "fetched_bytes": pulled.fetched_bytes,
            "reused_bytes": pulled.reused_bytes,
            "signed": pulled.signed,
        },
    )


def _access(plain_http: bool, ca_file: Path | None, token_hosts: list[str] | None) -> Access:
    from taemi_edge.fleet.registry import Access

    return Access(plain_http=plain_http, ca_file=ca_file, token_hosts=tuple(token_hosts or ()))


def _megabytes(count: int) -> str:
    """
    >>> _megabytes(1_234_567)
    '1.2 MB'
    """
    return f"{count / 1e6:.1f} MB"
