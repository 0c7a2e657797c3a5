"""The alert rules: promtool takes them, they fire as they should, and all they name is there."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from ruamel.yaml import YAML

from serinus.api.inference_documents import ModelStatus
from serinus.observe.control_metrics import ControlMetrics
from serinus.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "alerts"
RULES, TESTS = FOLDER / "serinus.rules.yaml", FOLDER / "serinus.rules.test.yaml"


def alerts() -> list[dict[str, object]]:
    groups = YAML(typ="safe").load(RULES)["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("what", [["check", "rules", RULES.name], ["test", "rules", TESTS.name]])
def test_promtool_agrees(what: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool (Debian: apt-get install prometheus)")
    done = subprocess.run([promtool, *what], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_stands_in_the_runbook() -> None:
    tested = YAML(typ="safe").load(TESTS)["tests"]
    fires = {case["alertname"] for test in tested for case in test["alert_rule_test"] if case["exp_alerts"]}
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    found = alerts()
    assert len(found) >= 6
    for rule in found:
        name = str(rule["alert"])
        assert name in fires
        assert f"\n## {name}\n" in runbook
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"  # type: ignore[index]


def test_every_metric_in_a_rule_is_told(tmp_path: Path) -> None:
    told: set[str] = set()
    for registry in (Metrics({"models": tmp_path}).registry, ControlMetrics({"data": tmp_path}).registry):
        for family in registry.collect():
            told |= {family.name, f"{family.name}_total"}
    named = set(re.findall(r"serinus_[a-z_]+", " ".join(str(rule["expr"]) for rule in alerts())))
    assert named
    assert named <= told


def test_what_the_runbook_looks_for_in_the_model_status_stands_there() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    named = re.findall(r"`(\w+)`(?=(?: and `\w+`)? in (?:its )?`/model-status`)", runbook)
    assert named
    assert set(named) <= {field.name for field in msgspec.structs.fields(ModelStatus)}
