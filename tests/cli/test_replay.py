"""`serinus replay` as scripts meet it."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.core.enums import Arm
from tests.control.world import World

CONFORMANCE = Path(__file__).parents[1] / "evidence" / "conformance"
ROW = '{"t": 0.1, "arm": "canary", "ok": true, "latency": 0.08, "p": 0.5}\n'


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run(["replay", *words, "--json"]) == Exit.DONE, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_stream_is_answered_as_the_rule_says(capsys: pytest.CaptureFixture[str]) -> None:
    bad = said(capsys, str(CONFORMANCE / "12_bad_20pct.jsonl"), "--window", "180")
    assert (bad["decision"], bad["why"]) == ("rollback", "errors")
    assert 51 <= bad["position"] <= 211
    slow = said(capsys, str(CONFORMANCE / "18_latency_x2.jsonl"), "--window", "180", "--slice", "5")
    assert (slow["decision"], slow["why"]) == ("rollback", "latency")
    good = said(capsys, str(CONFORMANCE / "09_healthy_0.1pct.jsonl"), "--window", "180")
    assert good == {"decision": "promote", "position": None, "why": None}
    nothing = said(capsys, str(CONFORMANCE / "01_empty.jsonl"), "--window", "180")
    assert nothing == {"decision": "extend", "position": None, "why": None}


def test_people_see_the_evidence_at_the_decision(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(CONFORMANCE / "03_all_fail_alternating.jsonl")]) == Exit.DONE
    out = capsys.readouterr().out
    assert "rollback after 11 requests, for errors" in out
    assert "5 of 5" in out


def test_a_policy_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.json"
    stream = str(CONFORMANCE / "12_bad_20pct.jsonl")
    policy.write_text('{"name": "tolerant", "max_error_rate": 0.4}')
    assert said(capsys, stream, "--policy", str(policy))["decision"] == "promote"
    for text, word in (
        ("{", "policy.json:1:2: no YAML or JSON"),
        ('{"max_error_rates": 0.4}', "max_error_rates"),
        ('{"max_error_rate": "high"}', "max_error_rate"),
        ('{"max_error_rate": 4}', "above 0 and below 1"),
        ("[]", "a policy is a mapping"),
    ):
        policy.write_text(text)
        assert run(["replay", stream, "--policy", str(policy)]) == Exit.USAGE
        assert word in capsys.readouterr().err
    assert run(["replay", stream, "--policy", str(tmp_path / "absent.json")]) == Exit.USAGE
    assert run(["replay", stream, "--policy", "absent", "--model-dir", str(tmp_path / "m")]) == Exit.USAGE


def stream(path: Path, canary_failures: set[int], requests: int = 400, **more: object) -> str:
    """A file of alternating requests whose canary requests with these numbers failed."""
    with path.open("w") as file:
        for n in range(requests):
            ok = n % 2 == 0 or n // 2 not in canary_failures
            arm = "canary" if n % 2 else "current"
            file.write(
                json.dumps({"t": n / 10, "arm": arm, "ok": ok, "latency": 0.08, "p": 0.5, **more}) + "\n"
            )
    return str(path)


def test_plain_counting_decides_about_a_file_as_about_a_rollout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = str(CONFORMANCE / "03_all_fail_alternating.jsonl")
    rolled_back = {"decision": "rollback", "position": 40, "why": "errors"}
    assert said(capsys, failing, "--policy", "literal") == rolled_back, "not before 20 canary requests"
    # The last 12 of 447 fail: evidence rolls that back, counting finds 2.7 %.
    few = stream(tmp_path / "few.jsonl", set(range(435, 447)), requests=894)
    assert said(capsys, few, "--policy", "default")["decision"] == "rollback"
    assert said(capsys, few, "--policy", "literal")["decision"] == "promote"
    assert said(capsys, str(CONFORMANCE / "01_empty.jsonl"), "--policy", "literal")["decision"] == "promote"
    later = tmp_path / "later.json"
    later.write_text('{"rule": "counting", "min_requests": 50}')
    assert said(capsys, failing, "--policy", str(later))["position"] == 100


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFORMANCE.glob("*.jsonl")))
def test_the_documented_policy_decides_about_a_file_as_the_rule_alone(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = str(CONFORMANCE / f"{name}.jsonl")
    assert said(capsys, file, "--policy", "default") == said(capsys, file)


def test_what_follows_from_evidence_is_the_policys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = stream(tmp_path / "few.jsonl", set(), requests=20)
    policy = tmp_path / "policy.json"
    for text, decision in (
        ('{"max_evaluation": 1, "on_insufficient": "rollback"}', "rollback"),
        ('{"max_evaluation": 1, "on_insufficient": "promote"}', "promote"),
        ('{"max_evaluation": 2, "on_insufficient": "promote"}', "extend"),
    ):
        policy.write_text(text)
        assert said(capsys, few, "--policy", str(policy))["decision"] == decision
    enough = stream(tmp_path / "enough.jsonl", set(), requests=300)
    policy.write_text('{"steps": [0.25, 0.5]}')
    assert said(capsys, enough, "--policy", str(policy))["decision"] == "promote", "150: proof for two steps"
    policy.write_text('{"steps": [0.25, 0.3, 0.4, 0.5]}')
    assert said(capsys, enough, "--policy", str(policy))["decision"] == "extend", "and not for four"


def test_a_policy_that_holds_other_answers_holds_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, policy = tmp_path / "other.jsonl", tmp_path / "policy.json"
    with file.open("w") as out:
        for n in range(600):
            band = "many" if n % 2 else "few"
            row = {"arm": "canary" if n % 2 else "current", "ok": True, "latency": 0.08, "p": 0.5}
            out.write(json.dumps({"t": n / 10, **row, "signals": {"detections": band}}) + "\n")
    for treatment, decision in (("hold", "extend"), ("note", "promote")):
        policy.write_text(json.dumps({"on_shift": treatment}))
        assert said(capsys, str(file), "--policy", str(policy))["decision"] == decision


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "[]",
        "\x00\xff",
        '{"t": 0.1, "arm": "canary", "ok": true, "latency": 0.08}',
        '{"t": 0.1, "arm": "third", "ok": true, "latency": 0.08, "p": 0.5}',
        '{"t": 0.1, "arm": "canary", "ok": true, "latency": -1, "p": 0.5}',
        '{"t": 0.1, "arm": "canary", "ok": true, "latency": NaN, "p": 0.5}',
        '{"t": 0.1, "arm": "canary", "ok": true, "latency": 0.1, "p": 1.5}',
        '{"t": 0.1, "arm": "canary", "ok": 1, "latency": 0.1, "p": 0.5}',
        '"' + "x" * 100_000 + '"',
    ],
)
def test_a_line_that_is_no_request_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    file = tmp_path / "stream.jsonl"
    file.write_text(ROW + "\n" + ROW + line + "\n" + ROW, encoding="latin-1")
    assert run(["replay", str(file), "--json"]) == Exit.USAGE
    said = capsys.readouterr()
    assert "line 4" in said.err
    assert said.out == ""


def test_flags_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    stream = str(CONFORMANCE / "01_empty.jsonl")
    for words in (
        [],
        [stream, "--rollout", "1"],
        [stream, "--window", "0"],
        [stream, "--slice", "-1"],
        [stream, "--slice", "nan"],
        ["--rollout", "1", "--slice", "1"],
        ["/nowhere/at/all.jsonl"],
    ):
        assert run(["replay", *words]) == Exit.USAGE, words
    capsys.readouterr()


def test_a_rollout_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path)
    world.canary()
    world.replica.errors[Arm.CANARY] = 0.3
    world.until_over(users=20, seconds=60)
    where = ["--model-dir", str(world.store.root)]
    found = said(capsys, "--rollout", "1", *where)
    assert (found["decision"], found["why"], found["same"]) == ("rollback", "errors", True)
    assert found["recorded"]["slice"] == found["slice"]
    policy = tmp_path / "policy.json"
    policy.write_text('{"max_error_rate": 0.7}')
    found = said(capsys, "--rollout", "1", "--policy", str(policy), "--window", "1", *where)
    assert (found["decision"], found["same"]) == ("promote", False)
    assert run(["replay", "--rollout", "1", *where]) == Exit.DONE
    out = capsys.readouterr().out
    assert "recorded" in out and "rollback" in out
    assert run(["replay", "--rollout", "2", *where]) == Exit.USAGE
    assert "no rollout 2" in capsys.readouterr().err


def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    """Both in one slice, so that the test does not take long; measured as the child's peak."""

    def peak(rows: int) -> int:
        file = tmp_path / f"{rows}.jsonl"
        file.write_text(ROW * rows)
        program = "import sys; from serinus.cli.app import run; sys.exit(run(sys.argv[1:]))"
        child = [sys.executable, "-c", program, "replay", str(file), "--slice", "1000", "--json"]
        code = f"import resource, subprocess; subprocess.run({child!r}, check=True)"
        code += "; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return int(done.stdout.split()[-1])

    assert resource.RUSAGE_CHILDREN
    assert peak(200_000) < peak(1000) + 8 * 1024  # KiB; the large file has 13 MiB
