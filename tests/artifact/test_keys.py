import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from serinus.artifact.keys import new_pair, read_either, read_private, read_public, read_trusted
from serinus.artifact.manifest import Contract, Manifest, encode_manifest
from serinus.artifact.signing import examine
from serinus.core.enums import SignatureStanding
from serinus.core.errors import Conflict, Misconfigured

SEED = bytes(range(32))
PASSWORD = "correct horse"
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def private_file(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def encrypted(path: Path) -> Path:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
    return private_file(
        path, key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(PASSWORD.encode()))
    )


def test_a_pair_signs_and_is_checked(tmp_path: Path) -> None:
    private, public, key = new_pair(tmp_path / "release", SEED)
    assert (private.name, public.name, key.name) == ("release.key", "release.pem", "release")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert read_private(private).public == read_public(public) == read_either(private) == key
    assert read_either(public) == key
    data = encode_manifest(read_private(private)(Manifest(created=1.0, contract=Contract(), files={})))
    keys = read_trusted([tmp_path])
    assert [one.name for one in keys.values()] == ["release"], "the private key beside it is left alone"
    assert examine(data, keys).standing is SignatureStanding.TRUSTED


def test_the_public_key_is_the_one_of_rfc_8032(tmp_path: Path) -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    _, _, key = new_pair(tmp_path / "vector", seed)
    assert key.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.mark.parametrize("ending", ["", ".key", ".pem"])
def test_nothing_is_overwritten(tmp_path: Path, ending: str) -> None:
    private, public, _ = new_pair(tmp_path / "release", SEED)
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(Conflict, match="never overwritten"):
        new_pair(tmp_path / f"release{ending}", bytes(32))
    assert (private.read_bytes(), public.read_bytes()) == before
    public.unlink()
    with pytest.raises(Conflict, match=r"release\.key is there already"):
        new_pair(tmp_path / f"release{ending}", bytes(32))
    assert private.read_bytes() == before[0]
    assert not public.exists(), "half a pair is not left"


def test_an_encrypted_key_wants_its_password(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "a.key")
    with pytest.raises(Misconfigured, match="no password was given") as caught:
        read_private(path)
    assert "SIGNING_KEY_PASSWORD" in caught.value.remedy
    with pytest.raises(Misconfigured, match="with this password"):
        read_private(path, "wrong")
    assert read_private(path, PASSWORD).public.raw == read_either(path, PASSWORD).raw
    plain, _, _ = new_pair(tmp_path / "plain", SEED)
    assert read_private(plain, PASSWORD).public.id == read_private(path, PASSWORD).public.id


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666])
def test_a_private_key_that_everybody_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    private, _, _ = new_pair(tmp_path / "release", SEED)
    private.chmod(mode)
    with pytest.raises(Misconfigured, match="every user of this machine") as caught:
        read_private(private)
    assert "chmod 600" in caught.value.remedy
    private.chmod(0o440)
    read_private(private)  # as a cluster mounts it for a group


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(PEM, PKCS8, serialization.NoEncryption())


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
BAD_PRIVATE = {
    "rsa": (pem_of(RSA), "no ed25519 key"),
    "ec": (pem_of(EC), "no ed25519 key"),
    "empty": (b"", "holds no private key"),
    "text": (b"hello", "holds no private key"),
    "public": (RSA.public_key().public_bytes(PEM, SPKI), "holds no private key"),
    "broken": (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
    "binary": (bytes(range(256)) * 1000, "holds no private key"),
}


@pytest.mark.parametrize("kind", BAD_PRIVATE)
def test_what_is_no_usable_private_key(tmp_path: Path, kind: str) -> None:
    data, words = BAD_PRIVATE[kind]
    with pytest.raises(Misconfigured, match=words):
        read_private(private_file(tmp_path / "a.key", data))


BAD_PUBLIC = {
    "rsa": (RSA.public_key().public_bytes(PEM, SPKI), "no ed25519 key"),
    "empty": (b"", "holds no public key"),
    "private": (pem_of(EC), "holds a private key"),
    "broken": (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no public key"),
}


@pytest.mark.parametrize("kind", BAD_PUBLIC)
def test_what_is_no_trusted_key_is_not_left_out_in_silence(tmp_path: Path, kind: str) -> None:
    new_pair(tmp_path / "release", SEED)
    data, words = BAD_PUBLIC[kind]
    (tmp_path / "bad.pem").write_bytes(data)
    with pytest.raises(Misconfigured, match=rf"bad\.pem.* {words}"):
        read_trusted([tmp_path])


@pytest.mark.parametrize("read", [read_private, read_public, read_either, lambda path: read_trusted([path])])
def test_a_file_that_is_not_there(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(Misconfigured, match=r"nothing\.pem cannot be read: No such file"):
        read(tmp_path / "nothing.pem")


def test_trusted_keys_of_folders_and_files(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    (mounted / "..data").mkdir(parents=True)
    new_pair(mounted / "..data" / "release", SEED)
    (mounted / "release.pem").symlink_to("..data/release.pem")  # as a cluster mounts a ConfigMap
    (mounted / ".hidden.pem").write_text("not a key")
    (mounted / "README").write_text("not a key")
    _, single, _ = new_pair(tmp_path / "alice", bytes(32))
    found = read_trusted([mounted, single])
    assert sorted(key.name for key in found.values()) == ["alice", "release"]
    (tmp_path / "none").mkdir()
    assert read_trusted([tmp_path / "none"]) == {}


def test_keys_of_other_tools_and_their_fingerprints(tmp_path: Path) -> None:
    """The documented way to the same fingerprint: of the public key's DER form."""
    _, public, key = new_pair(tmp_path / "release", SEED)
    openssl = ["openssl", "pkey", "-pubin", "-in", str(public), "-outform", "DER"]
    try:
        der = subprocess.run(openssl, check=True, capture_output=True).stdout
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    shown = subprocess.run(["sha256sum"], input=der, check=True, capture_output=True).stdout
    assert shown.decode().split()[0] == key.id
    theirs = tmp_path / "theirs.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(theirs)], check=True)
    theirs.chmod(0o600)
    assert read_private(theirs).public.name == "theirs"


def test_without_the_package_it_is_said_in_words_and_nobody_else_pays(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
sys.modules["cryptography"] = None
import serinus.bootstrap.controller, serinus.bootstrap.inference, serinus.cli.app
from serinus.artifact.keys import new_pair, read_trusted
from serinus.core.errors import Misconfigured
assert read_trusted([]) == {}
try:
    new_pair(Path(sys.argv[1]) / "a", bytes(32))
except Misconfigured as error:
    assert "pip install" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
