"""Reports as pages that stand alone in their folder, beside their pictures and their JSON."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

SYNTHETIC = "synth-"
"""Prefix of the disasters that our own generator makes."""


def write(path: Path, template: str, **values: Any) -> None:
    """Writes the page `template` (a file of templates/) to `path`; values are escaped."""
    path.write_text(_environment().get_template(template).render(**values), encoding="utf-8")


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("serinus.evaluation"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["figure"] = lambda value: f"{value:.3f}"
    found.filters["signed"] = lambda value: f"{value:+.3f}"
    return found
