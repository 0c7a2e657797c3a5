"""Keys and trust, as the settings say."""

from serinus.artifact.keys import read_private, read_trusted
from serinus.artifact.manifest import Manifest
from serinus.artifact.signing import Keyring, Signer
from serinus.bootstrap.settings import Settings
from serinus.control.trust import Trust
from serinus.core.errors import Misconfigured
from serinus.store import Sign


def trusted(settings: Settings) -> Keyring:
    """The keys of TRUSTED_KEYS as they are now.

    Raises Misconfigured when one cannot be read, or when there is none although a signature is required.
    """
    keys = read_trusted(settings.trusted_keys)
    if settings.require_signature and not keys:
        places = ", ".join(map(str, settings.trusted_keys))
        raise Misconfigured(
            f"A signature is required, but TRUSTED_KEYS ({places}) holds no public key.",
            remedy="Put the signers' public keys there, as NAME.pem (`serinus keys new` makes a pair).",
        )
    return keys


def trust(settings: Settings) -> Trust:
    """Whose signatures count; the keys are read when they are needed."""
    return Trust(required=settings.require_signature, keys=lambda: trusted(settings))


def signer(settings: Settings) -> Signer | None:
    """What signs with SIGNING_KEY; None when there is none. Raises Misconfigured when it cannot be used."""
    if settings.signing_key is None:
        return None
    password = settings.signing_key_password
    return read_private(settings.signing_key, password.get_secret_value() if password else "")


def sign(settings: Settings) -> Sign:
    """What `Store.publish` is given. Raises Misconfigured."""
    return signer(settings) or _leave


def _leave(manifest: Manifest) -> Manifest:
    return manifest


def sign_first(settings: Settings) -> Sign:
    """The same for the first version, which becomes current without a check: what the check would refuse is
    refused here. Raises Misconfigured."""
    found = signer(settings)
    if settings.require_signature:
        keys = trusted(settings)
        if found is None:
            raise Misconfigured(
                "A signature is required, and the first version would have none.",
                remedy="Start once with SIGNING_KEY, or publish from where the key is: `serinus publish DIR "
                "--sign KEY` signs and publishes the first version too.",
            )
        if found.public.id not in keys:
            raise Misconfigured(
                f"A signature is required, and the first version would be signed by {found.public}, "
                "which is not trusted here.",
                remedy="Add its public key to TRUSTED_KEYS, or sign with one that is there.",
            )
    return found or _leave
