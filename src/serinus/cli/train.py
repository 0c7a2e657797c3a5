"""`serinus train`: from a data set to a published version."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from serinus.cli.data import Job
from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, progress, say


def train(
    *,
    data: str = "newest",
    epochs: int | None = None,
    batch: int | None = None,
    img_size: int | None = None,
    seed: int = 0,
    base: str = "current",
    note: str = "",
    upload: Annotated[Path | None, Parameter(show=False)] = None,
    confirm: Annotated[bool, Parameter(show=False)] = False,
    job: Job = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Train a model and publish it as the next version; its rollout starts by itself.

    Parameters
    ----------
    data
        Data set id (`serinus data list`), or `newest`.
    epochs
        Passes over the training split (default: EPOCHS, 10).
    batch
        Pairs per step (default: BATCH, 8).
    img_size
        Largest side in training, pixels (default: IMG_SIZE, 640); smaller pictures are not scaled up.
    seed
        Same seed, same machine: same model.
    base
        What to start from: `current`, a version's number, or `none`.
    note
        What changed, for people.
    """
    from serinus.bootstrap.training import train_and_publish

    settings = where.settings(epochs=epochs, batch=batch, img_size=img_size)
    with progress("train") as move:
        published = train_and_publish(
            settings,
            data=data,
            upload=upload,
            confirm=confirm,
            seed=seed,
            base=base,
            note=note,
            job=job,
            progress=move,
        )
    emit(
        published,
        output,
        lambda _: say(
            f"Published version {published.version}: mAP50 {published.metrics['map50']:.3f}, "
            f"precision {published.metrics['precision']:.3f}, recall {published.metrics['recall']:.3f}."
        ),
    )
