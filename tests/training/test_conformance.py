from collections.abc import Callable
from pathlib import Path

import msgspec

from serinus.data.dataset import Dataset
from serinus.training import conformance
from serinus.training.compact import Compact
from serinus.training.discovery import DEFAULT, find
from serinus.training.trainer import Inputs, Progress, Trained, TrainSpec


def test_the_default_trainer_keeps_the_contract(tmp_path: Path) -> None:
    """`ultralytics` is put to the same checks in test_ultralytics_trainer.py, where it is installed."""
    findings = list(conformance.check(find(DEFAULT), tmp_path))
    assert [finding for finding in findings if finding.problem] == []
    assert len(findings) == 9


class _Careless(Compact):
    """Keeps the signature, and little else."""

    name = "careless"
    summary = " "

    def train(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        out: Path,
        *,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        checkpoint: Path | None,
    ) -> Trained:
        seed = spec.seed + sum(1 for _ in out.parent.iterdir())  # another one each time
        changed = msgspec.structs.replace(spec, seed=seed, epochs=max(spec.epochs, 1), inputs=Inputs.PRE_POST)
        return super().train(
            changed, dataset, out, progress=lambda _: None, cancelled=lambda: False, checkpoint=None
        )


def test_each_broken_promise_is_named(tmp_path: Path) -> None:
    findings = {one.check: one.problem for one in conformance.check(_Careless(), tmp_path)}
    broken = [name for name, problem in findings.items() if problem]
    assert broken == [
        "says what it is",
        "tells its progress",
        "same seed, same metrics",
        "post only ignores pre",
        "stops when cancelled",
        "refuses what trains nothing",
    ]


class _Empty(Compact):
    def train(self, *given: object, **named: object) -> Trained:
        trained = super().train(*given, **named)  # type: ignore[arg-type]
        (given[2] / "best.pt").unlink()  # type: ignore[operator]
        return trained


def test_a_draft_that_lacks_a_file_ends_the_checks(tmp_path: Path) -> None:
    findings = list(conformance.check(_Empty(), tmp_path))
    assert findings[-1].check == "gives a draft that is proven"
    assert "did not write best.pt" in findings[-1].problem
