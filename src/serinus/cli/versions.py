"""`serinus versions` and `serinus publish`: the registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from serinus.cli.data import Job
from serinus.cli.golden_table import golden_table
from serinus.cli.options import HERE, PEOPLE, Output, Where, by_user
from serinus.cli.show import NO_JOURNAL, emit, megabytes, progress, say, table, when
from serinus.core.enums import SignatureStanding
from serinus.core.errors import InvalidInput
from serinus.core.ids import Version

if TYPE_CHECKING:
    from serinus.artifact.signing import Finding

app = App(help="See the versions that exist.")


def publish(
    directory: Path | None = None,
    /,
    *,
    onnx: Path | None = None,
    metrics: Path | None = None,
    contract: Path | None = None,
    note: str = "",
    sign: Path | None = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Publish a model as the next version; its rollout starts by itself.

    Parameters
    ----------
    directory
        Holds model.onnx and contract.json; best.pt, metrics.json, lineage.json, training/ where there are.
    onnx
        A graph instead of a directory; it has a trial run in a sandbox first.
    metrics
        JSON with its metrics: map50, precision, recall, train_epochs, or final_map, final_precision,
        final_recall as in version.json.
    contract
        Its contract.json (default: derived from the graph's input and output).
    note
        What changed, for people.
    sign
        Private key that signs it (default: SIGNING_KEY, if set).
    """
    from serinus.bootstrap import signing
    from serinus.bootstrap.publishing import publish_directory, publish_graph
    from serinus.bootstrap.wiring import ensure_base, open_store, show_views

    if (directory is None) == (onnx is None):
        raise InvalidInput("Publish a directory or --onnx FILE.", remedy="Give one of the two.")
    if directory is not None and (metrics or contract):
        raise InvalidInput(
            "--metrics and --contract belong to --onnx.",
            remedy="In a directory they are metrics.json and contract.json.",
        )
    settings = where.settings(signing_key=sign)
    signer = signing.sign(settings)
    store = open_store(settings)
    ensure_base(store, settings)
    actor = by_user()
    if directory is not None:
        version = publish_directory(store, directory, note=note, actor=actor, sign=signer)
    else:
        assert onnx is not None
        version = publish_graph(
            store, settings, onnx, metrics=metrics, contract=contract, note=note, actor=actor, sign=signer
        )
    show_views(store)
    record = store.state().versions[version]
    emit(record, output, lambda _: say(f"Published version {version} ({record.digest[:12]})."))


