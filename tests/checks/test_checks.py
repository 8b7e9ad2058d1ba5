"""The checks of a machine agree where it computes right, and find it where it does not."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.checks import computing, file_system
from cpixelcnn.checks.computing import check_computing
from cpixelcnn.checks.file_system import check_file_system
from cpixelcnn.checks.machine import describe_machine
from cpixelcnn.checks.outcome import Check, attempt, compared
from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.runs.models import load


@pytest.fixture
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model()


@pytest.fixture
def images(model: PixelCNN, make_images: Callable[..., Tensor]) -> ImageSet:
    labels = torch.arange(8) % model.config.nr_classes
    return ImageSet(make_images(model, 8), labels, model.config.classes, name="some", split="train")


def test_all_checks_of_a_right_machine_pass(model: PixelCNN, images: ImageSet) -> None:
    found = {check.name: check for check in check_computing(model, images)}
    assert all(check.passed for check in found.values()), found
    skipped = [name for name, check in found.items() if check.outcome == "skipped"]
    assert skipped == ["recorded rows against unrecorded", "compiled against eager"]
    speeds = [check.value for name, check in found.items() if name.startswith("speed of")]
    assert len(speeds) == 4 and all(speed is not None and speed > 0 for speed in speeds)


def test_likelihoods_that_are_rounded_are_found(
    model: PixelCNN, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = PixelCNN.log_prob

    def rounded(self: PixelCNN, some: Tensor, labels: Tensor | None = None) -> Tensor:
        found = right(self, some, labels)
        return found if next(self.parameters()).dtype == torch.float64 else found + 3.0

    monkeypatch.setattr(PixelCNN, "log_prob", rounded)
    check = computing.likelihoods_check(model, images.images, images.labels)
    assert (check.outcome, check.passed) == ("differs", False)
    assert check.value == pytest.approx(3.0, abs=0.1)


def test_rounding_to_bfloat16_is_bounded_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was trained, on its own images: it differs, by little, and the figure is told."""
    model = load("tiny")
    images = load_split(DataConfig(train_size=8), "train")
    check = computing.bfloat16_check(model, images.images, images.labels)
    assert check.passed and check.value is not None and 0 < check.value < 0.02
    assert f"{check.value:.2g}" in check.detail and "bits/dim" in check.detail
    exact = computing.pixel_log_probs

    def coarse(model: PixelCNN, some: Tensor, labels: Tensor, *, precision: str) -> Tensor:
        return exact(model, some, labels, precision=precision) - 0.2 * (precision == "bfloat16")

    monkeypatch.setattr(computing, "pixel_log_probs", coarse)
    assert computing.bfloat16_check(model, images.images, images.labels).outcome == "differs"


def test_a_sampler_that_differs_is_found(model: PixelCNN, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    right = computing.IncrementalPredictor.parameters

    def wrong(self: Any, column: int) -> Tensor:
        return right(self, column) * (1.01 if column == 2 else 1.0)

    monkeypatch.setattr(computing.IncrementalPredictor, "parameters", wrong)
    assert computing.sampler_check(model, images.images, images.labels).outcome == "differs"
    monkeypatch.setattr(computing.IncrementalPredictor, "parameters", lambda self, i: right(self, i) * float("nan"))
    assert computing.sampler_check(model, images.images, images.labels).outcome == "differs"


def test_an_error_is_an_outcome_and_the_others_go_on() -> None:
    def fail() -> Check:
        raise RuntimeError("no kernel\nmore")

    found = attempt("something", fail)
    assert (found.name, found.outcome, found.detail) == ("something", "failed", "RuntimeError: no kernel")
    assert compared("x", float("nan"), 1.0, "nats").outcome == "differs"


def test_the_compiler_is_asked_where_it_is_wanted(
    model: PixelCNN, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: network)
    found = computing.compilation_check(model, images.images, images.labels, wanted=True)
    assert (found.outcome, found.value) == ("ok", 0.0)


def test_a_file_system_that_has_everything(tmp_path: Path) -> None:
    found = list(check_file_system(tmp_path / "runs" / "not-yet"))
    assert all(check.passed for check in found), found
    assert [check.name for check in found][:3] == ["write and replace a file", "symbolic links", "locks"]
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_links_or_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(file_system, "replace_link", refuse)
    outcomes = {check.name: check.outcome for check in check_file_system(tmp_path)}
    assert outcomes["symbolic links"] == "failed"
    assert outcomes["locks"] == "ok"
    monkeypatch.setattr(file_system.tempfile, "TemporaryDirectory", refuse)
    (check,) = check_file_system(tmp_path)
    assert (check.outcome, "nothing can be written" in check.detail) == ("failed", True)


def test_the_machine_is_described_without_names() -> None:
    facts = describe_machine(torch.device("cpu"))
    assert {"cpixelcnn", "Python", "packages", "CPU", "memory", "devices", "checked"} <= set(facts)
    assert torch.__version__.split("+")[0] in facts["packages"]


def test_the_command(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    good = Check("first", "ok", "fine", 1.0, 2.0)
    monkeypatch.setattr(computing, "check_computing", lambda *_, **__: iter([good]))
    outcome = cli("checks", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["checks"][0] == dataclasses.asdict(good)
    assert outcome.document["machine"]["checked"] == "cpu"
    bad = Check("second", "differs", "by [much]", 9.0, 2.0)
    monkeypatch.setattr(computing, "check_computing", lambda *_, **__: iter([good, bad]))
    outcome = cli("checks", "--device", "cpu")
    assert outcome.code == 1
    assert "error: 1 check did not pass: second" in outcome.err
    assert "by [much]" in outcome.out
