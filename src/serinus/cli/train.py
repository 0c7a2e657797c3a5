"""`serinus train`: from a data set to a published version."""

from pathlib import Path
from typing import Annotated, Literal

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
    trainer: str | None = None,
    size: Literal["n", "s", "m"] = "n",
    inputs: Literal["pre-post", "post"] = "pre-post",
    precision: Literal["auto", "float32", "mixed"] = "auto",
    patience: int = 20,
    tile: int = 640,
    family: str = "",
    baseline: bool = False,
    fresh: bool = False,
    tensorboard: Path | None = None,
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
    trainer
        Who trains (`serinus trainers list`; default: TRAINER, compact). `ultralytics` runs code under
        AGPL-3.0: its terms cover whoever serves the result over a network.
    size
        Of the network: n, s or m.
    inputs
        What it sees: both pictures, or the one after the disaster alone.
    precision
        Of the arithmetic: auto is mixed on a GPU and float32 on the CPU.
    patience
        Stop after so many epochs without a better mAP50 on the watched split; 0: never.
    tile
        Pictures that are larger in training are trained in overlapping tiles of this size, pixels.
    family
        Of networks, where the trainer knows several: yolo11 or yolo26 for ultralytics.
    baseline
        Also train on the picture after the disaster alone, and say whether six channels beat it.
    fresh
        Start anew, although a training with equal settings was killed and could go on.
    tensorboard
        Folder for event files that TensorBoard shows (extra `tensorboard`).
    note
        What changed, for people.
    """
    from serinus.bootstrap.training import Wish, train_and_publish
    from serinus.observe import logs

    settings = where.settings(epochs=epochs, batch=batch, img_size=img_size, trainer=trainer)
    if job is not None:  # nobody sees a bar: its log tells of each epoch
        logs.setup(format=settings.log_format, level=settings.log_level)
    wish = Wish(
        seed=seed,
        base=base,
        size=size,
        inputs=inputs,
        precision=precision,
        patience=patience,
        tile=tile,
        family=family,
        baseline=baseline,
        fresh=fresh,
        tensorboard=tensorboard,
        note=note,
    )
    with progress("train", steps=True) as move:
        published = train_and_publish(
            settings, wish, data=data, upload=upload, confirm=confirm, job=job, progress=move
        )
    emit(
        published,
        output,
        lambda _: say(
            (f"{published.baseline}\n" if published.baseline else "")
            + f"Published version {published.version}: mAP50 {published.metrics['map50']:.3f}, "
            f"precision {published.metrics['precision']:.3f}, recall {published.metrics['recall']:.3f}."
        ),
    )
