"""What belongs together in a set: names that the documents promise, selectors, ports, rights, overlays."""

import subprocess
import sys
from typing import Any, get_args

from serinus.jobs.cluster_api import VERBS, Process
from tests.k8s.sets import ROOT, SETS, Object, Set, load


def _labels(deployed: Set) -> dict[str, dict[str, str]]:
    return {name: template["metadata"]["labels"] for name, template in deployed.workloads()}


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod; an empty one takes all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In", each
        if labels.get(each["key"]) not in each["values"]:
            return False
    return True


def _who(deployed: Set, selector: Object) -> set[str]:
    return {name for name, labels in _labels(deployed).items() if _selects(selector, labels)}


def test_the_names_that_the_documents_promise_are_there(deployed: Set) -> None:
    named = {(each["kind"], each["metadata"]["name"]) for each in deployed.objects}
    promised = {
        ("Namespace", "xview"),
        ("Deployment", "infer"),
        ("Deployment", "ui"),
        ("Deployment", "controller"),
        ("Service", "infer"),
        ("Service", "ui"),
        ("PersistentVolumeClaim", "models-pvc"),
        ("PersistentVolumeClaim", "datasets-pvc"),
        ("PersistentVolumeClaim", "outputs-pvc"),
        ("ConfigMap", "app-config"),
        ("ConfigMap", "job-templates"),
    }
    if deployed.name == "s3":
        promised -= {("PersistentVolumeClaim", "models-pvc")}
        assert ("PersistentVolumeClaim", "models-pvc") not in named
    assert promised <= named
    assert deployed.jobs.keys() == {"train", "prepare"}
    for each in (*deployed.objects, *deployed.jobs.values()):
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == "xview", each["metadata"]["name"]


def test_services_lead_to_one_deployment_each_at_the_documented_ports(deployed: Set) -> None:
    ports = {"infer": (9000, 9000), "ui": (80, 8080)}
    assert deployed.of("Service").keys() == ports.keys()
    for name, service in deployed.of("Service").items():
        assert _who(deployed, {"matchLabels": service["spec"]["selector"]}) == {name}
        (port,) = service["spec"]["ports"]
        targets = {each["name"]: each["containerPort"] for each in deployed.container(name)["ports"]}
        assert (port["port"], targets[port["targetPort"]]) == ports[name]


def test_ingresses_lead_to_ports_of_services(deployed: Set) -> None:
    assert deployed.of("Ingress").keys() == {"infer", "ui"}
    for ingress in deployed.of("Ingress").values():
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = deployed.of("Service")[backend["name"]]["spec"]["ports"]
                assert backend["port"]["name"] in {each["name"] for each in ports}


def test_selectors_take_their_own_pods_and_no_others(deployed: Set) -> None:
    for name, deployment in deployed.of("Deployment").items():
        spec = deployment["spec"]
        assert _who(deployed, spec["selector"]) == {name}
        for each in spec["template"]["spec"].get("topologySpreadConstraints", ()):
            assert _who(deployed, each["labelSelector"]) == {name}
    for name, budget in deployed.of("PodDisruptionBudget").items():
        assert _who(deployed, budget["spec"]["selector"]) == {name}
    assert deployed.of("PodDisruptionBudget").keys() == {"infer", "ui", "controller"}
    (scaler,) = deployed.of("HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "infer",
    }
    assert scaler["spec"]["minReplicas"] >= 2
    assert (
        "replicas" not in deployed.of("Deployment")["infer"]["spec"]
    )  # each apply would undo the autoscaler


# Who may talk to whom: NetworkPolicies, evaluated as Kubernetes does.

OUTSIDE = "10.9.9.9"
PODS: dict[str, tuple[str, dict[str, str]]] = {
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "ingress": ("ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"}),
    "prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "stranger": ("default", {"app": "stranger"}),
    "neighbour": ("xview", {"app": "neighbour"}),
}
"""Pods beside Serinus's own: namespace and labels."""


def _pods(deployed: Set) -> dict[str, tuple[str, dict[str, str]]]:
    return PODS | {name: ("xview", labels) for name, labels in _labels(deployed).items()}


