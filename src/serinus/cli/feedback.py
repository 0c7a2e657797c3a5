"""`serinus feedback`: what users said was really there."""

from pathlib import Path

from cyclopts import App
from rich.markup import escape

from serinus.cli.exits import Exit
from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, say, table

app = App(help="Ground truth that users sent for answers (POST /feedback).")


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """How each version does on what users sent and judged: precision, recall, mAP50 with 95 % intervals."""
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.feedback import online
    from serinus.evaluation.online import Interval, OnlineMetrics

    rows = online(look_at_store(where.settings()))

    def words(interval: Interval) -> str:
        return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"

    def cells(metrics: OnlineMetrics | None) -> tuple[str, ...]:
        if metrics is None:
            return ("-",) * 4
        figures = (metrics.precision, metrics.recall, metrics.map50)
        return (str(metrics.buildings), *map(words, figures))

    emit(
        rows,
        output,
        lambda console: table(
            console,
            ("version", "pictures", "buildings", "precision", "recall", "mAP50"),
            [(str(row.version), str(row.pictures), *cells(row.metrics)) for row in rows],
            "No ground truth yet. POST /feedback of the inference service takes it.",
        ),
    )


@app.command
def export(out: Path, /, *, where: Where = HERE, output: Output = PEOPLE) -> Exit:
    """Write the judged pairs whose pictures were kept as an archive to train on (xBD's layout, and COCO).

    What is damaged is named and left out; then the exit code is 1.

    Parameters
    ----------
    out
        The zip to be made; `serinus data import` reads it.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.feedback import labelled
    from serinus.core.errors import Corrupt, InvalidInput
    from serinus.data.labelled import write_archive
    from serinus.data.xbd import CLASSES

    damaged: list[Corrupt] = []
    pairs = list(labelled(look_at_store(where.settings()), damaged.append))
    if not pairs and not damaged:
        raise InvalidInput(
            "No pair was judged whose pictures were kept.",
            remedy="Serve with KEEP_PICTURES=true; then what is judged can be trained on.",
        )
    for error in damaged:
        say(f"[red]Damaged and left out:[/] {escape(str(error))}")
    count = write_archive(out, pairs, tuple(CLASSES)) if pairs else 0
    emit(
        {
            "archive": str(out) if pairs else None,
            "pairs": count,
            "left_out": [error.message for error in damaged],
        },
        output,
        lambda _: say(f"{out}: {count} pairs." if pairs else "No archive was made: no pair is whole."),
    )
    return Exit.FAILED if damaged else Exit.DONE
