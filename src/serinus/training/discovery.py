"""Which trainers there are: the built-in ones, and those that other distributions bring as entry points.

    [project.entry-points."serinus.trainers"]
    mine = "my_package.trainer:Mine"

What an entry point names is called without arguments and must give a `Trainer` of the entry point's name.
"""

import importlib.util
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

import msgspec

from serinus.core.errors import InvalidInput, Misconfigured, SerinusError
from serinus.training.trainer import Trainer

GROUP = "serinus.trainers"
DEFAULT = "compact"
_BUILT_IN = (
    EntryPoint(DEFAULT, "serinus.training.compact:Compact", GROUP),
    EntryPoint("ultralytics", "serinus.training.ultralytics_trainer:Ultralytics", GROUP),
)
_NEEDED = ("name", "licence", "summary", "train")


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A trainer that one could choose."""

    name: str
    licence: str
    summary: str
    source: str
    """`serinus`, or the distribution that brings it."""
    problem: str
    """Why it cannot be used here; empty when it can."""


def find(name: str) -> Trainer:
    """Raises InvalidInput when no trainer has this name, Misconfigured when the one that has is broken."""
    found = _named().get(name, [])
    if not found:
        raise InvalidInput(
            f"There is no trainer {name!r}; there are {', '.join(sorted(_named()))}.",
            remedy="`serinus trainers list` says more. Others come with packages of their own.",
        )
    if len(found) > 1:
        raise Misconfigured(
            f"Two trainers are called {name!r}: {' and '.join(map(_source, found))}.",
            remedy="Uninstall one of the packages that bring them.",
        )
    return _load(found[0])


def choices() -> list[Choice]:
    """All that are installed, the built-in ones first; broken ones say what is wrong."""
    return [_choice(name, found) for name, found in _named().items()]


def _choice(name: str, found: list[EntryPoint]) -> Choice:
    sources = " and ".join(map(_source, found))
    try:
        trainer = find(name)
    except SerinusError as error:
        return Choice(name=name, licence="", summary="", source=sources, problem=error.message)
    return Choice(
        name=name,
        licence=trainer.licence,
        summary=trainer.summary,
        source=sources,
        problem=_missing(trainer),
    )


def _missing(trainer: Trainer) -> str:
    needs: tuple[str, ...] = getattr(trainer, "needs", ())
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    return f"{', '.join(missing)} is not installed" if missing else ""


def _named() -> dict[str, list[EntryPoint]]:
    named: dict[str, list[EntryPoint]] = {}
    for entry in _all():
        known = named.setdefault(entry.name, [])
        if entry.value not in (one.value for one in known):  # a package that is on the path twice
            known.append(entry)
    return named


def _all() -> Iterator[EntryPoint]:
    yield from _BUILT_IN
    yield from sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _source(entry: EntryPoint) -> str:
    return "serinus" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _load(entry: EntryPoint) -> Trainer:
    whose = f"The trainer {entry.name!r} of {_source(entry)}"
    try:
        trainer = entry.load()()
    except Exception as error:
        raise Misconfigured(
            f"{whose} cannot be loaded: {type(error).__name__}: {error}.",
            remedy=f"Repair or uninstall that package; {entry.value} must be a class that needs no argument.",
        ) from error
    lacking = [name for name in _NEEDED if not hasattr(trainer, name)]
    if lacking:
        raise Misconfigured(
            f"{whose} is no trainer: {entry.value} lacks {', '.join(lacking)}.",
            remedy="docs/trainers.md says what one needs.",
        )
    if trainer.name != entry.name:
        raise Misconfigured(
            f"{whose} calls itself {trainer.name!r}.", remedy="Both names must be the same; tell its makers."
        )
    found: Trainer = trainer
    return found
