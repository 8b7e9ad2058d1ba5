"""TensorBoard and Weights & Biases, without a network: points by step, continued on resume, and never fatal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.errors import ConfigError
from cpixelcnn.training import trackers
from cpixelcnn.training.callbacks import Callbacks, StepRecord, TrainingStart
from cpixelcnn.training.trackers import TensorBoardTracker, Tracker, WandbTracker

Fit = Callable[..., Any]


class Memory(Tracker):
    """Keeps what it is to record."""

    name = "memory"

    def __init__(self, steps_per_point: int = 1) -> None:
        self.warnings: list[str] = []
        super().__init__(self.warnings.append, steps_per_point)
        self.points: list[tuple[int, dict[str, float]]] = []
        self.closed: list[bool] = []

    def open(self, start: TrainingStart) -> None: ...

    def log_scalars(self, figures: dict[str, float]) -> None:
        self.points.append((self.at_step, figures))

    def log_image(self, name: str, path: Path) -> None: ...

    def close(self, crashed: bool) -> None:
        self.closed.append(crashed)


@pytest.fixture
def track(fit: Fit, recorder_class: Callable[..., Any]) -> Callable[..., Any]:
    """Train as `fit` does, with a tracker; raises what the listener raises at `crash_at`."""

    class CrashError(Exception):
        pass

    def track(run: Path, tracker: Tracker, crash_at: int | None = None, **options: Any) -> Any:
        recorder = recorder_class(options.pop("stop_after_step", None))

        class Both(Callbacks):
            stop = recorder.stop

            def on_step(self, step: StepRecord) -> None:
                super().on_step(step)
                if step.step == crash_at:
                    raise CrashError

        try:
            with tracker:
                fit(run, recorder=Both([recorder, tracker]), **options)
        except CrashError:
            pass
        return recorder

    return track


def test_points_are_means_over_steps(track: Callable[..., Any], tmp_path: Path) -> None:
    memory = Memory(steps_per_point=2)
    steps = track(tmp_path / "run", memory, epochs=2).steps
    points = [(at, figures) for at, figures in memory.points if "step/lr" in figures]
    assert [at for at, _ in points] == [2, 4, 6]
    for (_, figures), pair in zip(points, (steps[:2], steps[2:4], steps[4:]), strict=True):
        assert figures["step/bits_per_dim"] == pytest.approx(sum(step.bits_per_dim for step in pair) / 2)
        assert figures["step/lr"] == pytest.approx(sum(step.lr for step in pair) / 2)
    assert [figures["epoch"] for _, figures in points] == pytest.approx([16 / 20, 1 + 8 / 20, 2])
    assert memory.closed == [False]


def test_the_figures_of_an_epoch(track: Callable[..., Any], tmp_path: Path) -> None:
    memory = Memory(steps_per_point=100)
    (first, _), (second, _) = track(tmp_path / "run", memory, epochs=2, eval_interval=2).epochs
    assert [at for at, _ in memory.points] == [3, 6]
    unvalidated, validated = (figures for _, figures in memory.points)
    assert not any(name.startswith("validation/") for name in unvalidated)
    assert unvalidated["training/bpd"] == first.train_bpd
    assert validated["validation/accuracy"] == second.accuracy
    assert validated["validation/bpd"] == second.validation_bpd
    assert validated["epoch"] == 2


def test_going_on_continues_the_curves(track: Callable[..., Any], tmp_path: Path) -> None:
    points = []
    for options in ({"stop_after_step": 4}, {"resume": True}):
        memory = Memory()
        track(tmp_path / "run", memory, epochs=2, **options)
        points += [at for at, figures in memory.points if "step/lr" in figures]
    assert points == [1, 2, 3, 4, 5, 6]


def test_a_failure_ends_the_recording_but_not_the_training(track: Callable[..., Any], tmp_path: Path) -> None:
    class Broken(Memory):
        def log_scalars(self, figures: dict[str, float]) -> None:
            super().log_scalars(figures)
            raise OSError("the disk is full")

    broken = Broken()
    recorder = track(tmp_path / "run", broken, epochs=1)
    assert len(recorder.steps) == 3
    assert len(broken.points) == 1
    assert broken.warnings == ["memory records no more: the disk is full"]
    assert broken.closed == [False]


def test_a_crash_is_told_of(track: Callable[..., Any], tmp_path: Path) -> None:
    memory = Memory()
    track(tmp_path / "run", memory, crash_at=2)
    assert memory.closed == [True]


@pytest.mark.parametrize(("tracker", "package"), [(TensorBoardTracker, "tensorboard"), (WandbTracker, "wandb")])
def test_a_missing_package_is_named(
    tracker: Callable[[], Tracker], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(trackers.importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=rf"pip install 'cpixelcnn\[{package}\]'"):
        tracker()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*")
def test_tensorboard(optional_module: Callable[[str], Any], track: Callable[..., Any], tmp_path: Path) -> None:
    """A call that was killed after its last checkpoint leaves points that TensorBoard hides."""
    accumulator = optional_module("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    track(run, TensorBoardTracker(steps_per_point=1), crash_at=5, draw=True, epochs=2, sample_interval=1)
    track(run, TensorBoardTracker(steps_per_point=1), resume=True, draw=True, epochs=2, sample_interval=1)
    assert len(list((run / "tensorboard").iterdir())) == 2
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("step/bits_per_dim")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("validation/accuracy")] == [3, 6]
    assert [event.step for event in events.Images("samples")] == [3, 6]
    text = events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    document = json.loads(text)
    assert document["model"]["nr_filters"] == 4


@pytest.fixture
def offline(optional_module: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Weights & Biases without a network, whatever the settings of whoever runs the tests."""
    wandb = optional_module("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("WANDB_DIR", raising=False)
    yield wandb
    wandb.teardown()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb.*", "ignore::DeprecationWarning:google.*")
def test_wandb_offline(offline: Any, track: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    track(run, WandbTracker(steps_per_point=1), draw=True, epochs=1)
    identifier = (run / "wandb" / "id").read_text().strip()
    (first,) = (run / "wandb").glob("offline-run-*")
    assert (first / f"run-{identifier}.wandb").stat().st_size > 0
    assert len(list(first.glob("files/media/images/samples_3_*.png"))) == 1
    assert offline.run is None
    track(run, WandbTracker(steps_per_point=1), epochs=2, resume=True)
    assert (run / "wandb" / "id").read_text().strip() == identifier


def test_wandb_gets_points_by_step(track: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[int, dict[str, Any]]] = []
    begun: list[dict[str, Any]] = []
    finished: list[int] = []

    class Run:
        def log(self, figures: dict[str, Any], step: int) -> None:
            logged.append((step, figures))

        def finish(self, exit_code: int) -> None:
            finished.append(exit_code)

    class Wandb:
        Settings, Image = dict, staticmethod(lambda pixels: pixels.shape)

        @staticmethod
        def init(**options: Any) -> Run:
            begun.append(options)
            return Run()

    monkeypatch.setattr(trackers, "_require", lambda _: Wandb)
    run = tmp_path / "run"
    track(run, WandbTracker(steps_per_point=1), epochs=2, stop_after_step=4)
    track(run, WandbTracker(steps_per_point=1), epochs=2, resume=True)
    assert [step for step, figures in logged if "step/lr" in figures] == [1, 2, 3, 4, 5, 6]
    assert [step for step, figures in logged if "validation/accuracy" in figures] == [3, 6]
    assert begun[0]["id"] == begun[1]["id"]
    assert begun[0]["config"]["train"]["epochs"] == 2
    assert begun[1]["resume"] == "allow"
    assert finished == [0, 0]
    track(tmp_path / "other", WandbTracker(), epochs=1)
    assert begun[2]["id"] != begun[0]["id"]


def test_wandb_that_cannot_be_reached(
    track: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Errors:
        class Error(Exception):
            pass

    class Wandb:
        Settings, errors = dict, Errors

        @staticmethod
        def init(**_: Any) -> None:
            raise Errors.Error("no API key\nmore")

    monkeypatch.setattr(trackers, "_require", lambda _: Wandb)
    with pytest.raises(ConfigError, match=r"`wandb`: no API key; .*WANDB_MODE=offline"):
        track(tmp_path / "run", WandbTracker(), epochs=1)
