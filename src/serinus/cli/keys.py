"""`serinus keys`: pairs of keys that sign versions and check signatures."""

from pathlib import Path

import msgspec
from cyclopts import App
from rich.console import Console

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, say, table

app = App(help="Keys that sign versions.")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A public key and where it is."""

    name: str
    id: str
    """Fingerprint: sha256 of the public key's DER form, in hex."""
    private: str = ""
    """File of the private key; empty where it is not known."""
    public: str = ""
    """File of the public key."""


@app.command
def new(path: Path, /, *, output: Output = PEOPLE) -> None:
    """Make a pair of keys (ed25519): NAME.key signs and stays secret, NAME.pem goes to whoever checks.

    Parameters
    ----------
    path
        Name of the pair, or path without an ending. Nothing is ever overwritten.
    """
    from serinus.artifact.keys import new_pair
    from serinus.bootstrap.edge import secret

    private, public, key = new_pair(path, secret())
    emit(
        Key(name=key.name, id=key.id, private=str(private), public=str(public)),
        output,
        lambda _: say(
            f"{private} signs; keep it secret. {public} goes to TRUSTED_KEYS. Fingerprint {key.id}."
        ),
    )


@app.command
def show(file: Path, /, *, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Show the fingerprint of a key, public or private.

    Parameters
    ----------
    file
        The key, PEM.
    """
    from serinus.artifact.keys import read_either

    password = where.settings().signing_key_password
    key = read_either(file, password.get_secret_value() if password else "")
    emit(
        Key(name=key.name, id=key.id),
        output,
        lambda console: console.print(f"{key.name} {key.id}", highlight=False, soft_wrap=True),
    )


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List the keys whose signatures count (TRUSTED_KEYS)."""
    from serinus.bootstrap.signing import trusted

    keys = sorted(trusted(where.settings()).values(), key=lambda key: key.name)

    def people(console: Console) -> None:
        rows = [(key.name, key.id) for key in keys]
        table(console, ("name", "fingerprint"), rows, "No key is trusted: TRUSTED_KEYS is not set.")

    emit([Key(name=key.name, id=key.id) for key in keys], output, people)
