"""`serinus replay`: what the evidence decides about recorded requests, or about a rollout that was."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.policy import chosen
from serinus.cli.show import emit, table
from serinus.core.errors import InvalidInput

if TYPE_CHECKING:
    from serinus.control.course import Step
    from serinus.control.retrace import Retraced
    from serinus.evidence.replay import Outcome
    from serinus.rollout.policy import Policy


def replay(
    file: Path | None = None,
    /,
    *,
    rollout: int | None = None,
    window: float | None = None,
    policy: str | None = None,
    slice_seconds: Annotated[float | None, Parameter(name="--slice")] = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Judge recorded requests again: those in a file, or those of a rollout in the store.

    A file holds one request a line: {"t": 0.1, "arm": "canary", "ok": true, "latency": 0.08, "p": 0.5}. Its
    end is the end of the window, and t serves only to slice. Without `--policy` its latencies are compared
    however small they are: the floor of the documented policy is for versions that share busy cores.

    Of a policy a file obeys what is judged (rule, min_requests, error rates, latency), steps (the shares are
    those of the file; the next step's proof counts from where the last was proved), on_shift, and, with
    max_evaluation 1, on_insufficient. What needs a clock, a store or people has no meaning there:
    hold_for_seconds, longer evaluations, golden sets, feedback, shadow pairs, drift, signatures, probes.

    Parameters
    ----------
    file
        The file.
    rollout
        Number of a rollout in the store, in place of a file.
    window
        Window in seconds, in place of the policy's. A file ends with its window, however long that was.
    policy
        YAML or JSON file with a policy, or its name. Default: for a rollout the recorded one, for a file the
        documented one.
    slice_seconds
        Judge a file after every slice of so many seconds (default: after every request).
    """
    if (file is None) == (rollout is None):
        raise InvalidInput("Name a file or a rollout, and not both.", remedy="See `serinus replay --help`.")
    for name, seconds in (("--window", window), ("--slice", slice_seconds)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise InvalidInput(f"{name} must be above 0, not {seconds:g}.")
    if file is not None:
        _replay_file(file, _policy(policy, window, where), slice_seconds, output, plain=policy is None)
    elif slice_seconds is not None:
        raise InvalidInput("--slice is for files: a rollout has the slices that were frozen.")
    elif rollout is not None:
        _replay_rollout(rollout, policy, window, where, output)


def _policy(name_or_file: str | None, window: float | None, where: Where) -> "Policy":
    from serinus.bootstrap.wiring import look_at_store
    from serinus.rollout.policy import Policy

    policy = Policy(latency_floor_seconds=0.0)
    if name_or_file is not None:
        settings = where.settings()
        policy = chosen(lambda: look_at_store(settings), settings, name_or_file)
    return policy if window is None else msgspec.structs.replace(policy, window_seconds=window)


def _replay_file(
    file: Path, policy: "Policy", slice_seconds: float | None, output: Output, *, plain: bool
) -> None:
    """`plain`: by the rule alone, which holds for a shared failure only; else as a rollout would go."""
    from serinus.control.ledger import params_of
    from serinus.control.streams import rows
    from serinus.control.supposed import judged_by
    from serinus.evidence.replay import replay as judge

    if plain:
        outcome = judge(rows(file), params_of(policy), slice_seconds)
    else:
        outcome = judged_by(rows(file), policy, slice_seconds)
    answer = {"decision": outcome.decision, "position": outcome.position, "why": outcome.why}
    emit(answer, output, lambda console: _show_outcome(console, outcome))


def _show_outcome(console: Console, outcome: "Outcome") -> None:
    at = f" after {outcome.position} requests, for {outcome.why}" if outcome.position is not None else ""
    console.print(f"{outcome.decision}{at}: {outcome.verdict.words}", highlight=False, markup=False)
    _show_evidence(console, outcome.verdict.numbers)


def _replay_rollout(
    number: int, name_or_file: str | None, window: float | None, where: Where, output: Output
) -> None:
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.retrace import retrace

    store = look_at_store(where.settings())
    policy = None if name_or_file is None else _policy(name_or_file, None, where)
    kind = "its own policy" if policy is None else "another policy"
    if window is not None:
        kind += f" with a window of {window:g} s"
    found = retrace(store, number, policy, window=window)
    emit(found, output, lambda console: _show_rollout(console, found, kind))


def _show_rollout(console: Console, found: "Retraced", kind: str) -> None:
    """`kind`: which policy it obeyed, in words."""
    console.print(
        f"Rollout {found.rollout} by {kind}: {found.decision}. {found.words}", highlight=False, markup=False
    )
    rows = [("replayed", *_step(step)) for step in found.steps]
    if found.recorded is not None:
        rows.append(("recorded", *_step(found.recorded)))
    table(console, ("", "slice", "decision", "code", "why"), rows, "Nothing was decided.")
    _show_evidence(console, found.numbers)


def _step(step: "Step") -> tuple[str, str, str, str]:
    return str(step.slice), step.decision, step.code or "-", step.reason


def _show_evidence(console: Console, numbers: dict[str, float]) -> None:
    """The evidence at the decision, with the limits it is held against."""
    tests = (
        ("errors: above the rate allowed", "e_abs", "limit_errors"),
        ("errors: worse than current", "e_rel", "limit_errors"),
        ("slower than current", "e_latency", "limit_latency"),
        ("invalid answers", "e_signals", "limit_signals"),
        ("answers differ from current's", "e_shift", "limit_shift"),
        ("both answer differently than before", "e_drift", "limit_drift"),
        ("healthy", "e_good", "limit_good"),
        ("healthy of late", "e_good_recent", "limit_good"),
        ("fast enough", "e_fast_enough", "limit_fast_enough"),
    )
    rows = [
        (words, f"{numbers[name]:.4g}", f"{numbers[limit]:g}")
        for words, name, limit in tests
        if name in numbers
    ]
    for arm in ("canary", "current"):
        failed, requests = numbers[f"{arm}_failures"], numbers[f"{arm}_requests"]
        rows.append((f"failed requests of {arm}", f"{failed:.0f} of {requests:.0f}", ""))
    table(console, ("evidence", "value", "limit"), rows, "")
