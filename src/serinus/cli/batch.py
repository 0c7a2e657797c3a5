"""`serinus batch`: a zip of pairs through the running inference service."""

from pathlib import Path

from serinus.cli.data import Job
from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, progress, say
from serinus.core.errors import NotFound


def batch(
    archive: Path,
    /,
    *,
    out: Path,
    job: Job = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Send a zip of pairs to the running inference service and fetch the result.

    Parameters
    ----------
    archive
        A zip of pairs.
    out
        Where to write the result: a zip of overlays, detections and tables.
    """
    from serinus.bootstrap.batching import batch as run

    if not archive.is_file():
        raise NotFound(f"There is no file {archive}.", remedy="Give the path of a zip.")
    with progress("batch") as move:
        done = run(where.settings(), archive, out, job=job, progress=move)
    emit(done, output, lambda _: say(f"{done.pairs} pairs, {done.failed} of them failed. Wrote {out}."))
