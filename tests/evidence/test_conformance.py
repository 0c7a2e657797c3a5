"""The streams that any implementation of the rule must decide in the same way."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from serinus.evidence.analysis import Params
from serinus.evidence.replay import Outcome, Row, replay

FOLDER = Path(__file__).parent / "conformance"
EXPECTED: dict[str, dict[str, Any]] = msgspec.json.decode((FOLDER / "expected.json").read_bytes())


def rows(name: str) -> list[Row]:
    decode = msgspec.json.Decoder(Row).decode
    return [decode(line) for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines()]


def test_every_stream_is_expected() -> None:
    assert sorted(EXPECTED) == sorted(path.stem for path in FOLDER.glob("*.jsonl"))
    assert len(EXPECTED) == 12


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_request_by_request(name: str) -> None:
    expected = EXPECTED[name]
    outcome = replay(rows(name), Params())
    assert outcome.decision in expected["decision"]
    if "pos_range" in expected:
        low, high = expected["pos_range"]
        assert outcome.position is not None
        assert low <= outcome.position <= high
        assert outcome.why == expected["reference"]["why"]
    else:
        assert outcome.position is None
        assert outcome.why is None


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("slice_seconds", [1.0, 5.0])
def test_slice_by_slice(name: str, slice_seconds: float) -> None:
    """Slices may only delay a rollback: the decision and its reason are the same."""
    expected = EXPECTED[name]
    outcome = replay(rows(name), Params(), slice_seconds)
    assert outcome.decision in expected["decision"]
    assert outcome.why == expected["reference"].get("why")


def test_latency_need_not_be_judged() -> None:
    assert replay(rows("18_latency_x2"), Params(judge_latency=False)).decision == "promote"


def test_time_serves_only_to_slice() -> None:
    stream = rows("21_clock_jumps")
    steady = [msgspec.structs.replace(row, t=float(n)) for n, row in enumerate(stream)]
    outcome: Outcome = replay(stream, Params())
    assert outcome == replay(steady, Params())
