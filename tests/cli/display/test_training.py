"""What the display of a training writes where, on a terminal that is watched."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from cpixelcnn.cli import console
from cpixelcnn.cli.display.training import TrainingDisplay
from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.training.callbacks import StepRecord, TrainingStart

CONFIG = RunConfig(ModelConfig(classes=("cat", "dog")), DataConfig(), TrainConfig(epochs=2))
START = TrainingStart(
    run=Path("runs/[a]"),
    config=CONFIG,
    nr_parameters=1234,
    train_images=20,
    validation_images=8,
    epochs=2,
    epochs_done=0,
    steps_done=0,
    images_seen=0,
    precision="float32",
    precision_reason="as asked",
)
RECORD = EpochRecord(1, 2, 20, 4.5, 1e-3, 0.25, 100.0, 0, 2.5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def step(number: int, bits_per_dim: float = 4.0) -> StepRecord:
    return StepRecord(number, 0, 10, 10 * number, 20, 10 * number, 1e-3, bits_per_dim, 0.25)


def train(out: io.StringIO, err: io.StringIO) -> TrainingDisplay:
    """An epoch of two steps, shown on these streams."""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), TrainingDisplay() as display:
        display.on_start(START)
        display.on_step(step(1))
        if display.live:
            display.live.refresh()
        display.on_warning("careful [now]")
        display.on_step(step(2, 3.0))
        display.activity("validation")(1, 2)
        if display.live:
            display.live.refresh()
        display.on_epoch(RECORD, True)
        display.on_samples(Path("runs/[a]/samples/epoch-0001.png"))
    return display


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_the_line_moves_on_stderr_and_the_figures_go_down_the_pipe() -> None:
    out, err = io.StringIO(), Terminal()
    train(out, err)
    assert out.getvalue() == "epoch 1/2  train 4.500  best\nsamples    runs/[a]/samples/epoch-0001.png\n"
    shown = plain(err.getvalue())
    assert "run        runs/[a]" in shown
    assert "step 1  4.000 bits/dim  grad norm 0.25  lr 1.00e-03" in shown
    assert "validation 50 %" in shown
    assert "warning: careful [now]\n" in shown.replace("\r", "")
    assert "\x1b[?25h" in err.getvalue()  # the cursor is back


def test_the_average_has_no_bias() -> None:
    display = train(io.StringIO(), Terminal())
    assert display.line.figures["bits_per_dim"] == "3.495 bits/dim"  # (0.98 * 4 + 3) / 1.98


def test_both_at_one_terminal() -> None:
    err = Terminal()
    train(Terminal(), err)
    shown = plain(err.getvalue())
    assert "epoch  bits/dim: train  validation  accuracy  95 % interval  macro F1" in shown
    assert "  1/2            4.500           -         -              -         -  best" in shown


def test_plain_lines_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    train(io.StringIO(), err)
    assert "bits/dim" not in err.getvalue()  # nothing yet
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.0)
    train(io.StringIO(), err)
    lines = err.getvalue().splitlines()
    assert any(
        re.fullmatch(r"epoch 1/2  step 2  3.495 bits/dim .* images/s  ETA \d+:\d\d, then samples", line)
        for line in lines
    )
    assert "validation: 50 %, 0:00 to go" in lines
    assert "\x1b" not in err.getvalue()


def test_a_silent_process_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "silent", True)
    out, err = io.StringIO(), Terminal()
    train(out, err)
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_the_time_left_includes_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last step there is none to come, but what is going on takes its time."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with contextlib.redirect_stderr(io.StringIO()), TrainingDisplay() as display:
        display.on_start(START)
        display.pace.images_seen = display.pace.total_images
        report = display.activity("validation")
        now += 30
        report(1, 3)
    assert display.line.remaining == "1:00"


def test_progress_counts_images_and_not_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    with contextlib.redirect_stderr(err), console.activity("scoring", unit="images", count=50) as progress:
        progress(100, 200)  # passes, of four classes
    assert "25/50 images" in plain(err.getvalue())


def test_the_time_left_says_what_it_leaves_out() -> None:
    """Nobody knows yet how long the last samples and the test split will take."""
    with contextlib.redirect_stderr(io.StringIO()), TrainingDisplay(afterwards=["test"]) as display:
        display.on_start(START)
        display.on_step(step(1))
        assert display.line.plain().endswith(", then samples, test")
        display.activity("samples")  # of an epoch in between
        assert display.line.plain().endswith(", then samples, test")
        display.on_step(step(4))
        display.activity("samples")
        assert display.line.plain().endswith(", then test")
