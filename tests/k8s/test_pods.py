"""What every pod must be: restricted, bounded, with all that it mounts, and settings that are some."""

import re
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest

from serinus.api.guards import GuardRules, check_host
from serinus.bootstrap import inference, ui
from serinus.bootstrap.settings import Settings
from serinus.core.errors import Forbidden
from serinus.jobs.manifest import manifest, template_of
from serinus.jobs.model import PrepareJob, TrainJob, kind_of
from serinus.serving.settings import InferenceSettings
from tests.k8s.sets import ROOT, Object, Set, load, manifests

NOT_SETTINGS = {"SERVED_HOSTS", "POD_IP", "HOST_IP", "AWS_REGION", "TMPDIR"}
"""What is in an environment for Kubernetes to fill in others, for the S3 client, or for Python."""


def each_pod(deployed: Set) -> Iterator[tuple[str, Object, Object]]:
    """Name, pod spec and its only container."""
    for name, template in deployed.workloads():
        (container,) = template["spec"]["containers"]
        yield name, template["spec"], container


def test_pods_keep_the_restricted_standard_and_their_root_is_read_only(deployed: Set) -> None:
    level = deployed.of("Namespace")["xview"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "restricted"
    for name, pod, container in each_pod(deployed):
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys(), name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] >= 10000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch", name
        own = container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
        assert all(each.keys() - {"name"} <= allowed for each in pod["volumes"]), name


def test_the_image_has_the_user_that_pods_run_as() -> None:
    users = {pod["securityContext"]["runAsUser"] for _, pod, _ in each_pod(load("base"))}
    assert users == {int(re.findall(r"(?m)^USER (\d+):", (ROOT / "Dockerfile").read_text())[0])}


def test_requests_and_limits_are_there_for_each(deployed: Set) -> None:
    for name, _, container in each_pod(deployed):
        for kind in ("requests", "limits"):
            wanted = {"cpu", "memory", "ephemeral-storage"}
            assert wanted <= container["resources"][kind].keys(), (name, kind)


def test_service_links_are_off_for_they_have_the_names_of_settings(deployed: Set) -> None:
    """A Service `infer` would put INFER_PORT=tcp://10.0.0.1:9000 into every environment."""
    named = {f"{name.upper()}_PORT" for name in deployed.of("Service")}
    assert named & {name.upper() for name in Settings.model_fields}
    for name, pod, _ in each_pod(deployed):
        assert pod["enableServiceLinks"] is False, name


def test_what_is_mounted_is_there_and_all_that_is_there_is_mounted(deployed: Set) -> None:
    claims, maps = deployed.of("PersistentVolumeClaim"), deployed.of("ConfigMap")
    used = set()
    for name, pod, container in each_pod(deployed):
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert {each["name"] for each in container["volumeMounts"]} == volumes.keys(), name
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                used.add(volume["persistentVolumeClaim"]["claimName"])
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, name
        paths = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
        assert "emptyDir" in paths["/tmp"], name  # the root is read-only
        assert "readOnly" not in next(m for m in container["volumeMounts"] if m["mountPath"] == "/models")
    assert used == claims.keys()


def test_every_name_in_an_environment_is_a_setting_and_its_value_is_one(
    deployed: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name.upper() for name in Settings.model_fields} | NOT_SETTINGS
    for name, _ in deployed.workloads():
        environment = deployed.environment(name)
        assert environment.keys() <= known, name
        with monkeypatch.context() as inside:
            for key, value in environment.items():
                inside.setenv(key, value)
            settings = Settings()
        assert str(settings.model_dir) == "/models", name
        assert str(settings.data_dir) == "/data", name
        assert str(settings.outputs) == "/output", name
        assert settings.infer == "http://infer:9000", name
        assert settings.img_size == 640, name


def test_what_a_process_writes_to_is_mounted(deployed: Set) -> None:
    needs = {
        "infer": {"/models", "/output"},
        "ui": {"/models", "/data"},
        "controller": {"/models", "/data"},
        "train": {"/models", "/data"},
        "prepare": {"/models", "/data"},
    }
    for name, _, container in each_pod(deployed):
        mounted = {each["mountPath"] for each in container["volumeMounts"]}
        assert needs[name] <= mounted, name


def test_batches_that_are_sent_lie_on_a_volume_for_an_emptydir_that_is_full_costs_the_pod(
    deployed: Set,
) -> None:
    (mount,) = (
        each
        for each in deployed.container("infer")["volumeMounts"]
        if each["mountPath"] == deployed.environment("infer")["TMPDIR"]
    )
    (volume,) = (each for each in deployed.pod("infer")["volumes"] if each["name"] == mount["name"])
    assert volume["persistentVolumeClaim"] == {"claimName": "outputs-pvc"}


