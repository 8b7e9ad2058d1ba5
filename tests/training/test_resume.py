"""Going on where a training stopped: interrupted equals uninterrupted, and the records are without gap or duplicate."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import CpixelcnnError
from cpixelcnn.runs.layout import checkpoint_paths, verify_checkpoint
from cpixelcnn.runs.metrics_log import MetricsLog
from cpixelcnn.training import run_writer
from cpixelcnn.training import state as state_module

Fit = Callable[..., Any]
Rows = Callable[[Path], list[dict[str, Any]]]
State = Callable[[Path], dict[str, Any]]
Differences = Callable[[dict[str, Any], dict[str, Any]], list[str]]


class Killed(BaseException):
    """What a SIGKILL is to the code: nothing after it runs, no handler and no save."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `uninterrupted` keeps its runs."""
    return tmp_path_factory.mktemp("uninterrupted")


@pytest.fixture
def uninterrupted(fit: Fit, kept: Path) -> Callable[..., Path]:
    """`uninterrupted(epochs=3, **changes)`: the run of such a training, made once and not to be changed."""

    def uninterrupted(epochs: int = 3, **changes: Any) -> Path:
        run = kept / "-".join(map(str, (epochs, *changes.values())))
        if not run.exists():
            fit(run, draw=not changes, epochs=epochs, **changes)
        return run

    return uninterrupted


@pytest.mark.parametrize(
    "stop_after_step",
    [
        pytest.param(4, id="inside an epoch"),
        pytest.param(6, marks=pytest.mark.slow, id="after the last step of an epoch, before validation"),
    ],
)
def test_interrupted_equals_uninterrupted(
    fit: Fit,
    uninterrupted: Callable[..., Path],
    state: State,
    rows: Rows,
    differences: Differences,
    tmp_path: Path,
    stop_after_step: int,
) -> None:
    whole, parts = uninterrupted(), tmp_path / "parts"
    fit(parts, stop_after_step=stop_after_step)
    assert len(rows(parts)) == 1
    fit(parts, resume=True, draw=True)
    assert differences(state(whole), state(parts)) == []
    assert rows(whole) == rows(parts)
    assert (whole / "samples/epoch-0003.png").read_bytes() == (parts / "samples/epoch-0003.png").read_bytes()