def _peers(deployed: Set, rule: Object, key: str) -> set[str]:
    everybody = {*_pods(deployed), OUTSIDE}
    if key not in rule:
        return everybody
    found = set()
    for peer in rule[key]:
        assert peer.keys() <= {"podSelector", "namespaceSelector"}
        for name, (namespace, labels) in _pods(deployed).items():
            if "namespaceSelector" in peer:
                space = {"kubernetes.io/metadata.name": namespace}
                if not _selects(peer["namespaceSelector"], space):
                    continue
            elif namespace != "xview":
                continue
            if _selects(peer.get("podSelector", {}), labels):
                found.add(name)
    return found


def _opens(deployed: Set, pod: str, direction: str, other: str, port: str | int) -> bool:
    """Whether the policies on `pod` let it send to (Egress), or be reached by (Ingress), `other`."""
    namespace, labels = _pods(deployed)[pod]
    mine = [
        each["spec"]
        for each in deployed.of("NetworkPolicy").values()
        if namespace == "xview"
        and direction in each["spec"]["policyTypes"]
        and _selects(each["spec"]["podSelector"], labels)
    ]
    if not mine:
        return True
    return any(
        port in {each["port"] for each in rule["ports"]}
        and other in _peers(deployed, rule, "to" if direction == "Egress" else "from")
        for spec in mine
        for rule in spec.get(direction.lower(), ())
    )


def _talks(deployed: Set, sender: str, receiver: str, port: str | int) -> bool:
    goes = sender == OUTSIDE or _opens(deployed, sender, "Egress", receiver, port)
    return goes and (receiver == OUTSIDE or _opens(deployed, receiver, "Ingress", sender, port))


def _conversations(deployed: Set) -> set[tuple[str, str, str | int]]:
    everybody = [*_pods(deployed), OUTSIDE]
    ports = ("http", 53, 443, 6443, 8443, 22, 80)
    return {
        (one, other, port)
        for one in everybody
        for other in everybody
        for port in ports
        if one != other
        and (one in _labels(deployed) or other in _labels(deployed))
        and _talks(deployed, one, other, port)
    }


def test_the_network_admits_exactly_what_is_needed(deployed: Set) -> None:
    needed: set[tuple[str, str, str | int]] = {
        *(
            (one, "infer", "http")
            for one in ("ui", "controller", "train", "prepare", "ingress", "prometheus")
        ),
        *((one, "ui", "http") for one in ("ingress", "prometheus")),
        *((one, "dns", 53) for one in ("ui", "controller", "train", "prepare")),
    }
    anywhere = {*PODS, OUTSIDE} - {"neighbour"}
    needed |= {
        (one, to, port) for one in ("ui", "controller") for to in anywhere for port in (443, 6443, 8443)
    }
    if deployed.name == "cpu":  # the node's port of the dashboard
        needed |= {(one, "ui", "http") for one in (*PODS, OUTSIDE) if one not in ("neighbour",)}
    if deployed.name == "s3":
        needed |= {(one, to, 443) for one in _labels(deployed) for to in anywhere}
        needed.add(("infer", "dns", 53))
    assert _conversations(deployed) == needed


def test_rights_at_the_api_server_are_these(deployed: Set) -> None:
    def rights(role: str) -> set[tuple[str, str, str, str]]:
        return {
            (group, resource, verb, name)
            for rule in deployed.of("Role")[role]["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", ("",))
        }

    assert not deployed.of("ClusterRole")
    assert deployed.of("Role").keys() == {"ui", "controller"}
    assert not any("*" in right for role in deployed.of("Role") for right in rights(role))
    assert rights("controller") == {
        ("coordination.k8s.io", "leases", "create", ""),
        ("coordination.k8s.io", "leases", "get", "serinus-controller"),
        ("coordination.k8s.io", "leases", "update", "serinus-controller"),
    }
    for process in get_args(Process):
        called = {(group, name, verb) for (group, name), verbs in VERBS[process].items() for verb in verbs}
        assert {right[:3] for right in rights(process)} == called, process
    for name, binding in deployed.of("RoleBinding").items():
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "xview"}]
    tokens = {
        name: (template["spec"]["serviceAccountName"], template["spec"]["automountServiceAccountToken"])
        for name, template in deployed.workloads()
    }
    assert tokens == {
        "infer": ("infer", False),
        "ui": ("ui", True),
        "controller": ("controller", True),
        "train": ("job", False),
        "prepare": ("job", False),
    }
    accounts = deployed.of("ServiceAccount")
    assert accounts.keys() == {account for account, _ in tokens.values()}
    assert not any(each["automountServiceAccountToken"] for each in accounts.values())