def test_servers_listen_on_the_ports_that_are_said_and_beyond_loopback(
    deployed: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("infer", "ui"):
        for key, value in deployed.environment(name).items():
            monkeypatch.setenv(key, value)
        settings = Settings()
        (port,) = deployed.container(name)["ports"]
        assert port == {"name": "http", "containerPort": getattr(settings, f"{name}_port")} | (
            {"protocol": port["protocol"]} if "protocol" in port else {}
        )
        assert getattr(settings, f"{name}_host") == "0.0.0.0"


def test_the_dashboard_finds_the_templates_and_renders_jobs_of_them(deployed: Set, tmp_path: Path) -> None:
    """What the client makes of a template is still a Job with all that the template says."""
    container = deployed.container("ui")
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "job-templates")
    assert mount["mountPath"] == deployed.environment("ui")["JOB_TEMPLATES"]
    for name, text in deployed.of("ConfigMap")["job-templates"]["data"].items():
        (tmp_path / name).write_text(text)
    for spec in (TrainJob(epochs=5, batch=4), PrepareJob(upload="/data/uploads/a.zip")):
        template = template_of(tmp_path, kind_of(spec))
        made = manifest(template, spec, Path("/data/jobs/one-1"))
        kubernetes_validate.validate(made, "1.37", strict=True)
        (runs,) = made["spec"]["template"]["spec"]["containers"]
        assert runs["args"][:1] == (["train"] if isinstance(spec, TrainJob) else ["data"])
        assert runs["image"] == deployed.container(made["metadata"]["name"])["image"]
        assert made["spec"]["podFailurePolicy"] == template["spec"]["podFailurePolicy"]


def test_hosts_by_which_pods_are_asked_are_served(deployed: Set) -> None:
    asked = {
        "infer": ("infer:9000", "infer.xview.svc.cluster.local:9000", "10.1.2.3:9000", "localhost:9000"),
        "ui": ("ui", "10.1.2.3:8080", "192.168.49.2:31234", "localhost:8080"),
    }
    hosts = {
        rule["http"]["paths"][0]["backend"]["service"]["name"]: rule["host"]
        for ingress in deployed.of("Ingress").values()
        for rule in ingress["spec"]["rules"]
    }
    for name, names in asked.items():
        allowed = tuple(deployed.environment(name)["ALLOWED_HOSTS"].split(","))
        for host in (*names, hosts[name]):
            check_host([host], allowed)
        with pytest.raises(Forbidden):
            check_host(["evil.example"], allowed)


def test_probes_ask_real_routes_that_the_host_check_spares(deployed: Set) -> None:
    routes = {
        "infer": inference.describe(Settings())["paths"],
        "ui": ui.describe(Settings())["paths"],
    }
    for name, paths in routes.items():
        container = deployed.container(name)
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[kind]["httpGet"]
            assert "get" in paths[asked["path"]], (name, kind)
            assert asked["path"] in GuardRules().health_paths, (name, kind)
            assert asked["port"] == "http", (name, kind)
    infer = deployed.container("infer")
    # Without a version a replica gets no traffic, but a new start would not give it one.
    assert infer["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert infer["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_the_controllers_probe_looks_at_the_file_that_it_touches(deployed: Set) -> None:
    container = deployed.container("controller")
    path = deployed.environment("controller")["SIGN_OF_LIFE"]
    for kind in ("startupProbe", "livenessProbe"):
        assert path in " ".join(container[kind]["exec"]["command"]), kind


def test_pods_get_longer_to_end_than_draining_takes(deployed: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in deployed.environment("infer").items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    longest = InferenceSettings(
        outputs=settings.outputs, predict_timeout_seconds=settings.predict_timeout_seconds
    ).longest_seconds
    assert settings.drain_delay_seconds > 0
    wanted = settings.drain_delay_seconds + longest
    assert deployed.pod("infer")["terminationGracePeriodSeconds"] > wanted
    assert deployed.pod("ui")["terminationGracePeriodSeconds"] > 10


def test_the_pod_to_restore_in_is_like_the_dashboards_and_has_the_store_and_the_data() -> None:
    like = load("base").pod("ui")
    (pod,) = manifests.build(ROOT / "k8s" / "restore")
    kubernetes_validate.validate(pod, "1.37", strict=True)
    spec = pod["spec"]
    (container,), (ui,) = spec["containers"], like["containers"]
    for key in ("image", "envFrom", "resources", "securityContext"):
        assert container[key] == ui[key], key
    assert spec["securityContext"] == like["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    claims = {
        each["name"]: each["persistentVolumeClaim"] for each in spec["volumes"] if each["name"] != "tmp"
    }
    assert claims == {
        each["name"]: each["persistentVolumeClaim"]
        for each in like["volumes"]
        if "persistentVolumeClaim" in each
    }
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/models", "/data", "/tmp"}


def test_every_image_is_one_of_the_list_in_the_version_of_the_project(deployed: Set) -> None:
    version = re.findall(r'(?m)^version = "(.*)"$', (ROOT / "pyproject.toml").read_text())[0]
    images = {name: container["image"] for name, _, container in each_pod(deployed)}
    cuda = "-cuda" if deployed.name == "gpu" else ""
    assert images == {
        "infer": f"serinus-serve{cuda}:{version}",
        "ui": f"serinus-serve:{version}",
        "controller": f"serinus-serve:{version}",
        "train": f"serinus-train{cuda}:{version}",
        "prepare": f"serinus-train:{version}",
    }
