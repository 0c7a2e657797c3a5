"""The report as a page: one file, with everything the report says, and no way for a name to become markup."""

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from serinus.data.dataset import PAGE
from serinus.data.importing import ImportRefused, import_archive
from serinus.data.page import Candidate, chosen, page_file, render
from serinus.data.report import FIXES, IssueCode
from tests.data.archives import HOUSE, building, name, pack, pair, pairs, rectangle

EVIL = "<script>alert(1)</script>$x^$&amp;"


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data


@pytest.fixture
def dataset(tmp_path):
    odd = (HOUSE, building(rectangle(40, 20, 60, 44), "destroyed"), building("POLYGON ((", "destroyed"))
    files = pairs(24, features=odd) | pairs(6, disaster="flood") | pair(1, disaster=EVIL.replace("/", ""))
    del files[name(2, "post", "png")]
    del files[name(3, "pre", "png")]
    return import_archive(pack(tmp_path / "a&b.zip", files), tmp_path / "datasets", clock=lambda: 1.0)


def test_the_page_needs_no_other_file_and_runs_nothing(dataset):
    page = Page(page_file(dataset).read_text())
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 24, "twelve samples, pre and post"
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page_file(dataset).read_text())


def test_the_page_says_what_the_report_says(dataset):
    page, report = Page(page_file(dataset).read_text()), dataset.report
    for words in (dataset.id, "a&b.zip", f"{report.per_class['destroyed']}", "flood", report.sha256):
        assert words in page.words
    for code in {one.code for one in report.issues}:
        assert FIXES[code][1] in page.words
    assert EVIL.replace("/", "").lower() in page.words
    assert "post only" in page.words
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 3


def test_each_disaster_is_shown_and_rare_classes_first(dataset):
    pairs = {one.key: one for one in dataset.pairs()}
    some = [Candidate(one.key, one.disaster, frozenset(one.classes)) for one in pairs.values()]
    counts = Counter(label for one in pairs.values() for label in one.classes)
    shown = chosen(some, counts)
    assert len(shown) == len(set(shown)) == 12
    assert {pairs[key].disaster for key in shown} == {one.disaster for one in pairs.values()}
    assert chosen(reversed(some), counts) == shown, "the same pairs each time"
    assert any(3 in pairs[key].classes for key in shown)


def test_names_in_any_script_and_with_control_characters_can_be_drawn(tmp_path, recwarn):
    files = pair(1, disaster="地震") | pair(2, disaster="qu\x1bake")
    made = import_archive(pack(tmp_path / "a.zip", files), tmp_path / "datasets", clock=lambda: 1.0)
    text = page_file(made).read_text(encoding="utf-8")
    assert "地震" in text and r"qu\x1bake" in text
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


def test_the_page_is_made_once(dataset):
    first = page_file(dataset)
    assert first == dataset.path / PAGE
    before = first.stat().st_mtime_ns
    assert page_file(dataset).stat().st_mtime_ns == before
    assert [path.name for path in dataset.path.iterdir() if path.name.startswith("tmp")] == []


def test_a_refused_import_has_a_page_that_says_what_to_confirm(tmp_path):
    files = pairs(4)
    del files[name(2, "post", "png")]
    with pytest.raises(ImportRefused) as refused:
        import_archive(pack(tmp_path / "a.zip", files), tmp_path / "datasets", clock=lambda: 1.0)
    page = Page(render(refused.value.report, refused.value.issues, source="a.zip"))
    assert "Needs your confirmation" in page.words
    assert "1 of 4 pairs cannot be used" in page.words
    assert FIXES[IssueCode.POST_IMAGE_MISSING][1] in page.words


def test_an_archive_with_nothing_has_a_page(tmp_path):
    with pytest.raises(ImportRefused) as refused:
        import_archive(pack(tmp_path / "a.zip", {"x": b""}), tmp_path / "datasets", clock=lambda: 1.0)
    page = Page(render(refused.value.report, refused.value.issues, source="a.zip"))
    assert "Not usable" in page.words
