"""`serinus disagreements`: the pictures that two versions of a rollout disagree on most."""

from pathlib import Path
from typing import Literal

from cyclopts import App
from rich.console import Console

from serinus.cli.options import HERE, PEOPLE, Output, Where, by_user
from serinus.cli.show import emit, say, table, when

app = App(help="Pictures that both versions of a rollout were asked, and disagree on (shadow pairs).")


@app.command(name="list")
def list_(rollout: int, /, *, where: Where = HERE, output: Output = PEOPLE) -> None:
    """What shadow pairs say, and the worst disagreements.

    Parameters
    ----------
    rollout
        Number of the rollout.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.disagreements import DisagreementView, disagreements

    page = disagreements(look_at_store(where.settings()), rollout)

    def cells(one: DisagreementView) -> tuple[str, ...]:
        return (
            one.id,
            when(one.time),
            f"{one.f1:.2f}",
            f"{one.boxes_current} / {one.boxes_canary}",
            str(one.agreed),
            one.answered_by.value,
            "yes" if "post" in one.files else "no",
            "dismissed" if one.mark is not None and one.mark.dismissed else "",
        )

    def people(console: Console) -> None:
        if page.pairs is not None:
            console.print(page.pairs.words, highlight=False, soft_wrap=True)
        table(
            console,
            ("id", "when (UTC)", "F1", "boxes", "agreed", "answered by", "pictures", ""),
            map(cells, page.items),
            "No disagreement is kept. A policy with shadow_share above 0 asks both versions.",
        )
        if page.damaged:
            console.print(f"{page.damaged} cannot be read; `serinus store check` names them.")

    emit(page, output, people)


@app.command
def show(
    rollout: int,
    id: str,
    /,
    *,
    out: Path | None = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """One disagreement: both answers, and what is kept of it.

    Parameters
    ----------
    rollout
        Number of the rollout.
    id
        As `list` shows it.
    out
        Also write its overlays, and its pictures where they are kept, into this folder.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.disagreements import disagreement, picture
    from serinus.data.labelled import ending_of

    store = look_at_store(where.settings())
    found = disagreement(store, rollout, id)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for kind in found.summary.files:
            data = picture(store, rollout, id, kind)
            (out / f"{id}-{kind}.{ending_of(data)}").write_bytes(data)
        say(f"{len(found.summary.files)} files are in {out}.")
    one = found.summary

    def people(console: Console) -> None:
        console.print(
            f"Request {one.request_id}, answered by {one.answered_by} on {when(one.time)} UTC: agreement F1 "
            f"{one.f1:.2f}, {one.agreed} of {one.boxes_current} and {one.boxes_canary} boxes agree.",
            highlight=False,
            soft_wrap=True,
        )
        rows = [(cell.current or "-", cell.canary or "-", str(cell.boxes)) for cell in found.confusion]
        table(console, (f"version {one.current}", f"version {one.canary}", "boxes"), rows, "No boxes.")

    emit(found, output, people)


@app.command
def dismiss(
    rollout: int,
    id: str,
    /,
    *,
    reason: str = "",
    undo: bool = False,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Leave a disagreement out of the labelling queue. What was said of which version is right stays.

    Parameters
    ----------
    rollout
        Number of the rollout.
    id
        As `list` shows it.
    reason
        Why, in words.
    undo
        Take it in again.
    """
    from serinus.bootstrap.edge import now
    from serinus.bootstrap.wiring import open_store
    from serinus.control.disagreements import mark

    actor = by_user()
    store = open_store(where.settings())
    view = mark(store, rollout, id, actor=actor, time=now(), reason=reason, dismissed=not undo)
    emit(view, output, lambda _: say(f"{id} is {'in the queue again' if undo else 'dismissed'}."))


@app.command
def export(
    rollout: int,
    /,
    *,
    out: Path,
    format: Literal["coco", "xbd"] = "coco",
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Write the worst disagreements as a labelling queue, with the boxes of both versions as suggestions.

    Parameters
    ----------
    rollout
        Number of the rollout.
    out
        A new folder. The pictures are in it where the policy keeps them (keep_inputs); what has none carries
        the request's id.
    format
        coco: `coco.json` with a score and a source for each box. xbd: `train/images`, `train/labels`; where
        the versions name different classes the building is un-classified. Zip it for `serinus data import`.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.disagreements import classes_in, queue
    from serinus.core.errors import InvalidInput
    from serinus.data.queue import write_coco, write_xbd

    store = look_at_store(where.settings())
    classes = classes_in(store, rollout)
    waiting = list(queue(store, rollout))
    if not waiting:
        raise InvalidInput(
            f"Rollout {rollout} has no disagreement to be labelled.",
            remedy="A policy with shadow_share above 0 asks both versions; the worst are kept.",
        )
    write = write_coco if format == "coco" else write_xbd
    count = write(out, waiting, classes)
    kept = sum(one.post is not None for one in waiting)
    emit(
        {"folder": str(out), "pictures": count, "kept": kept},
        output,
        lambda _: say(f"{out}: {count} to be labelled, {kept} with their pictures."),
    )
