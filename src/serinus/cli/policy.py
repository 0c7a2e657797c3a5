"""`serinus policy`: what a rollout may do, as named documents."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cyclopts import App
from rich.console import Console

from serinus.cli.options import HERE, PEOPLE, Output, Where, by_user
from serinus.cli.show import emit, say, table, when

if TYPE_CHECKING:
    from collections.abc import Callable

    from serinus.bootstrap.settings import Settings
    from serinus.rollout.policy import Policy
    from serinus.store import Store

app = App(help="Policies: how a rollout goes, what it tests, what follows.")


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List the policies; a star marks the one of rollouts that start by themselves."""
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.policies import policies

    settings = where.settings()
    found = policies(look_at_store(settings), settings.default_policy)
    emit(
        found,
        output,
        lambda console: table(
            console,
            ("", "name", "edition", "set (UTC)", "by", "what it is for"),
            [
                (
                    "*" if one.name == settings.policy else "",
                    one.name,
                    str(one.edition or "built in"),
                    when(one.time),
                    one.actor or "-",
                    one.policy.description,
                )
                for one in found
            ],
            "",
        ),
    )


@app.command
def show(name: str, /, *, history: bool = False, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Show a policy with all its fields.

    Parameters
    ----------
    name
        Its name.
    history
        Also who set it, when and why: all editions, oldest first.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.policies import editions, look_up
    from serinus.control.policy_document import descriptions

    settings = where.settings()
    store = look_at_store(settings)
    found = look_up(store, name, settings.default_policy)
    past = editions(store, name) if history else []

    def people(console: Console) -> None:
        meanings = descriptions()
        values = msgspec.to_builtins(found.policy)
        rows = [(field, _plain(value), meanings.get(field, "")) for field, value in values.items()]
        table(console, ("field", "value", "meaning"), rows, "")
        if history:
            console.print()
            told = [(str(one.edition), when(one.time), one.actor, one.reason) for one in past]
            table(console, ("edition", "set (UTC)", "by", "why"), told, "It is built in; nobody set it.")

    emit({"policy": found, "editions": past} if history else found, output, people)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@app.command(name="set")
def set_(name: str, file: Path, /, *, reason: str = "", where: Where = HERE, output: Output = PEOPLE) -> None:
    """Let a name mean the policy in a file from now on. Rollouts that were started keep theirs.

    Parameters
    ----------
    name
        Its name; `default` and `literal` are built in.
    file
        YAML or JSON.
    reason
        Why, in words; it stands in the policy's history.
    """
    from serinus.bootstrap.wiring import open_store
    from serinus.control.policies import put
    from serinus.control.policy_document import read

    policy = read(file.read_bytes(), str(file), name)
    record = put(open_store(where.settings()), name, policy, actor=by_user(), reason=reason)
    emit(record, output, lambda _: say(f"{name} is edition {record.edition} now."))


@app.command
def validate(file: Path, /, *, output: Output = PEOPLE) -> None:
    """Check a policy file; every mistake is named with line and column.

    Parameters
    ----------
    file
        YAML or JSON.
    """
    from serinus.control.policy_document import read_file

    policy = read_file(file)
    emit(policy, output, lambda _: say(f"{file} is a policy."))


@app.command
def schema() -> None:
    """Print the JSON Schema of a policy file, for editors."""
    from serinus.control.policy_document import schema as made

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(made()), indent=2).decode() + "\n")


def chosen(store: "Callable[[], Store]", settings: "Settings", name_or_file: str) -> "Policy":
    """The policy in that file, or of that name. Raises InvalidPolicy, OSError, NotFound."""
    from serinus.control.policies import named
    from serinus.control.policy_document import read_file

    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml", ".json"):
        return read_file(path)
    return named(store(), name_or_file, settings.default_policy)


def in_a_command(name_or_file: str) -> dict[str, object]:
    """The policy in that file, or of that name, as the control API takes it."""
    from serinus.control.policy_document import read_file

    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml", ".json"):
        return {"name": name_or_file}
    document = msgspec.to_builtins(read_file(path))
    document.pop("share" if document["steps"] else "steps")  # a document has one of them
    return {"document": document, "name": document["name"]}
