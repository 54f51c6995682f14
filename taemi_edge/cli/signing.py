"""The commands `keygen`, `sign` and `verify`: who made a bundle, and that nothing in it was changed since."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.cli.options import BundleArgument, note
from taemi_edge.errors import UsageError

_NewKeyArgument = Annotated[
    Path, typer.Argument(metavar="K", help="The private key to write; the public one is K.pub.", show_default=False)
]
_PrivateKeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="K", help="The private key (PEM): P-256, P-384 or P-521.")
]
_PasswordOption = Annotated[
    str | None,
    typer.Option("--password-env", metavar="NAME", help="The environment variable with the password of the key."),
]
_CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", metavar="C.pem", help="The certificate of the key; it is sent along.")
]
_ChainOption = Annotated[
    list[Path] | None,
    typer.Option("--chain", metavar="CA.pem", help="Certificates between it and the authority's; repeatable."),
]
_SigstoreOption = Annotated[
    bool, typer.Option("--sigstore", help="Sign with an identity in place of a key; needs the network.")
]
_PublicKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="K.pub",
        help="The public key of who must have signed, or an authority's certificate  [default: that of this device]",
    ),
]
_IdentityOption = Annotated[
    str | None,
    typer.Option("--identity", metavar="ID", help="Who must have signed through sigstore; needs the network."),
]
_IssuerOption = Annotated[str | None, typer.Option("--issuer", metavar="URL", help="Who vouches for --identity.")]


def keygen(key: _NewKeyArgument, password_env: _PasswordOption = None) -> None:
    """Make a pair of keys: K signs bundles and stays with you, K.pub goes onto devices."""
    from taemi_edge.fleet.signing import make_key

    public, fingerprint = make_key(key, password=None if password_env is None else _variable(password_env))
    typer.echo(f"wrote {key} (keep it secret) and {public} (key {fingerprint[:16]}, for devices)")


def sign(
    bundle: BundleArgument,
    key: _PrivateKeyOption = None,
    password_env: _PasswordOption = None,
    certificate: _CertificateOption = None,
    chain: _ChainOption = None,
    sigstore: _SigstoreOption = False,
) -> None:
    """Sign every file of a bundle; the signature is BUNDLE.sig, beside the folder, and travels with it."""
    from taemi_edge.bundle.named import is_shipped_folder
    from taemi_edge.fleet.signing import sign_bundle, sign_with_sigstore

    if (key is None) is not sigstore:
        raise UsageError("expected either --key K or --sigstore")
    if chain and certificate is None:
        raise UsageError("--chain: expected --certificate as well, whose authorities these are")
    if is_shipped_folder(bundle):
        raise UsageError(
            f"{bundle}: expected a bundle of your own, got one that ships, whose signature would lie inside the "
            f"installed package: run `cp -r {bundle} {bundle.name}`, and sign that"
        )
    if key is None:
        signed = sign_with_sigstore(bundle)
    else:
        ask = _password_of(key, password_env)
        signed = sign_bundle(bundle, key, certificate=certificate, chain=chain or (), password=ask)
    if signed.key_is_readable:
        note(f"other users of this machine may read {key}: chmod 600 {key}")
    typer.echo(f"wrote {signed.file}: {signed.by.files} files, signed by {signed.by.name}")


def verify(
    bundle: BundleArgument,
    key: _PublicKeyOption = None,
    identity: _IdentityOption = None,
    issuer: _IssuerOption = None,
) -> None:
    """Check that a bundle is what the holder of a key signed: exit 0 where it is, 1 where it is not."""
    from taemi_edge.bundle.trusted_keys import required_key
    from taemi_edge.fleet.signing import verify_bundle, verify_with_sigstore

    if not (identity or issuer):
        key = required_key(key)
    if key is not None and not (identity or issuer):
        signed = verify_bundle(bundle, key)
    elif key is None and identity and issuer:
        signed = verify_with_sigstore(bundle, identity, issuer)
    else:
        raise UsageError("expected either --key K.pub, or --identity and --issuer together")
    of = " of the graphs that this device built its engines from" if signed.built_here else ""
    typer.echo(f"{bundle}: signed by {signed.name}, {signed.files} files{of}")


def _password_of(key: Path, variable: str | None) -> Callable[[], str]:
    """Where the password of a key comes from: a variable, or the terminal."""

    def ask() -> str:
        if variable is not None:
            return _variable(variable)
        if not sys.stdin.isatty():
            raise UsageError(
                f"{key} is encrypted: name the environment variable with its password: --password-env NAME"
            )
        from getpass import getpass

        try:
            return getpass(f"Password of {key}: ")
        except EOFError as error:
            raise UsageError(f"{key} is encrypted: expected its password, got nothing") from error

    return ask


def _variable(name: str) -> str:
    """The value of an environment variable, which must not be empty."""
    if not (value := os.environ.get(name)):
        raise UsageError(f"--password-env {name}: expected an environment variable with the password, found none")
    return value
