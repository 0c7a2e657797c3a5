"""`serinus import`: versions from elsewhere, and word back to where they came from."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.markup import escape

from serinus.cli.exits import Exit
from serinus.cli.options import HERE, PEOPLE, Output, Where, user
from serinus.cli.show import emit, progress, say, table

app = App(help="Import versions from other registries.")
Parent = Annotated[int | None, Parameter(show=False)]
Quiet = Annotated[bool, Parameter(show=False, negative="")]


@app.command
def mlflow(
    tracking_uri: str,
    model_version: str,
    /,
    *,
    contract: Path | None = None,
    note: str = "",
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Publish a registered model of MLflow as the next version; its rollout starts by itself.

    It must have an ONNX graph. Credentials are taken from MLflow's own environment variables and not stored.

    Parameters
    ----------
    tracking_uri
        http://HOST:PORT, https://..., sqlite:///FILE or file:///FOLDER.
    model_version
        MODEL/3, MODEL/@champion (an alias) or MODEL/latest.
    contract
        A contract.json to go by (default: the one among the artifacts, else derived from the graph).
    note
        What changed, for people.
    """
    from serinus.bootstrap.tracking import import_version
    from serinus.bootstrap.wiring import ensure_base, open_store, show_views

    settings = where.settings()
    store = open_store(settings)
    ensure_base(store, settings)
    with progress("import") as move:
        version, imported = import_version(
            store,
            settings,
            tracking_uri,
            model_version,
            contract=contract,
            note=note,
            user=user(),
            progress=move,
        )
    show_views(store)
    record = store.state().versions[version]
    source = imported.found.source
    derived = " The contract was derived from the graph." if imported.derived else ""
    emit(
        record,
        output,
        lambda _: say(
            f"Published {escape(source.model)}/{source.version} as version {version} "
            f"({record.digest[:12]}).{derived}"
        ),
    )


@app.command
def mlflow_tags(
    *,
    limit: int | None = None,
    dry_run: bool = False,
    quiet: Quiet = False,
    parent: Parent = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> int:
    """Tell MLflow how the rollouts of imported versions ended, as tags of the model versions.

    The controller does it by itself; this is for when the server was away for long. Tags that are right are
    left alone.

    Parameters
    ----------
    limit
        Only so many of the newest outcomes.
    dry_run
        Say what would be set, and set nothing.
    """
    from serinus.bootstrap.process import die_with_parent
    from serinus.bootstrap.tracking import tell_outcomes
    from serinus.bootstrap.wiring import open_store

    if parent is not None:
        die_with_parent(parent)
    settings = where.settings()
    told = tell_outcomes(open_store(settings), settings, limit=limit, dry_run=dry_run)
    if quiet:
        for words in sorted({item.trouble for item in told if item.trouble}):
            say(escape(words))
    else:
        set_now = "would be set" if dry_run else "set"
        emit(
            told,
            output,
            lambda console: table(
                console,
                ("version", "model", "outcome", "tags"),
                [
                    (
                        str(item.version),
                        escape(f"{item.model}/{item.model_version}"),
                        item.outcome,
                        escape(item.trouble) or (set_now if item.changed else "there already"),
                    )
                    for item in told
                ],
                "No imported version has an outcome yet.",
            ),
        )
    return Exit.FAILED if any(item.trouble for item in told) else Exit.DONE
