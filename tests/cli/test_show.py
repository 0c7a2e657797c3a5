"""What commands tell while they work."""

import pytest

from serinus.cli.show import progress


def test_a_log_gets_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("train", steps=True) as move:
        for words in ("unpacking: 1 of 9 MB", "unpacking: 9 of 9 MB", "pair 1 of 2", "pair 2 of 2"):
            move(0, 1, words)
        for epoch in (1, 2):
            for loss in (0.5, 0.4):
                move(0, 1, f"epoch {epoch}/2, loss {loss / epoch}")
        move(1, 1, "exporting")
    assert capsys.readouterr().err.splitlines() == [
        "unpacking: 9 of 9 MB",
        "pair 2 of 2",
        "epoch 1/2, loss 0.4",
        "epoch 2/2, loss 0.2",
        "exporting",
    ]