def test_jobs_are_never_two_at_once_and_lost_nodes_are_not_their_failure(deployed: Set) -> None:
    for name, job in deployed.jobs.items():
        spec = job["spec"]
        assert spec["backoffLimit"] == 0, name
        assert spec["podReplacementPolicy"] == "Failed", name
        assert spec["template"]["spec"]["restartPolicy"] == "Never", name
        assert spec["template"]["spec"]["containers"][0]["name"] == name
        for labels in (job["metadata"]["labels"], spec["template"]["metadata"]["labels"]):
            assert labels["app.kubernetes.io/managed-by"] == "serinus", name
        (rule,) = spec["podFailurePolicy"]["rules"]
        assert rule["action"] == "Ignore"
        assert [each["type"] for each in rule["onPodConditions"]] == ["DisruptionTarget"]


def test_the_job_templates_are_what_kustomize_makes_of_the_jobs(deployed: Set) -> None:
    load("base")  # skips where there is no Kustomize
    checked = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "manifests.py"), "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    from ruamel.yaml import YAML

    data = deployed.of("ConfigMap")["job-templates"]["data"]
    found = {name.removesuffix(".yaml"): YAML(typ="safe").load(text) for name, text in data.items()}
    assert found == deployed.jobs


def test_volumes_say_honestly_how_many_nodes_can_write_them() -> None:
    def modes(name: str) -> set[str]:
        claims = load(name).of("PersistentVolumeClaim").values()
        return {mode for claim in claims for mode in claim["spec"]["accessModes"]}

    assert modes("cpu") == {"ReadWriteOnce"}
    for name in SETS.keys() - {"cpu"}:
        assert modes(name) == {"ReadWriteMany"}, name
    for name, template in load("cpu").workloads():  # so all are on the node that has the volume
        terms = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert [each["topologyKey"] for each in terms] == ["kubernetes.io/hostname"], name
        assert _who(load("cpu"), terms[0]["labelSelector"]) == _labels(load("cpu")).keys(), name


def test_with_a_bucket_every_pod_has_its_address_and_its_keys_by_reference() -> None:
    deployed = load("s3")
    for name, template in deployed.workloads():
        assert deployed.environment(name)["STORE_URL"].startswith("s3://"), name
        sources = template["spec"]["containers"][0]["envFrom"]
        assert {"secretRef": {"name": "store-credentials"}} in sources, name
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        limit = float(deployed.environment(name)["CACHE_MAX_GB"]) * 1e9
        assert volumes["models"]["emptyDir"] == {"sizeLimit": "30Gi"}, name
        assert limit < 30 * 2**30, name
    assert not deployed.of("Secret")


def test_with_gpus_infer_and_trainings_get_one_each() -> None:
    deployed = load("gpu")

    def gpus(name: str) -> Any:
        return deployed.container(name)["resources"]["limits"].get("nvidia.com/gpu")

    assert {name: gpus(name) for name, _ in deployed.workloads()} == {
        "infer": 1,
        "train": 1,
        "ui": None,
        "controller": None,
        "prepare": None,
    }
    assert deployed.environment("infer")["DEVICE"] == "cuda"
    for name in ("infer", "train"):
        assert deployed.pod(name)["tolerations"][0]["key"] == "nvidia.com/gpu"
    # A node that is full of GPU pods has no room for one more before one leaves.
    assert deployed.of("Deployment")["infer"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0
