"""`serinus up` and the processes of its tree, each of which can also run alone."""

from typing import Annotated, Literal

from cyclopts import Parameter

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, say, table

Parent = Annotated[int | None, Parameter(show=False)]
"""pid of the supervisor that this process must not outlive."""
Device = Literal["auto", "cpu", "cuda"] | None


def up(
    *,
    where: Where = HERE,
    infer_port: int | None = None,
    ui_port: int | None = None,
    infer_host: str | None = None,
    ui_host: str | None = None,
    window_seconds: float | None = None,
    share: float | None = None,
    device: Device = None,
    log_format: Literal["text", "json"] | None = None,
) -> None:
    """Start everything on this machine: inference, dashboard, controller. Ctrl-C stops it.

    Parameters
    ----------
    infer_port
        Port of the inference service (default 9000).
    ui_port
        Port of the dashboard (default 8080).
    infer_host
        Address of the inference service (default 127.0.0.1).
    ui_host
        Address of the dashboard (default 127.0.0.1).
    window_seconds
        Shortest evaluation of a canary, seconds (default 180).
    share
        Share of requests that a canary gets (default 0.5).
    device
        What runs the models: cpu, cuda, or auto (default): cuda where it works.
    log_format
        Logs for people (text) or machines (json).
    """
    from serinus.bootstrap.up import up as run

    run(
        where.settings(
            infer_port=infer_port,
            ui_port=ui_port,
            infer_host=infer_host,
            ui_host=ui_host,
            window_seconds=window_seconds,
            share=share,
            device=device,
            log_format=log_format,
        )
    )


def infer(
    *,
    where: Where = HERE,
    infer_port: int | None = None,
    device: Device = None,
    parent: Parent = None,
) -> None:
    """Run only the inference service.

    Parameters
    ----------
    infer_port
        Port (default 9000).
    device
        What runs the models: cpu, cuda, or auto (default): cuda where it works.
    """
    from serinus.bootstrap.inference import run

    run(where.settings(infer_port=infer_port, device=device), parent)


def ui(*, where: Where = HERE, ui_port: int | None = None, parent: Parent = None) -> None:
    """Run only the dashboard and the control API.

    Parameters
    ----------
    ui_port
        Port (default 8080).
    """
    from serinus.bootstrap.ui import run

    run(where.settings(ui_port=ui_port), parent)


def controller(*, where: Where = HERE, parent: Parent = None) -> None:
    """Run only the controller, which verifies, judges, promotes and rolls back."""
    from serinus.bootstrap.controller import run

    run(where.settings(), parent)


def settings(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List every setting: value, default, meaning. Environment variables of the same name set them."""
    from serinus.bootstrap.settings import rows

    found = rows(where.settings())
    emit(
        found,
        output,
        lambda console: table(
            console,
            ("setting", "value", "default", "meaning"),
            [(row.name, row.value, row.default, row.meaning) for row in found],
            "",
        ),
    )


def down(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Stop the `serinus up` that owns this MODEL_DIR, and wait until it has ended."""
    from serinus.bootstrap.up import down as stop

    pid = stop(where.settings())
    emit({"stopped": pid}, output, lambda _: say(f"Stopped (pid {pid})." if pid else "Nothing was running."))
