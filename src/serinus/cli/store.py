"""`serinus store`: check a store, copy it."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from serinus.cli.exits import Exit
from serinus.cli.options import HERE, PEOPLE, Output, Where, by_user
from serinus.cli.show import emit, megabytes, say, table, transfer
from serinus.core.errors import InvalidInput, VolumeFull

if TYPE_CHECKING:
    from serinus.bootstrap.settings import Settings
    from serinus.store import Store
    from serinus.store.checking import Finding

app = App(help="Check the store, and copy it: the backup, and the way into a bucket.")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `serinus store check -o json` prints."""

    store: str
    files: int
    """Read, with their bytes."""
    bytes: int
    findings: "tuple[Finding, ...]"
    errors: int
    """Findings of severity error that remain."""
    warnings: int
    repaired: int
    summary: str


@app.command
def check(
    *,
    repair: bool = False,
    source: Annotated[str, Parameter(name="--from")] = "",
    where: Where = HERE,
    output: Output = PEOPLE,
) -> Exit:
    """Read the whole store and say what is wrong; exit code 1 when an error remains.

    The store may be in use. Nothing is changed without --repair, and nothing is destroyed by it: what is
    damaged or does not belong there is moved to lost+found/.

    Parameters
    ----------
    repair
        Heal what can be healed without loss.
    source
        Another store that holds the same, such as a backup, to heal from: a folder or s3://bucket/prefix.
    """
    from serinus.bootstrap.wiring import look_at_store

    with _places(where.settings()) as place:
        store = look_at_store(where.settings(), must_exist=True)
        other = place(source, must_exist=True) if source else None
        report = _check(store, repair=repair, other=other, here=True)
    emit(report, output, lambda console: _show(console, report))
    return Exit.FAILED if report.errors else Exit.DONE


