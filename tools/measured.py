"""Puts what `serinus simulate --out FOLDER` measured into docs/statistics.md, its plots into docs/images."""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def main(folder: Path) -> None:
    page = DOCS / "statistics.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + (folder / "simulation.md").read_text() + END + after)
    for plot in folder.glob("simulation-*.png"):
        shutil.copyfile(plot, DOCS / "images" / plot.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
