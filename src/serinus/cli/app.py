"""The tree of commands, and the one table from outcomes to exit codes."""

import sys
from pathlib import Path

from cyclopts import App, CycloptsError
from rich.markup import escape

from serinus import __version__
from serinus.bootstrap.settings import WrongSettings
from serinus.cli import (
    batch,
    data,
    demo,
    disagreements,
    evaluate,
    feedback,
    golden,
    imports,
    jobs,
    keys,
    lineage,
    policy,
    processes,
    replay,
    rollout,
    simulate,
    store,
    tokens,
    train,
    trainers,
    versions,
)
from serinus.cli.exits import Exit
from serinus.cli.show import Terminal
from serinus.core.errors import Cancelled, Fault, SerinusError

app = App(
    name="serinus",
    help="From data set to production without fear: train, version, canary and serve computer-vision models.",
    version=__version__,
    help_format="plaintext",
)
app.command(processes.up)
app.command(processes.down)
app.command(processes.infer)
app.command(processes.ui)
app.command(processes.controller)
app.command(processes.settings)
app.command(demo.demo)
app.command(train.train)
app.command(batch.batch)
app.command(evaluate.evaluate)
app.command(evaluate.compare)
app.command(trainers.app, name="trainers")
app.command(versions.publish)
app.command(versions.publish_broken)
app.command(versions.app, name="versions")
app.command(lineage.lineage)
app.command(imports.app, name="import")
app.command(rollout.app, name="rollout")
app.command(policy.app, name="policy")
app.command(data.app, name="data")
app.command(golden.app, name="golden")
app.command(feedback.app, name="feedback")
app.command(disagreements.app, name="disagreements")
app.command(keys.app, name="keys")
app.command(tokens.app, name="token")
app.command(jobs.app, name="jobs")
app.command(replay.replay)
app.command(simulate.simulate)
app.command(store.app, name="store")


def run(tokens: list[str]) -> int:
    """Run one command and give its exit code; talk goes to stderr, results to stdout."""
    try:
        result = app(tokens, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return Exit.USAGE
    except (SerinusError, OSError, KeyboardInterrupt) as error:
        return _refused(error)
    return result if isinstance(result, int) else Exit.DONE


def _refused(error: SerinusError | OSError | KeyboardInterrupt) -> Exit:
    """Says what happened in words and gives the exit code for it; a bug is raised on."""
    console = Terminal(stderr=True, soft_wrap=True)
    code = Exit.FAILED
    match error:
        case BrokenPipeError():
            return Exit.DONE
        case KeyboardInterrupt() | Cancelled():
            console.print("Cancelled; nothing half-done was kept.")
            return Exit.CANCELLED
        case SerinusError():
            words, remedy = error.message, error.remedy
            if isinstance(error, WrongSettings) or error.fault is Fault.CALLER:
                code = Exit.USAGE
        case FileNotFoundError() | IsADirectoryError() | NotADirectoryError() | PermissionError():
            words, remedy, code = f"{error.filename}: {error.strerror}.", "", Exit.USAGE
        case OSError() if (refused := _refusal(error)) is not None:
            words, remedy = refused.message, refused.remedy
        case _:
            raise error
    console.print(f"[red]serinus:[/] {escape(words)}", highlight=False)
    if remedy:
        console.print(remedy, highlight=False, markup=False)
    return code


def _refusal(error: OSError) -> SerinusError | None:
    """A volume that takes no write, met outside the store: an answer's file, a temporary folder."""
    from serinus.store import refusal

    path = Path(error.filename or ".").absolute()
    return refusal(error, f"write {path.name}", path.parent)


def main() -> None:
    """Entry point of the program `serinus`."""
    sys.exit(run(sys.argv[1:]))
