import pytest

from serinus.core.errors import InvalidInput
from serinus.core.text import storable, visible


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert visible("\x1b[31mred\x07\r\x9b2J\u202egnp.exe\udcff") == (
        r"\x1b[31mred\x07\r\x9b2J\u202egnp.exe\udcff"
    )
    plain = "two\nlines\twith Größe, 東京 and 🐤"
    assert visible(plain) == plain
    assert visible(visible("\x1b")) == visible("\x1b")


def test_lone_surrogates_are_named() -> None:
    assert storable("Größe 🐤", "The note") == "Größe 🐤"
    with pytest.raises(InvalidInput, match="The note is not valid Unicode at character 4"):
        storable("abc\udcff", "The note")
