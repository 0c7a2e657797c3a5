"""`serinus trainers`: which there are, under which terms, and whether one keeps the contract."""

import tempfile
from pathlib import Path

from cyclopts import App

from serinus.cli.exits import Exit
from serinus.cli.options import PEOPLE, Output
from serinus.cli.show import emit, say, table

app = App(help="Trainers: the built-in ones and those that other packages bring.")


@app.command(name="list")
def list_(*, output: Output = PEOPLE) -> None:
    """List the trainers, each with the licence of what it runs."""
    from serinus.training.discovery import choices

    found = choices()
    emit(
        found,
        output,
        lambda console: table(
            console,
            ("trainer", "licence", "from", "what"),
            [
                (
                    one.name,
                    one.licence,
                    one.source,
                    f"Not usable: {one.problem}." if one.problem else one.summary,
                )
                for one in found
            ],
            "",
        ),
    )


@app.command
def check(name: str, /, *, output: Output = PEOPLE) -> int:
    """Train small models with a trainer and say whether it keeps the contract. Ends with 1 when it does not.

    Parameters
    ----------
    name
        Its name (`serinus trainers list`).
    """
    from serinus.training import conformance
    from serinus.training.discovery import find

    trainer = find(name)
    findings = []
    with tempfile.TemporaryDirectory(prefix="serinus-trainer-") as folder:
        for finding in conformance.check(trainer, Path(folder)):
            findings.append(finding)
            say(f"{finding.check}: {finding.problem or 'kept'}")
    emit(findings, output, lambda _: None)
    return Exit.FAILED if any(finding.problem for finding in findings) else Exit.DONE
