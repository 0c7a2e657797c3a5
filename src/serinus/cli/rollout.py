"""`serinus rollout`: what is going on, why, and the decisions that people may take."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, Parameter
from rich.console import Console

from serinus.cli.exits import OF_PHASE, Exit
from serinus.cli.golden_table import golden_table
from serinus.cli.options import FROM_HERE, HERE, PEOPLE, Output, Server, Where, by_user, user
from serinus.cli.policy import chosen, in_a_command
from serinus.cli.show import NO_JOURNAL, emit, say, table, when

if TYPE_CHECKING:
    from serinus.store import Store

app = App(help="See and steer the rollout of a new version.")


@Parameter(name="*")
@dataclass(frozen=True)
class How:
    """What all decisions take."""

    reason: str = ""
    """Why, in words; it stands in the history."""
    expect: int | None = None
    """Refuse when the journal has moved past this sequence number (see `rollout status`)."""
    where: Where = HERE
    server: Server = FROM_HERE
    output: Output = PEOPLE

    def sent(self, action: str, **more: Any) -> bool:
        """Whether a dashboard elsewhere was to be told; then it was."""
        from serinus.bootstrap.remote import decide

        settings = self.where.settings()
        address = self.server.address(settings)
        if not address:
            return False
        said = {"reason": self.reason or "by hand", "expect": self.expect, "actor": user()}
        reply = decide(address, self.server.token(settings), action, {**said, **more})
        emit(reply, self.output, lambda _: say(f"#{reply['seq']} {reply['entry']['what']}."))
        return True

    def written(self, name: str, **more: Any) -> None:
        """Into the store, by the function of that name in `control.commands`."""
        from serinus.bootstrap.wiring import open_store
        from serinus.control import commands

        store = open_store(self.where.settings())
        if "policy" in more:
            more["policy"] = more["policy"](store)
        decide = getattr(commands, name)
        event = decide(store, actor=by_user(), reason=self.reason, expect=self.expect, **more)
        emit(event, self.output, lambda _: say(f"#{event.seq} {event.reason}"))


BY_HAND = How()


@app.command
def status(
    *, where: Where = HERE, output: Output = PEOPLE, wait: bool = False, timeout: float = 900.0
) -> int:
    """Show what serves, with which share, and what the evidence says.

    Parameters
    ----------
    wait
        Wait until no rollout is active, or one is held or paused; the exit code says how it ended.
    timeout
        Longest wait, seconds.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.overview import overview

    store = look_at_store(where.settings())
    code = Exit.DONE
    if wait:
        code = _wait(store, timeout)
    view = overview(store)
    words = NO_JOURNAL if store.lost() and view.seq == 0 else view.words
    emit(view, output, lambda console: console.print(words, highlight=False, markup=False, emoji=False))
    return code


def _wait(store: "Store", timeout: float) -> Exit:
    from serinus.core.errors import Unavailable
    from serinus.rollout.decide import next_start

    until = time.monotonic() + timeout
    while time.monotonic() < until:
        try:
            state = store.state()
        except Unavailable:
            time.sleep(1.0)  # decisions wait, and so does who waits for them
            continue
        if state.rollout is not None:
            if state.rollout.phase in OF_PHASE:
                return OF_PHASE[state.rollout.phase]
        elif next_start(state) is None:
            return OF_PHASE[state.last.phase] if state.last else Exit.DONE
        time.sleep(0.2)
    return Exit.TIMED_OUT


@app.command
def promote(*, confirm: bool = False, how: How = BY_HAND) -> None:
    """Make the canary current now.

    Parameters
    ----------
    confirm
        Promote even against an alarm or before the evidence suffices; the history records the override.
    """
    from serinus.bootstrap.signing import trust

    if not how.sent("promote", confirm=confirm):
        how.written("promote", confirm=confirm, trust=trust(how.where.settings()))


@app.command
def rollback(*, how: How = BY_HAND) -> None:
    """End the rollout; current keeps all traffic."""
    if not how.sent("rollback"):
        how.written("rollback")


