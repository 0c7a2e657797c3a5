"""From a job and a template to the Kubernetes Job that is asked for. Pure, but for reading the template."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from serinus.core.enums import JobKind
from serinus.core.errors import Misconfigured
from serinus.jobs import remains
from serinus.jobs.model import JobSpec, kind_of
from serinus.jobs.render import render

JOB_LABEL = "serinus.dev/job"
"""The job's id, on the Job and on its pods."""
MANAGED = {"app.kubernetes.io/managed-by": "serinus"}
NAMES: Mapping[JobKind, str] = {
    JobKind.TRAIN: "train",
    JobKind.PREPARE: "prepare",
    JobKind.DEMO: "demo",
    JobKind.BROKEN: "broken",
}
"""What runs in the cluster, and how its Job is called: what wants more than the image `serve` has."""
_TEMPLATES = {JobKind.TRAIN: "train.yaml"}
_OTHERS = "prepare.yaml"
KEPT_SECONDS = 7 * 24 * 3600
"""A finished Job stays this long (`kubectl logs job/train`), where the template does not say."""

_REMEDY = "See docs/replicas.md for what the file must hold."

Document = dict[str, Any]


def template_of(folder: Path, kind: JobKind) -> Document:
    """The Job in `train.yaml`, or for all but trainings in `prepare.yaml`. Raises Misconfigured, naming the
    file, when there is none in it.
    """
    path = folder / _TEMPLATES.get(kind, _OTHERS)
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise Misconfigured(f"The job template {path} cannot be read: {error}.", remedy=_REMEDY) from error
    if not isinstance(found, dict) or found.get("kind") != "Job" or not _containers(found):
        raise Misconfigured(f"The job template {path} is no Job with a container.", remedy=_REMEDY)
    return found


def manifest(template: Document, spec: JobSpec, job: Path) -> Document:
    """The Job that does `spec` and reports to the folder `job`, which is called as the job's id.

    Kept is what the template says; set are the Job's name, labels that find it, the arguments and environment
    of its first container, and, where nothing is said, how often it is tried (once) and how long it is kept.
    """
    kind, command = kind_of(spec), render(spec, job)
    found = copy.deepcopy(template)
    labels = {**MANAGED, JOB_LABEL: job.name}
    found |= {"apiVersion": "batch/v1", "kind": "Job"}
    _label(found, labels)
    found["metadata"]["name"] = NAMES[kind]
    found["metadata"].pop("namespace", None)
    found["spec"].setdefault("backoffLimit", 0)
    found["spec"].setdefault("ttlSecondsAfterFinished", KEPT_SECONDS)
    _label(found["spec"]["template"], labels)
    container = _containers(found)[0]
    container["args"] = list(command.argv)
    env = command.env | {remains.MARK: job.name}
    kept = [each for each in container.get("env") or [] if each["name"] not in env]
    container["env"] = [*kept, *({"name": name, "value": value} for name, value in env.items())]
    return found


def _label(document: Document, labels: Mapping[str, str]) -> None:
    metadata = document["metadata"] = dict(document.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}


def _containers(document: Document) -> list[Document]:
    try:
        return list(document["spec"]["template"]["spec"]["containers"])
    except (KeyError, TypeError):
        return []
