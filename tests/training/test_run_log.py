"""`train.log`: what happened in a training, in the run and for programs that listen to Python's logging."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.errors import DataError, NonFiniteError
from cpixelcnn.training.run_log import RunLog

Fit = Callable[..., Any]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR) (.*)")


def lines(run: Path) -> list[tuple[str, str]]:
    matches = [LINE.fullmatch(line) for line in (run / "train.log").read_text().splitlines()]
    return [(match[1], match[2]) for match in matches if match]


def test_a_training_and_its_continuation(fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    with caplog.at_level(logging.INFO, "cpixelcnn"):
        fit(run, epochs=2, stop_after_step=4)
    first = lines(run)
    assert [record.getMessage() for record in caplog.records] == [text for _, text in first]
    texts = [text for _, text in first]
    assert texts[0].startswith("started: ")
    assert texts[1].startswith("configuration {")
    assert any(re.match(r"epoch 1/2: train .*, accuracy .*, clipped .* \(best\)", text) for text in texts)
    assert "saved step-00000003" in texts
    assert first[-1][0] == "INFO"
    assert "resume with" in texts[-1]
    fit(run, epochs=2, resume=True)
    both = lines(run)
    assert both[: len(first)] == first
    assert both[len(first)][1].startswith("resumed after 1 epoch, 28 images: ")
    assert re.search(r" 1 process, \d+ threads?$", texts[0])
    assert both[-1][1].startswith("finished: best epoch")


def test_warnings_and_errors(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError), RunLog(tmp_path) as log:
        log.on_warning("a\nb \x1b[2J")
        raise NonFiniteError("not finite")
    assert lines(tmp_path) == [("WARNING", "a b \ufffd[2J"), ("ERROR", "not finite")]


def test_nobody_hears_it_who_does_not_ask(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        with RunLog(tmp_path) as log:
            log.on_warning("a warning")
    finally:
        root.handlers = handlers
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("place", ["a folder", "a pipe", "a full disk"])
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, place: str, capfd: Any) -> None:
    path = tmp_path / "train.log"
    if place == "a folder":
        path.mkdir()
    elif place == "a pipe":
        os.mkfifo(path)
    elif Path("/dev/full").exists():
        path.symlink_to("/dev/full")
    with pytest.raises(DataError), RunLog(tmp_path) as log:
        log.say("a line")
        if place == "a full disk" and log.file is None:  # a device is no regular file
            log.file = logging.FileHandler(tmp_path / "other")
        raise DataError("end")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("longest", "fraction"), [(1e-6, 1.0), (1e6, 0.0), (0.0, 0.0)])
def test_the_fraction_of_clipped_steps(
    fit: Fit, rows: Callable[[Path], list[dict[str, Any]]], tmp_path: Path, longest: float, fraction: float
) -> None:
    fit(tmp_path / "run", epochs=1, clip_grad_norm=longest)
    assert [row["clipped"] for row in rows(tmp_path / "run")] == [fraction]
