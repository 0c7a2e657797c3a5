"""`serinus lineage`: where a version came from and what became of it, as a tree."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit
from serinus.core.ids import Version
from serinus.core.text import visible

if TYPE_CHECKING:
    from serinus.control.lineage import Origin


def lineage(version: int, /, *, where: Where = HERE, output: Output = PEOPLE) -> None:
    """Show where a version came from: data, settings, code, weights, metrics, rollouts, and its parents.

    Parameters
    ----------
    version
        Its number.
    """
    from serinus.bootstrap.wiring import look_at_store
    from serinus.control.lineage import lineage as found_lineage

    found = found_lineage(look_at_store(where.settings()), Version(version))

    def people(console: Console) -> None:
        console.print(_tree(found), soft_wrap=True)

    emit(found, output, people)


def _tree(found: "Origin") -> Tree:
    """The version with its parents beneath it."""
    root = Tree(_words(_title(found)))
    node, one = root, found
    while True:
        _fill(node, one)
        if one.parent is None:
            return root
        one = one.parent
        node = node.add(_words(f"fine-tuned from {_title(one)}"))


def _title(one: "Origin") -> str:
    if one.version is None:
        return f"a version that this store does not know ({one.digest})"
    return f"version {one.version} ({one.digest})"


def _fill(node: Tree, one: "Origin") -> None:
    if one.data is not None:
        data = node.add(_words(f"data set {one.data.id}"))
        if one.data.sha256:
            data.add(_words(f"sha256 {one.data.sha256}"))
        if one.data.pairs:
            pairs = ", ".join(f"{name} {count}" for name, count in one.data.pairs.items())
            data.add(_words(f"pairs {pairs}; {', '.join(one.data.disasters)}"))
    if one.trainer:
        training = node.add(_words(f"trained by {one.trainer}"))
        for name, value in (one.config | one.code).items():
            training.add(_words(f"{name} {value}"))
    if one.weights:
        weights = node.add(_words("weights"))
        for name, digest in one.weights.items():
            weights.add(_words(f"{name} sha256 {digest}"))
    if one.metrics:
        metrics = node.add(_words("metrics"))
        for name, value in one.metrics.items():
            metrics.add(_words(f"{name} {value:.4g}"))
    for rollout in one.rollouts:
        judged = node.add(_words(f"rollout {rollout.rollout}: {rollout.phase}"))
        judged.add(_words(rollout.headline))
        if rollout.evidence:
            judged.add(_words(f"evidence {rollout.evidence}, {rollout.slices} slices"))


def _words(text: str) -> Text:
    return Text(visible(text))
