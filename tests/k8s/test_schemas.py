"""Every object against the schemas of Kubernetes itself: no unknown field, no wrong type."""

import copy
import json

import kubernetes_validate
import pytest

from tests.k8s.sets import SETS, Object, load

VERSIONS = ("1.31", "1.34", "1.37")


def _objects() -> list[Object]:
    """All that base and overlays apply, and the Jobs; what several of them have alike once."""
    sets = [load(name) for name in SETS]
    found = {json.dumps(each, sort_keys=True) for one in sets for each in (*one.objects, *one.jobs.values())}
    return [json.loads(each) for each in sorted(found)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_keeps_the_schema(version: str) -> None:
    for each in _objects():
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_know_every_kind_and_find_a_typing_error(version: str) -> None:
    kinds = {each["kind"]: each for each in load("base").objects}
    for each in kinds.values():
        wrong = copy.deepcopy(each)
        wrong["metadata"]["lables"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, version, strict=True)
