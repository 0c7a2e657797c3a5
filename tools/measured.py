"""Puts what `serinus simulate --out FOLDER` measured into docs/statistics.md, its plots into docs/images."""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
SECTIONS = {"simulation.md": "measured", "signals.md": "signals"}
"""Table -> the name of its marks in the page."""


def main(folder: Path) -> None:
    page = DOCS / "statistics.md"
    for table, name in SECTIONS.items():
        if not (folder / table).exists():
            continue
        begin, end = (f"<!-- {name}: {mark} -->\n" for mark in ("begin", "end"))
        before, _, rest = page.read_text().partition(begin)
        _, _, after = rest.partition(end)
        page.write_text(before + begin + (folder / table).read_text() + end + after)
    for plot in folder.glob("simulation-*.png"):
        shutil.copyfile(plot, DOCS / "images" / plot.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