@app.command
def undo(version: int | None = None, /, *, how: How = BY_HAND) -> None:
    """Bring a version back that was current before.

    Parameters
    ----------
    version
        Its number (default: the one that was current last).
    """
    from serinus.bootstrap.signing import trust

    if not how.sent("undo", version=version):
        how.written("undo", version=version, trust=trust(how.where.settings()))


@app.command
def pause(*, how: How = BY_HAND) -> None:
    """Freeze the window's clock and promotion; rollback stays armed."""
    if not how.sent("pause"):
        how.written("pause")


@app.command
def resume(*, how: How = BY_HAND) -> None:
    """End a pause or a hold."""
    if not how.sent("resume"):
        how.written("resume")


@app.command
def start(version: int, /, *, policy: str = "", how: How = BY_HAND) -> None:
    """Start a rollout of a version that is already there; it takes the place of an active one.

    Parameters
    ----------
    version
        Its number (`serinus versions list`); also one that was rejected or retired.
    policy
        Name of its policy, or a YAML or JSON file with one (default: POLICY, else `default`).
    """
    from serinus.core.ids import Version

    settings = how.where.settings()
    if not how.sent("start", version=version, policy=policy):
        how.written(
            "start",
            version=Version(version),
            policy=lambda store: chosen(lambda: store, settings, policy or settings.policy),
        )


@app.command(name="policy")
def policy_(name_or_file: str, /, *, how: How = BY_HAND) -> None:
    """Let the active rollout obey another policy from now on.

    The evidence goes on, unless the new policy tests something else: another max_error_rate,
    max_invalid_rate, max_empty_rate, judge_latency, latency_floor_seconds or sticky. Then it starts afresh,
    with limits doubled.

    Parameters
    ----------
    name_or_file
        Name of the policy, or a YAML or JSON file with one.
    """
    settings = how.where.settings()
    if not how.sent("policy", **in_a_command(name_or_file)):
        how.written("change_policy", policy=lambda store: chosen(lambda: store, settings, name_or_file))


@app.command
def share(share: float, /, *, how: How = BY_HAND) -> None:
    """Give the canary another share of the requests from now on; the evidence goes on.

    Parameters
    ----------
    share
        Above 0 and at most 1. It takes the place of the policy's steps, where it has some.
    """
    if not how.sent("share", share=share):
        how.written("change_share", share=share)


@app.command
def explain(
    number: int | None = None,
    /,
    *,
    plot: Path | None = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Tell why a rollout went as it did: what came of it, on which numbers, and what happened when.

    Parameters
    ----------
    number
        The rollout's (default: the active one, else the last one).
    plot
        Also draw evidence about requests and answers with its limits, error rates and the share over time,
        into this .svg or .png file.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control import canvas
    from serinus.control.chart import chart
    from serinus.control.explain import explain as made
    from serinus.control.explain import in_words
    from serinus.core.errors import InvalidInput

    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise InvalidInput(f"{plot} is neither .svg nor .png.", remedy="Give the file one of these endings.")
    found = made(look_at_store(where.settings()), number)
    if plot is not None:
        picture = chart(found)
        plot.write_bytes(canvas.svg(picture) if plot.suffix == ".svg" else canvas.png(picture))
        say(f"The picture is in {plot}.")

    def people(console: Console) -> None:
        console.print(in_words(found), highlight=False, soft_wrap=True, markup=False, emoji=False)
        golden_table(console, found.golden)
        console.print()
        rows = [
            (f"{one.seconds:.0f} s", str(one.row.seq), one.row.actor, one.row.what, one.row.why)
            for one in found.timeline
        ]
        table(console, ("after", "#", "who", "what", "why"), rows, "")

    emit(found, output, people)


@app.command
def history(*, where: Where = HERE, output: Output = PEOPLE, limit: int = 50) -> None:
    """Who did what, when, why, with which numbers; newest last.

    Parameters
    ----------
    limit
        At most this many of the newest entries.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.history import history as read

    rows = read(look_at_store(where.settings()), limit=limit)

    def people(console: Console) -> None:
        table(
            console,
            ("#", "when (UTC)", "who", "what", "why"),
            [(str(row.seq), when(row.time), row.actor, row.what, row.why) for row in rows],
            "Nothing has happened yet. `serinus up` publishes the base model as version 1.",
        )

    emit(rows, output, people)
