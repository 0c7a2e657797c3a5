"""A real API server for tests: the one that KUBECONFIG names, or one that is started here from the binaries
that KUBE_APISERVER and ETCD name. Without nodes and controllers: what is asked for is kept, nothing runs.
With KUBE_CONTROLLER_MANAGER, too, Jobs get pods, and what is deleted takes along what it owns; `real_node`
runs them.

It asks for rights as a cluster does (RBAC). Who asks here is its administrator; `account` gives the
configuration of a service account.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lightkube import ApiError, Client, KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, ServiceAccountToken

from tests.store.s3server import free_ports

WANTED = "neither KUBECONFIG nor KUBE_APISERVER and ETCD (paths of binaries) are set"


def own() -> bool:
    """Whether one is started for the tests."""
    return "KUBECONFIG" not in os.environ and {"KUBE_APISERVER", "ETCD"} <= os.environ.keys()


def controlled() -> bool:
    """Whether that one has controllers."""
    return own() and "KUBE_CONTROLLER_MANAGER" in os.environ


def kubeconfig(config: KubeConfig, path: Path) -> Path:
    """Writes the configuration of a server that was started here, for other programs."""
    asked = config.get()
    assert asked is not None and asked.user is not None
    cluster = {"server": asked.cluster.server, "insecure-skip-tls-verify": True}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "real",
        "clusters": [{"name": "real", "cluster": cluster}],
        "users": [{"name": "real", "user": {"token": asked.user.token}}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "real"}}],
    }
    path.write_text(json.dumps(document))
    return path


def wanted() -> bool:
    return "KUBECONFIG" in os.environ or own()


@contextmanager
def _process(log: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _keys(folder: Path) -> tuple[Path, Path]:
    """A pair for the tokens of service accounts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private, public = folder / "sa.key", folder / "sa.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


@contextmanager
def api_server(folder: Path, *, controllers: bool = False) -> Iterator[KubeConfig]:
    """Ready to be asked. `controllers`: with them, of which this machine can have one at a time."""
    if "KUBECONFIG" in os.environ:
        yield KubeConfig.from_env()
        return
    client, peer, secure, manager = free_ports(4)
    private, public = _keys(folder)
    admin = secrets.token_hex(16)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{admin},admin,1,"system:masters"\n')
    with ExitStack() as stack:
        stack.enter_context(
            _process(
                folder / "etcd.log",
                os.environ["ETCD"],
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls=http://127.0.0.1:{client}",
                f"--advertise-client-urls=http://127.0.0.1:{client}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-cluster=default=http://127.0.0.1:{peer}",
            )
        )
        server = stack.enter_context(
            _process(
                folder / "apiserver.log",
                os.environ["KUBE_APISERVER"],
                f"--etcd-servers=http://127.0.0.1:{client}",
                "--bind-address=127.0.0.1",
                f"--secure-port={secure}",
                f"--cert-dir={folder / 'certs'}",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={private}",
                f"--service-account-key-file={public}",
                "--authorization-mode=RBAC",
                f"--token-auth-file={tokens}",
                *(() if controllers else ("--disable-admission-plugins=ServiceAccount",)),
            )
        )
        config = KubeConfig.from_one(
            cluster=Cluster(server=f"https://127.0.0.1:{secure}", insecure=True),
            user=User(token=admin),
            namespace="default",
        )
        _wait(config, server, folder / "apiserver.log")
        if controllers:
            stack.enter_context(
                _process(
                    folder / "controllers.log",
                    os.environ["KUBE_CONTROLLER_MANAGER"],
                    f"--kubeconfig={kubeconfig(config, folder / 'controllers.conf')}",
                    f"--service-account-private-key-file={private}",
                    "--leader-elect=false",
                    "--bind-address=127.0.0.1",
                    f"--secure-port={manager}",
                    f"--cert-dir={folder / 'controllers'}",
                )
            )
        yield config


def account(config: KubeConfig, name: str, namespace: str) -> KubeConfig:
    """The same cluster, as that service account of that namespace sees it."""
    asked = ServiceAccountToken(metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[]))
    made = Client(config=config).create(asked, name, namespace=namespace)
    assert made.status is not None
    found = config.get()
    assert found is not None
    return KubeConfig.from_one(cluster=found.cluster, user=User(token=made.status.token), namespace=namespace)


def _wait(config: KubeConfig, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            Client(config=config).get(Namespace, "default")
        except (ApiError, httpx2.HTTPError):
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text()[-3000:])
