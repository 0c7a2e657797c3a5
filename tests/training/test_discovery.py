"""Trainers of other distributions, as pip lays them out: real modules and dist-info on a real path."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.core.errors import InvalidInput, Misconfigured
from serinus.training.compact import Compact
from serinus.training.discovery import GROUP, choices, find

GOOD = """
from serinus.training.compact import Compact
class Mine(Compact):
    name = "mine"
    licence = "MIT"
    summary = "As compact."
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("brought_")]:
        del sys.modules[name]


def _install(site: Path, module: str, source: str, *entries: str, dist: str = "brought") -> None:
    (site / f"{module}.py").write_text(source)
    info = site / f"{dist}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *entries]) + "\n")
    importlib.invalidate_caches()


def test_the_built_in_one() -> None:
    assert isinstance(find("compact"), Compact)


def test_a_trainer_of_another_package_is_found(site: Path) -> None:
    _install(site, "brought_good", GOOD, "mine = brought_good:Mine")
    assert find("mine").summary == "As compact."
    (row,) = [one for one in choices() if one.name == "mine"]
    assert (row.source, row.licence, row.problem) == ("brought 1.2", "MIT", "")


def test_an_unknown_name_names_the_known_ones(site: Path) -> None:
    _install(site, "brought_good", GOOD, "mine = brought_good:Mine")
    with pytest.raises(InvalidInput, match="no trainer 'yolo'; there are compact, mine, ultralytics"):
        find("yolo")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_this_name", "cannot be loaded: ModuleNotFoundError: No module named 'nothing"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("Other = 1", "cannot be loaded: AttributeError"),
        ("class Mine:\n    def __init__(self, needed): pass", "cannot be loaded: TypeError"),
        ("class Mine:\n    name = 'mine'\n    licence = 'MIT'", "lacks summary, train"),
        (GOOD.replace('"mine"', '"theirs"'), "calls itself 'theirs'"),
    ],
)
def test_a_broken_one_is_named_with_its_package(site: Path, source: str, words: str) -> None:
    _install(site, "brought_bad", source, "mine = brought_bad:Mine")
    with pytest.raises(Misconfigured, match=r"'mine' of brought 1\.2") as caught:
        find("mine")
    assert words in caught.value.message
    (row,) = [one for one in choices() if one.name == "mine"]
    assert words in row.problem
    assert isinstance(find("compact"), Compact), "the others go on working"


def test_two_of_one_name_are_refused(site: Path) -> None:
    _install(site, "brought_good", GOOD.replace('"mine"', '"compact"'), "compact = brought_good:Mine")
    with pytest.raises(Misconfigured, match=r"Two trainers are called 'compact': serinus and brought 1\.2"):
        find("compact")
