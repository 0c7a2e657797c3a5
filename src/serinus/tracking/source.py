"""Which version of which registered model, at which server: what an import leaves in the lineage."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from serinus.core.errors import InvalidInput

TRAINER = "mlflow"
KEY = "mlflow"
"""Member of `lineage.config` that holds a `Source`."""
ACTOR_SUFFIX = " via mlflow import"
"""How the actor of a `published` event ends when the version was imported from MLflow.

A lineage comes with the draft, so whoever makes a folder can write any address into it; the journal says
whether it was this program that imported. Only then is that address ever called.
"""
LATEST = "latest"
_USERINFO = re.compile(r"(?<=//)[^/@\s]+@")
_SCHEMES = ("http", "https", "file", "sqlite", "postgresql", "mysql", "mssql")


class Wanted(msgspec.Struct, frozen=True):
    """What a person asked for: a number, an alias, or the newest."""

    model: str
    version: str = ""
    """Its number; empty for an alias."""
    alias: str = ""

    @property
    def latest(self) -> bool:
        return self.version == LATEST


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A model version as it was found."""

    tracking_uri: str
    """Without credentials."""
    model: str
    version: str
    run_id: str = ""
    source: str = ""
    """Where its artifacts are, as the registry says; without credentials."""
    created: int = 0
    """Milliseconds since 1970-01-01 UTC: with `run_id` it tells this one from another of the same number."""


def parse_wanted(text: str) -> Wanted:
    """`MODEL/3`, `MODEL/latest`, `MODEL/@alias` or `MODEL@alias`. Raises InvalidInput."""
    model, slash, version = text.rpartition("/")
    if not slash:
        model, at, alias = text.rpartition("@")
        version = f"{at}{alias}"
    if not model or "/" in model or not re.fullmatch(r"[0-9]{1,18}|latest|@[\w.-]+", version):
        raise InvalidInput(
            f"{text!r} names no version of a registered model.",
            remedy="Write MODEL/3 (a version), MODEL/@champion (an alias) or MODEL/latest.",
        )
    if version.startswith("@"):
        return Wanted(model, alias=version[1:])
    return Wanted(model, version=version)


def check_uri(uri: str) -> str:
    """`uri` itself when it names a kind of server or store that is supported. Raises InvalidInput."""
    if urlsplit(uri).scheme.partition("+")[0] not in _SCHEMES:
        raise InvalidInput(
            f"{scrubbed(uri)!r} is no tracking URI of MLflow.",
            remedy="Write http://HOST:PORT, https://..., sqlite:///FILE or file:///FOLDER.",
        )
    return uri


def without_credentials(uri: str) -> str:
    """`uri` without user, password, query and fragment."""
    return re.split(r"[?#]", scrubbed(uri), maxsplit=1)[0]


def scrubbed(words: str) -> str:
    """`words` of a library without the credentials that addresses in them may carry."""
    return _USERINFO.sub("", words)


def source_of(config: Mapping[str, Any]) -> Source | None:
    """What an import left in `lineage.config`; None when there is nothing, or nothing that can be read."""
    try:
        return msgspec.convert(config.get(KEY), Source)
    except msgspec.ValidationError:
        return None
