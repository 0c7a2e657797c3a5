"""`serinus token`: who may change things from another machine."""

import msgspec
from cyclopts import App
from rich.console import Console

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, say, table
from serinus.core.enums import Role

app = App(help="Tokens of people and programs that ask from another machine.")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token."""

    name: str
    role: Role
    created: str


@app.command
def create(name: str, /, *, role: Role, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Make a token and print it once; only its hash is kept, in TOKENS_FILE. It counts at once.

    Parameters
    ----------
    name
        Whose it is, a person or a program; stands in the history with what it changes.
    role
        viewer looks and asks for predictions; operator changes things, too.
    """
    from serinus.api.tokens import issue
    from serinus.bootstrap.edge import now, secret

    made = issue(where.settings().tokens, name, role, secret(), now())
    say(f"{made.file} keeps the hash of this token of {made.name} ({made.role}); it is not shown again.")
    emit(
        made, output, lambda console: console.print(made.token, highlight=False, soft_wrap=True, markup=False)
    )


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List names and roles."""
    from serinus.api.tokens import read

    file = where.settings().tokens
    kept = [Kept(name=one.name, role=one.role, created=one.created) for one in read(file)]

    def people(console: Console) -> None:
        rows = [(one.name, one.role.value, one.created) for one in kept]
        table(console, ("name", "role", "created"), rows, f"There is none in {file}.")

    emit(kept, output, people)


@app.command
def revoke(name: str, /, *, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Let a token count no more, from the next request on.

    Parameters
    ----------
    name
        As `serinus token list` shows it.
    """
    from serinus.api.tokens import revoke as forget

    gone = forget(where.settings().tokens, name)
    kept = Kept(name=gone.name, role=gone.role, created=gone.created)
    emit(kept, output, lambda _: say(f"The token {name} counts no more."))