def publish_broken(
    *,
    actor: Annotated[str, Parameter(show=False)] = "",
    job: Job = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Publish a version that is broken on purpose, to see it rolled back.

    It is the current version with a mistake in its export: right on square pictures, an error on all others.
    Pictures of both kinds are sent as users would until it is decided. Nobody goes without an answer: what
    the canary fails is answered by current.
    """
    from serinus.bootstrap.broken_version import publish_broken as run

    with progress("broken version") as move:
        done = run(where.settings(), actor=actor or by_user(), job=job, progress=move)
    emit(done, output, lambda _: say(done.outcome))


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List all versions, newest first."""
    from serinus.bootstrap.signing import trusted
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.registry import versions

    settings = where.settings()
    store = look_at_store(settings)
    found = versions(store, trusted(settings))
    empty = (
        NO_JOURNAL if store.lost() else "No version yet. `serinus up` publishes the base model as version 1."
    )
    emit(
        found,
        output,
        lambda console: table(
            console,
            ("version", "state", "published (UTC)", "mAP50", "signed by", "note", "why"),
            [
                (
                    str(item.version),
                    item.state,
                    when(item.published_at),
                    f"{item.metrics['map50']:.3f}" if "map50" in item.metrics else "-",
                    _signed_by(item.signature),
                    item.note,
                    item.reason,
                )
                for item in found
            ],
            empty,
        ),
    )


@app.command
def gc(
    *,
    keep: int = 10,
    queued: bool = False,
    dry_run: bool = False,
    reason: str = "",
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Remove old versions to save space; their numbers, manifests and history stay.

    Never removed: the current version, the canary, what undo would bring back, what waits for its rollout,
    what a replica has loaded, is loading, or may have loaded. Works on a full volume.

    Parameters
    ----------
    keep
        How many of the newest versions stay whatever they are.
    queued
        Also remove versions that wait for their rollout, all but the newest of them: where nobody rolls out
        what is published, they are what fills the volume.
    dry_run
        Only say what would be removed.
    reason
        Why, in words; it stands in the history.
    """
    from serinus.bootstrap.wiring import look_at_store, open_store
    from serinus.control.retention import collect

    settings = where.settings()
    report = collect(
        look_at_store(settings) if dry_run else open_store(settings, may_be_full=True),
        keep=keep,
        queued=queued,
        dry_run=dry_run,
        actor=by_user(),
        reason=reason,
    )

    def people(console: Console) -> None:
        rows = [
            (str(one.version), "would be removed" if dry_run else "removed", megabytes(one.bytes), one.why)
            if one.remove
            else (str(one.version), "kept", megabytes(one.bytes), one.why)
            for one in report.versions
        ]
        table(console, ("version", "", "MB", "why"), rows, "No version yet.")
        verb = "would be freed" if dry_run else "freed"
        console.print(f"{megabytes(report.bytes_freed)} MB {verb}.", highlight=False)

    emit(report, output, people)


@app.command
def show(version: int, /, *, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Show one version: its manifest, metrics, lineage, state, and what the golden sets said of it.

    Parameters
    ----------
    version
        Its number.
    """
    from serinus.bootstrap.signing import trusted
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.registry import version_detail

    settings = where.settings()
    detail = version_detail(look_at_store(settings), Version(version), trusted(settings))

    def people(console: Console) -> None:
        rows = [
            ("version", str(detail.version)),
            ("state", detail.state),
            ("why", detail.reason),
            ("note", detail.note),
            ("published (UTC)", when(detail.published_at)),
            ("sha256 of manifest", detail.digest),
            ("signature", detail.signature.words),
            ("trainer", detail.manifest.lineage.trainer or "-"),
            ("data set", detail.manifest.lineage.dataset or "-"),
            ("parent", detail.manifest.lineage.parent or "-"),
            ("classes", ", ".join(detail.manifest.contract.classes)),
            ("size", f"{detail.manifest.contract.size} px"),
        ]
        rows += [(name, f"{value:.4g}") for name, value in sorted(detail.manifest.metrics.items())]
        table(console, ("", ""), rows, "")
        golden_table(console, detail.golden)

    emit(detail, output, people)


@app.command
def sign(version: int, /, *, sign: Path | None = None, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Publish a version once more, signed; the signed one is a new version, and its rollout starts by itself.

    Parameters
    ----------
    version
        Its number.
    sign
        Private key that signs it (default: SIGNING_KEY).
    """
    from serinus.bootstrap.signing import signer
    from serinus.bootstrap.wiring import open_store, show_views
    from serinus.control.countersign import sign_version

    settings = where.settings(signing_key=sign)
    key = signer(settings)
    if key is None:
        raise InvalidInput(
            "There is no key to sign with.", remedy="Give one with --sign, or set SIGNING_KEY."
        )
    store = open_store(settings)
    number = sign_version(store, Version(version), signer=key, actor=by_user())
    show_views(store)
    emit(
        store.state().versions[number],
        output,
        lambda _: say(f"Published version {number}: version {version}, signed by {key.public}."),
    )


@app.command
def quantise(
    version: int,
    /,
    *,
    data: str,
    pairs: int = 100,
    note: str = "",
    dry_run: bool = False,
    sign: Path | None = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Publish the int8 variant of a version; it is a new version, and its rollout starts by itself.

    It is calibrated on the training split, and measured beside its parent on the test split: size, CPU time
    of a picture on this machine, mAP. Whether it is good enough the rollout says, as for any version.

    Parameters
    ----------
    version
        Its number.
    data
        Data set id (`serinus data list`).
    pairs
        How many pairs of the training split calibrate it.
    note
        What changed, for people.
    dry_run
        Only measure; publish nothing.
    sign
        Private key that signs it (default: SIGNING_KEY, if set).
    """
    from serinus.bootstrap.quantising import quantise_version
    from serinus.bootstrap.wiring import open_store, show_views

    settings = where.settings(signing_key=sign)
    with progress("quantise") as move:
        made = quantise_version(
            settings,
            Version(version),
            data=data,
            pairs=pairs,
            note=note,
            actor=by_user(),
            dry_run=dry_run,
            progress=move,
        )
    if made.version is not None:
        show_views(open_store(settings))

    def people(console: Console) -> None:
        found = made.comparison
        rows = [
            ("MB", f"{found.parent_bytes / 1e6:.2f}", f"{found.bytes / 1e6:.2f}"),
            ("ms a picture", f"{found.parent_milliseconds:.2f}", f"{found.milliseconds:.2f}"),
            ("mAP50", f"{found.parent_map50:.4f}", f"{found.map50:.4f}"),
            ("mAP50-95", f"{found.parent_map50_95:.4f}", f"{found.map50_95:.4f}"),
            ("threshold", f"{found.parent_threshold:.2f}", f"{found.threshold:.2f}"),
        ]
        head = (f"{found.pictures} pictures, split {found.measured_on}", f"version {made.parent}", "int8")
        table(console, head, rows, "")
        console.print(f"{made.speed:.2f} times as fast as version {made.parent} here.", highlight=False)
        say("Nothing was published." if made.version is None else f"Published version {made.version}.")

    emit(made, output, people)


def _signed_by(found: "Finding") -> str:
    match found.standing:
        case SignatureStanding.TRUSTED:
            return found.name
        case SignatureStanding.UNKNOWN_KEY:
            return "a key that is not trusted"
        case SignatureStanding.WRONG:
            return f"not {found.name}: wrong"
        case SignatureStanding.UNSIGNED:
            return "-"
