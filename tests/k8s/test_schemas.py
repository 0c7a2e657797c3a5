"""Every object against the schemas of Kubernetes itself: no unknown field, no wrong type."""

import copy
from typing import Any

import kubernetes_validate
import pytest

from tests.k8s.sets import Set, load

VERSIONS = ("1.31", "1.34", "1.37")


def _validate(thing: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_keeps_the_schema(deployed: Set, version: str) -> None:
    for each in (*deployed.objects, *deployed.jobs.values()):
        _validate(each, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_know_every_kind_and_find_a_typing_error(version: str) -> None:
    for each in load("base").objects:
        wrong = copy.deepcopy(each)
        wrong["metadata"]["lables"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            _validate(wrong, version)
