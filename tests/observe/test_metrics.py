"""Prometheus: names, units, bounded labels."""

from prometheus_client.parser import text_string_to_metric_families

from serinus.core.enums import Arm, FailureKind
from serinus.core.ids import Version
from serinus.observe.metrics import KEPT_VERSIONS, Metrics


def test_requests_errors_and_latency_by_role_and_version() -> None:
    metrics = Metrics()
    metrics.ok(Arm.CURRENT, Version(1), 0.03)
    metrics.failed(Arm.CANARY, Version(2), FailureKind.TIMEOUT, 10.0)
    value = metrics.registry.get_sample_value
    assert value("serinus_requests_total", {"role": "current", "model_version": "1", "outcome": "ok"}) == 1
    assert value("serinus_requests_total", {"role": "canary", "model_version": "2", "outcome": "failed"}) == 1
    assert value("serinus_errors_total", {"role": "canary", "model_version": "2", "kind": "timeout"}) == 1
    assert value("serinus_request_seconds_sum", {"role": "canary", "model_version": "2"}) == 10.0


def test_all_names_are_ours_and_the_text_parses() -> None:
    metrics = Metrics()
    metrics.ok(Arm.CURRENT, Version(1), 0.03)
    metrics.serving(Version(1), None, 0.0)
    families = list(text_string_to_metric_families(metrics.text().decode()))
    assert families
    assert all(family.name.startswith("serinus_") for family in families)


def test_old_versions_are_forgotten() -> None:
    metrics = Metrics()
    for version in range(1, KEPT_VERSIONS + 10):
        metrics.ok(Arm.CURRENT, Version(version), 0.01)
        metrics.failed(Arm.CURRENT, Version(version), FailureKind.CRASH, 0.01)
    for metric in (metrics.requests, metrics.errors, metrics.seconds):
        versions = {s.labels["model_version"] for f in metric.collect() for s in f.samples}
        assert versions == {str(v) for v in range(10, KEPT_VERSIONS + 10)}


def test_what_serves_is_the_whole_truth() -> None:
    metrics = Metrics()
    metrics.serving(Version(1), Version(2), 0.5)
    metrics.serving(Version(2), None, 0.0)
    samples = {
        (s.labels["role"], s.labels["model_version"]) for f in metrics.loaded.collect() for s in f.samples
    }
    assert samples == {("current", "2")}
    assert metrics.registry.get_sample_value("serinus_canary_share") == 0.0