@app.command
def accept_loss(*, reason: str, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Go on without the newest events, where the journal lost them and no copy has them.

    Each lost number gets an event that says so; one number of a version and of a rollout is skipped for each,
    and a rollout that was active is rolled back, since what became of it is not known. Restore from a backup
    if there is one: afterwards the lost events cannot be put back. Start every process anew afterwards.

    Parameters
    ----------
    reason
        Why, in words; it stands in the history.
    """
    from serinus.bootstrap.wiring import open_store

    done = open_store(where.settings()).accept_loss(actor=by_user(), reason=reason)
    first, last = done[0].seq, done[-1].seq
    emit(
        {"first": first, "last": last, "events": done},
        output,
        lambda _: say(f"Events {first} to {last} stand for what is lost. Start every process anew."),
    )


@app.command
def copy(
    source: str, target: str, /, *, dry_run: bool = False, where: Where = HERE, output: Output = PEOPLE
) -> Exit:
    """Bring TARGET up to what SOURCE holds, and check it: a backup, a restore, a move into a bucket.

    Each is a folder, file:///folder or s3://bucket/prefix. What is there is not sent again, so an interrupted
    copy goes on and a later one adds what is new. Nothing is written to SOURCE, which may be in use. What
    is there and sound is never overwritten with something else: a conflict is named. Exit code 1 when the
    copy is not whole, or when there is a conflict. Until it is finished nothing starts or writes in TARGET.

    Parameters
    ----------
    source
        The store to be copied.
    target
        The copy: a new or empty place, or an older copy of the same store.
    dry_run
        Only say what would be sent.
    """
    from serinus.store.copying import Copied

    _refuse_same_place(source, target)
    _refuse_inside(target, where.settings())
    with _places(where.settings()) as place:
        here = place(source, must_exist=True)
        assert here is not None
        with _full_target(target):
            there = place(target, must_exist=False, make=not dry_run)
        plan = here.lacking(there)
        if dry_run or there is None:
            copied = Copied.would_be(plan)
            emit({"copied": copied, "check": None}, output, lambda _: say(f"Would send {_sent(copied)}."))
            return Exit.DONE
        with _full_target(target), transfer("Copying", plan.bytes) as step:
            copied = here.copy_to(there, step=step)
            if not there.remote:
                there.refresh_views()
        report = _check(there, repair=False, other=None, here=not there.remote)

    def people(console: Console) -> None:
        for words in copied.left_out:
            console.print(f"[red]Damaged in the source and left out:[/] {escape(words)}", highlight=False)
        for words in copied.conflicts:
            console.print(f"[red]Not overwritten:[/] {escape(words)}", highlight=False)
        _show(console, report)
        console.print(f"Sent {_sent(copied)}.", highlight=False)

    emit({"copied": copied, "check": report}, output, people)
    return Exit.FAILED if report.errors or copied.left_out or copied.conflicts else Exit.DONE


def _refuse_same_place(source: str, target: str) -> None:
    from serinus.bootstrap.settings import store_folder

    one, two = store_folder(source), store_folder(target)
    if one is None or two is None:
        same = one is two and f"{target.rstrip('/')}/".startswith(f"{source.rstrip('/')}/")
    else:
        same = two.absolute().resolve().is_relative_to(one.absolute().resolve())
    if same:
        raise InvalidInput(f"{target} is the same place as {source}, or in it.", remedy="Give another one.")


def _refuse_inside(target: str, settings: "Settings") -> None:
    from serinus.bootstrap.wiring import enclosing_store

    with tempfile.TemporaryDirectory(prefix="serinus-store-") as scratch:
        outer = enclosing_store(target, settings, Path(scratch))
    if outer:
        raise InvalidInput(
            f"{target} lies inside the store {outer}, among its own files.",
            remedy="Give a place beside it.",
        )


@contextmanager
def _full_target(target: str) -> Iterator[None]:
    """Says of a full volume what helps there: nothing of the copy can be removed to make room for it."""
    try:
        yield
    except VolumeFull as error:
        raise VolumeFull(
            f"The copy is not finished. {error.message}",
            remedy=f"Free space on that volume or give it more, then run the same command again: it goes on "
            f"where it stopped. Or copy to another place than {target}.",
        ) from error


@contextmanager
def _places(settings: "Settings") -> Iterator[Callable[..., "Store | None"]]:
    """Gives a function from an address to its store; what it keeps on this machine goes at the end."""
    from serinus.bootstrap.wiring import store_at

    with ExitStack() as temporary:

        def place(url: str, *, must_exist: bool, make: bool = False) -> "Store | None":
            scratch = temporary.enter_context(tempfile.TemporaryDirectory(prefix="serinus-store-"))
            return store_at(url, settings, Path(scratch), must_exist=must_exist, make=make)

        yield place


def _check(store: "Store", *, repair: bool, other: "Store | None", here: bool) -> Report:
    files = size = 0
    with transfer("Checking", None) as show:

        def step(what: str, read: int) -> None:
            nonlocal files, size
            files, size = files + 1, size + read
            show(what, read)

        found = tuple(store.check(repair=repair, other=other, here=here, step=step))
    name = store.backend.name("").rstrip("/")
    left = [one for one in found if not one.repaired]
    errors = sum(one.severity == "error" for one in left)
    warnings = sum(one.severity == "warning" for one in left)
    repaired = len(found) - len(left)
    return Report(
        store=name,
        files=files,
        bytes=size,
        findings=found,
        errors=errors,
        warnings=warnings,
        repaired=repaired,
        summary=_summary(name, files, errors, warnings, repaired),
    )


def _summary(name: str, files: int, errors: int, warnings: int, repaired: int) -> str:
    parts = [
        f"{count} {word if count == 1 else word + 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    mended = f"{repaired} repaired" if repaired else ""
    state = ", ".join(filter(None, [*parts, mended])) or "nothing is wrong"
    return f"{name}: {files} files read, {state}."


def _show(console: Console, report: Report) -> None:
    rows = [
        (
            "repaired" if one.repaired else str(one.severity),
            str(one.kind),
            one.name,
            one.words if one.repaired else f"{one.words} {one.remedy}".strip(),
        )
        for one in report.findings
    ]
    if rows:
        table(console, ("", "kind", "file", "what"), rows, "")
    console.print(report.summary, highlight=False, soft_wrap=True, markup=False)


def _sent(copied: Any) -> str:
    return (
        f"{copied.events} events, {copied.artifacts} artifacts, {copied.golden} golden sets and "
        f"{copied.documents} documents ({megabytes(copied.bytes)} MB), up to event {copied.seq}"
    )