def test_a_checkpoint_of_another_kind_of_device_is_gone_on_from(
    fit: Fit, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam is fused on CPU and CUDA, not on MPS."""
    with monkeypatch.context() as on_mps:
        on_mps.setattr(state_module, "make_optimiser", lambda model, _: torch.optim.Adam(model.parameters()))
        fit(tmp_path / "run", stop_after_step=4)
    fit(tmp_path / "run", resume=True)
    assert [row["bad_steps"] for row in rows(tmp_path / "run")] == [0, 0, 0]


EVERYTHING = {
    "schedule": "cosine",
    "lr_final": 0.1,
    "warmup_steps": 3,
    "weight_decay": 0.5,
    "accumulate": 2,
    "shift": 2,
    "balanced": True,
    "discriminative_weight": 0.1,
    "discriminative_share": 0.5,
    "patience": 9,
}


@pytest.mark.parametrize(
    "stop_after_step",
    [
        pytest.param(2, marks=pytest.mark.slow, id="while it warms up"),
        pytest.param(3, marks=pytest.mark.slow, id="after the last step of an epoch"),
        pytest.param(4, id="in the second epoch"),
    ],
)
def test_interrupted_equals_uninterrupted_with_everything_switched_on(
    fit: Fit,
    uninterrupted: Callable[..., Path],
    state: State,
    rows: Rows,
    differences: Differences,
    tmp_path: Path,
    stop_after_step: int,
) -> None:
    whole, parts = uninterrupted(2, **EVERYTHING), tmp_path / "parts"
    fit(parts, epochs=2, stop_after_step=stop_after_step, **EVERYTHING)
    fit(parts, epochs=2, resume=True, **EVERYTHING)
    assert differences(state(whole), state(parts)) == []
    assert rows(whole) == rows(parts)


@pytest.mark.slow  # `test_a_chain_of_calls_without_time_comes_to_an_end` and the two above are quicker
def test_stopped_and_resumed_after_every_step(
    fit: Fit, uninterrupted: Callable[..., Path], state: State, differences: Differences, tmp_path: Path
) -> None:
    whole, parts = uninterrupted(2), tmp_path / "parts"
    for step in range(1, 7):
        fit(parts, resume=step > 1, stop_after_step=step, epochs=2)
    fit(parts, resume=True, epochs=2)
    assert differences(state(whole), state(parts)) == []


def test_a_killed_training_goes_on_from_the_last_epoch(
    fit: Fit,
    uninterrupted: Callable[..., Path],
    recorder_class: Any,
    state: State,
    rows: Rows,
    differences: Differences,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killer(recorder_class):  # type: ignore[misc]
        def on_step(self, step: Any) -> None:
            if step.step == 8:
                raise Killed

    whole, parts = uninterrupted(), tmp_path / "parts"
    with pytest.raises(Killed):
        fit(parts, recorder=Killer())
    assert fit(parts, resume=True).steps[0].step == 7  # two steps were lost
    assert differences(state(whole), state(parts)) == []
    assert rows(whole) == rows(parts)


def test_an_interruption_during_validation_repeats_the_validation_alone(
    fit: Fit,
    uninterrupted: Callable[..., Path],
    state: State,
    rows: Rows,
    differences: Differences,
    tmp_path: Path,
    recorder_class: Any,
) -> None:
    class Impatient(recorder_class):  # type: ignore[misc]
        def activity(self, name: str) -> Any:
            def progress(done: int, total: int) -> None:
                if len(self.epochs) == 1:
                    self.stop.signal_number = 15

            return progress

    whole, parts = uninterrupted(), tmp_path / "parts"
    fit(parts, recorder=Impatient())
    assert len(rows(parts)) == 1
    assert fit(parts, resume=True).steps[0].step == 7
    assert differences(state(whole), state(parts)) == []
    assert rows(whole) == rows(parts)


def test_more_epochs_continue(
    fit: Fit, uninterrupted: Callable[..., Path], state: State, rows: Rows, differences: Differences, tmp_path: Path
) -> None:
    whole, parts = uninterrupted(), shutil.copytree(uninterrupted(2), tmp_path / "parts", symlinks=True)
    fit(parts, resume=True, epochs=3)
    assert differences(state(whole), state(parts)) == []
    assert [row["epoch"] for row in rows(parts)] == [1, 2, 3]
    assert rows(whole) == rows(parts)


def test_killed_between_the_checkpoint_and_its_record(
    fit: Fit, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MetricsLog.append

    def die_at_the_second(log: MetricsLog, record: Any) -> None:
        if record.epoch == 2:
            raise Killed
        original(log, record)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", die_at_the_second)
        with pytest.raises(Killed):
            fit(run)
    fit(run, resume=True)
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3]


def test_killed_between_the_record_and_its_checkpoint(
    fit: Fit, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = run_writer.save_checkpoint

    def die_at_the_second(run: Path, config: RunConfig, train_state: Any, **options: Any) -> Path:
        if train_state.progress.epoch == 2:
            raise Killed
        return original(run, config, train_state, **options)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run_writer, "save_checkpoint", die_at_the_second)
        with pytest.raises(Killed):
            fit(run)
    fit(run, resume=True)
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3]


def test_a_sparse_save_interval_leaves_no_duplicate(
    fit: Fit, rows: Rows, make_images: Callable[..., ImageSet], tmp_path: Path, recorder_class: Any
) -> None:
    class Killer(recorder_class):  # type: ignore[misc]
        def on_step(self, step: Any) -> None:
            if step.epoch == 4:
                raise Killed

    run = tmp_path / "run"
    # Epochs of one step, and no validation, so no best checkpoint in between.
    options: dict[str, Any] = {"images": make_images(8), "epochs": 6, "save_interval": 3, "eval_interval": 6}
    with pytest.raises(Killed):
        fit(run, recorder=Killer(), **options)
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3, 4]
    assert fit(run, resume=True, **options).steps[0].epoch == 3
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3, 4, 5, 6]


def test_learning_rate_and_moments_go_on(fit: Fit, state: State, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, stop_after_step=4)
    before = state(run)
    recorder = fit(run, resume=True, stop_after_step=5)
    assert recorder.steps[0].lr == pytest.approx(3e-3 * 0.9**4)
    assert float(before["optimiser.0.step"]) == 4
    assert float(state(run)["optimiser.0.step"]) == 5
    assert bool(before["optimiser.0.exp_avg"].any())


def test_a_changed_batch_size_keeps_the_clock(fit: Fit, rows: Rows, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, stop_after_step=4)  # 28 images: 8 of the second epoch are done
    recorder = fit(run, resume=True, batch_size=5)
    assert [step.images_seen for step in recorder.steps] == [33, 38, 40, 45, 50, 55, 60]
    assert [row["images_seen"] for row in rows(run)] == [20, 40, 60]
    assert sum(step.images_in_epoch == 20 for step in recorder.steps) == 2


@pytest.mark.parametrize(("field", "value"), [("beta1", 0.5), ("beta2", 0.7)])
def test_changed_moments_are_used(fit: Fit, state: State, tmp_path: Path, field: str, value: float) -> None:
    run = tmp_path / "run"
    fit(run, stop_after_step=1)
    fit(run, resume=True, stop_after_step=2, **{field: value})
    assert value in state(run)["optimiser.betas"], f"--{field} was accepted, and then ignored"


@pytest.mark.parametrize("count", [26, 14])
def test_a_data_set_of_another_size_is_not_mistaken_for_the_old_one(
    fit: Fit, uninterrupted: Callable[..., Path], make_images: Callable[..., ImageSet], tmp_path: Path, count: int
) -> None:
    """It is refused with both numbers, or the next epoch is one of the new images, each of them once."""
    run = shutil.copytree(uninterrupted(2), tmp_path / "run", symlinks=True)
    refusal, steps = "", []
    try:
        steps = fit(run, resume=True, epochs=3, images=make_images(count)).steps
    except CpixelcnnError as error:
        refusal = str(error)
    if refusal:
        assert {"20", str(count)} <= set(re.findall(r"\d+", refusal))
    else:
        assert steps[-1].images_seen - 40 == count


def test_links_point_to_sound_checkpoints_after_a_fallback(fit: Fit, tmp_path: Path, recorder_class: Any) -> None:
    run = tmp_path / "run"
    fit(run, stop_after_step=7)
    (checkpoint_paths(run)[-1] / "trainer.pt").write_bytes(b"")
    verified: list[str] = []

    class Looker(recorder_class):  # type: ignore[misc]
        def on_start(self, start: Any) -> None:
            verified.extend(link for link in ("last", "best") if verify_checkpoint(run / link))

    fit(run, resume=True, recorder=Looker())
    assert verified == ["last", "best"]


def test_resuming_moves_the_global_generator_nowhere_it_matters(
    fit: Fit, uninterrupted: Callable[..., Path], state: State, differences: Differences, tmp_path: Path
) -> None:
    whole, parts = uninterrupted(2), tmp_path / "parts"
    fit(parts, epochs=2, stop_after_step=2)
    torch.manual_seed(12345)
    fit(parts, epochs=2, resume=True)
    assert differences(state(whole), state(parts)) == []
