"""`serinus jobs`: what the dashboard started - trainings and imports - and how they are doing."""

import sys
import time

from cyclopts import App
from rich.console import Console

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, say, table, when

_FOLLOW_SECONDS = 0.5
app = App(help="See and cancel jobs.")


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List all jobs, newest last."""
    from serinus.bootstrap.wiring import open_jobs

    records = open_jobs(where.settings()).list()

    def people(console: Console) -> None:
        table(
            console,
            ("job", "state", "created (UTC)", "progress", "message"),
            [
                (
                    record.id,
                    record.state,
                    when(record.created),
                    f"{record.progress.fraction:.0%}",
                    record.reason or record.progress.message,
                )
                for record in records
            ],
            "No job yet. The dashboard's training form starts one.",
        )

    emit(records, output, people)


@app.command
def logs(job: str, /, *, tail: int = 200, follow: bool = False, where: Where = HERE) -> None:
    """Print the end of a job's log.

    Parameters
    ----------
    job
        Its id, or `train` or `preprocess` for the last of that kind.
    tail
        At most this many lines.
    follow
        Print all of it, and go on until the job is over.
    """
    from serinus.bootstrap.wiring import open_jobs

    jobs = open_jobs(where.settings())
    if not follow:
        sys.stdout.write(jobs.logs(job, tail=tail) + "\n")
        return
    job, at = jobs.describe(job).id, 0
    while True:
        over = not jobs.describe(job).active and not jobs.alive(job)
        lines = jobs.log_lines(job, at)
        at = lines.next
        sys.stdout.writelines(f"{line}\n" for line in lines.text)
        sys.stdout.flush()
        if over and not lines.text:
            return
        if not lines.text:
            time.sleep(_FOLLOW_SECONDS)


@app.command
def cancel(job: str, /, *, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Cancel a job; nothing half-done is kept.

    Parameters
    ----------
    job
        Its id, or `train` or `preprocess` for the last of that kind.
    """
    from serinus.bootstrap.wiring import open_jobs

    record = open_jobs(where.settings()).cancel(job)
    emit(record, output, lambda _: say(f"{record.id}: {record.state}."))
