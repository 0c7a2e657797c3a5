from pathlib import Path

import msgspec

from serinus.artifact.card import CARD, About, card, write_card
from serinus.artifact.files import sha256_file
from serinus.artifact.manifest import Contract, Lineage
from serinus.artifact.validate import read_draft
from serinus.core.ids import Digest
from tests import models

MADE = Lineage(
    trainer="compact",
    config={
        "licence": "Apache-2.0",
        "size": "n",
        "inputs": "pre-post",
        "seed": 7,
        "epochs": 3,
        "dataset_sha256": "ab" * 32,
        "disasters": ["synth-hurricane"],
        "pairs": {"train": 9, "test": 3},
        "measured_on": "test",
    },
    dataset="ds-1",
    parent=Digest("cd" * 32),
    code="0.1.0",
)


def test_it_names_data_settings_code_weights_and_figures(tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "draft")
    (draft / "lineage.json").write_bytes(msgspec.json.encode(MADE))
    (draft / "training/loss.png").write_bytes(b"picture")
    write_card(draft)
    text = (draft / CARD).read_text()
    for words in (
        "| Trainer | compact |",
        "| Licence of the trainer | Apache-2.0 |",
        f"| sha256 of model.onnx | {sha256_file(draft / 'model.onnx')} |",
        f"| sha256 of the data | {'ab' * 32} |",
        "| Pairs | train 9, test 3 |",
        f"| Fine-tuned from | {'cd' * 32} |",
        "| Seed | 7 |",
        "| epochs | 3 |",
        "(on its test split)",
        "| map50 | 0.7 |",
        "not comparable with real ones",
        "](training/loss.png)",
        "verify on the ground",
    ):
        assert words in text
    assert "examples.jpg" not in text, "there is no such picture"
    assert CARD in read_draft(draft).payload, "so it is hashed with the rest"


def test_equal_drafts_have_equal_cards(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        draft = models.healthy(tmp_path / name)
        write_card(draft)
        texts.append((draft / CARD).read_bytes())
    assert texts[0] == texts[1]


def test_a_card_that_is_there_stays(tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "draft")
    (draft / CARD).write_text("ours")
    write_card(draft)
    assert (draft / CARD).read_text() == "ours"


def test_what_a_foreign_trainer_says_cannot_break_it() -> None:
    nasty = "a | b\n# Title\n<script>alert(1)</script>\x1b[2J"
    odd = Lineage(trainer=nasty, config={"pairs": 5, "disasters": {"a": 1}, "seed": nasty, nasty: [nasty]})
    text = card(About(contract=Contract(classes=("a",)), lineage=odd))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\n# Title" not in text
    assert "| Trainer | a \\| b # Title &lt;script>" in text
