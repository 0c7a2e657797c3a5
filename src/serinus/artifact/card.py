"""The model card: what a version is, for people, as Markdown. A part of the artifact, so its hash covers it.

After Mitchell et al. 2019, "Model Cards for Model Reporting". Equal drafts give equal cards: neither the time
nor the number that the version will get is known here.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from serinus.artifact.files import sha256_file
from serinus.artifact.manifest import Contract, Lineage, told
from serinus.artifact.validate import CONTRACT, LINEAGE, METRICS
from serinus.core.ids import Digest
from serinus.core.text import visible

CARD = "MODEL_CARD.md"
_PICTURES = {
    "training/examples.jpg": "Before, after, and what it shows: pictures that it was not trained on",
    "training/loss.png": "The training: losses, and quality on the watched split",
    "training/confusion_matrix.png": "What it takes for what",
}
_WEIGHTS = ("model.onnx", "best.pt")
_BASELINE = "training/baseline.json"
_CLASS = "map50/"
_T = TypeVar("_T")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a card tells."""

    contract: Contract
    lineage: Lineage = Lineage()
    metrics: dict[str, float] = {}
    hashes: dict[str, Digest] = {}
    """sha256 of the weights, by file."""
    pictures: tuple[str, ...] = ()
    """Those of `_PICTURES` that stand beside the card."""
    baseline: str = ""
    """Whether six channels beat three, in words."""


def write_card(draft: Path) -> None:
    """Writes MODEL_CARD.md into `draft`, whose other files are complete, unless it brings one."""
    if (draft / CARD).is_file():
        return

    def read(name: str, kind: type[_T], otherwise: _T) -> _T:
        path = draft / name
        return msgspec.json.decode(path.read_bytes(), type=kind) if path.is_file() else otherwise

    about = About(
        contract=msgspec.json.decode((draft / CONTRACT).read_bytes(), type=Contract),
        lineage=read(LINEAGE, Lineage, Lineage()),
        metrics=read(METRICS, dict[str, float], {}),
        hashes={name: sha256_file(draft / name) for name in _WEIGHTS if (draft / name).is_file()},
        pictures=tuple(name for name in _PICTURES if (draft / name).is_file()),
        baseline=str(read(_BASELINE, dict[str, Any], {}).get("words", "")),
    )
    (draft / CARD).write_text(card(about), encoding="utf-8")


def card(about: About) -> str:
    """The text of the card."""
    contract, lineage, metrics, hashes = about.contract, about.lineage, about.metrics, about.hashes
    config = lineage.config
    disasters = told(lineage, "disasters", list[str], [])
    pairs = told(lineage, "pairs", dict[str, int], {})
    parts = [
        "# Model card",
        "Finds buildings on a pair of satellite pictures, before and after a disaster, and says how damaged "
        f"each is: {', '.join(contract.classes)}. **Decision support, verify on the ground.**",
        "## What it is",
        _table(
            {
                "Trainer": lineage.trainer or "unknown",
                "Licence of the trainer": config.get("licence", ""),
                "Size, inputs": ", ".join(
                    str(config[key]) for key in ("family", "size", "inputs") if key in config
                ),
                "Input": f"{len(contract.channels)} channels ({', '.join(contract.channels)}), at most "
                f"{contract.size} px, padded to multiples of {contract.stride}",
                "Shown from confidence": f"{contract.score_threshold:.2f}",
                **{f"sha256 of {name}": value for name, value in hashes.items()},
            }
        ),
        "## Where it comes from",
        _table(
            {
                "Data set": lineage.dataset,
                "sha256 of the data": config.get("dataset_sha256", ""),
                "Disasters": ", ".join(disasters),
                "Pairs": ", ".join(f"{name} {count}" for name, count in pairs.items()),
                "Fine-tuned from": lineage.parent or "nothing",
                "Seed": config.get("seed", ""),
                "Code": f"Serinus {lineage.code}" if lineage.code else "",
                "sha256 of the code": config.get("code_sha256", ""),
            }
        ),
    ]
    rest = {name: value for name, value in sorted(config.items()) if name not in _TOLD}
    if rest:
        parts += ["## Settings", _table(rest)]
    if metrics:
        parts += [f"## How good it is{_where(config)}", _metrics(metrics)]
    if about.baseline:
        parts.append(visible(about.baseline))
    if any(name.startswith("synth-") for name in disasters):
        parts.append("It learned from synthetic pictures; these figures are not comparable with real ones.")
    parts += [f"![{_PICTURES[name]}]({name})\n\n{_PICTURES[name]}." for name in about.pictures]
    parts += [
        "## What it is not for",
        "Disasters, sensors and regions that its data do not show: measure it there first "
        "(`serinus evaluate VERSION --data ID`). Minor and major damage are ambiguous on pictures; a count "
        "of them is an estimate. It must not be the only ground for sending, or not sending, help.",
    ]
    return "\n\n".join(parts) + "\n"


_TOLD = {
    "licence",
    "family",
    "size",
    "inputs",
    "dataset_sha256",
    "disasters",
    "pairs",
    "seed",
    "code_sha256",
    "measured_on",
}


def _where(config: dict[str, Any]) -> str:
    return f" (on its {config['measured_on']} split)" if "measured_on" in config else ""


def _table(rows: dict[str, Any]) -> str:
    return "\n".join(
        [
            "| | |",
            "|---|---|",
            *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items() if value != ""),
        ]
    )


def _metrics(metrics: dict[str, float]) -> str:
    whole = {name: f"{value:.4g}" for name, value in metrics.items() if not name.startswith(_CLASS)}
    each = {
        f"mAP50, {name.removeprefix(_CLASS)}": f"{v:.4g}"
        for name, v in metrics.items()
        if name.startswith(_CLASS)
    }
    return _table(whole | each)


def _cell(value: object) -> str:
    """Text of a cell: names come from people, and must not end the table."""
    words = visible(str(value)).replace("|", "\\|")
    return " ".join(words.split()).replace("<", "&lt;")
