"""The Python interface of the training: strings, presets, arrays of one's own, resuming and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cpixelcnn
from cpixelcnn import Callback, ConfigError, DataError, ImageSet, Interrupted, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.errors import NonFiniteError
from cpixelcnn.runs.kept_checkpoints import kept_checkpoints
from cpixelcnn.runs.layout import checkpoint_paths
from cpixelcnn.training import validation as between_epochs

SMALL = ModelConfig(nr_filters=4, nr_logistic_mix=2, class_embedding_dim=4)
ONE_EPOCH = RunConfig(SMALL, train=TrainConfig(epochs=1, batch_size=8, precision="float32"))


@pytest.fixture(autouse=True)
def no_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(between_epochs, "save_samples", lambda *_: None)
    monkeypatch.setattr("cpixelcnn.training.run_writer.save_samples", lambda *_: Path("none"))


def test_strings_and_arrays(train_set: ImageSet, validation_set: ImageSet, tmp_path: Path) -> None:
    """Sizes and classes come from the images, and the run does not claim a data set that others could load."""
    run = tmp_path / "run"
    result = cpixelcnn.train(ONE_EPOCH, train_set, validation_set, str(run), device="cpu")
    assert (result.run, result.finished, result.best_epoch) == (run, True, 1)
    stored = json.loads((run / "config.json").read_text())
    assert stored["data"]["dataset"] == "arrays"
    assert (stored["model"]["image_height"], stored["model"]["classes"]) == (8, ["cat", "dog"])
    with pytest.raises(ConfigError, match=r"arrays .* `dataset`"):
        cpixelcnn.load_split(RunConfig.from_json(stored).data, "test")
    assert cpixelcnn.load(run).config.nr_filters == 4


def test_resuming_by_name_of_the_run(train_set: ImageSet, validation_set: ImageSet, tmp_path: Path) -> None:
    run, options = tmp_path / "run", {"device": "cpu"}
    images = (train_set, validation_set)
    with pytest.raises(ConfigError, match="pass a configuration"):
        cpixelcnn.train(None, *images, run, resume="auto", **options)
    cpixelcnn.train(ONE_EPOCH, *images, run, resume="auto", **options)
    with pytest.raises(ConfigError, match="already holds a run"):
        cpixelcnn.train(ONE_EPOCH, *images, run, **options)
    two = RunConfig(SMALL, train=TrainConfig(epochs=2, batch_size=8, precision="float32"))
    assert cpixelcnn.train(two, *images, resume=run, **options).run == run
    assert cpixelcnn.train(None, *images, resume=run, **options).best
    wider = RunConfig(ModelConfig(nr_filters=5, nr_logistic_mix=2, class_embedding_dim=4))
    with pytest.raises(ConfigError, match="`nr_filters` 5 contradicts the checkpoint, which has 4"):
        cpixelcnn.train(wider, *images, resume=run, **options)


def test_presets_and_models_are_configurations(train_set: ImageSet, validation_set: ImageSet, tmp_path: Path) -> None:
    for config, filters in (("tiny", 24), (SMALL, 4), (cpixelcnn.preset_config("tiny"), 24)):
        run = tmp_path / str(len(list(tmp_path.iterdir())))
        stop = cpixelcnn.training.stopping.StopRequest()
        stop.signal_number = signal.SIGINT
        with pytest.raises(Interrupted):
            cpixelcnn.train(config, train_set, validation_set, run, device="cpu", stop=stop)
        assert json.loads((run / "config.json").read_text())["model"]["nr_filters"] == filters


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_raises(
    train_set: ImageSet, validation_set: ImageSet, tmp_path: Path, number: signal.Signals
) -> None:
    class Killer(Callback):
        def on_step(self, step: Any) -> None:
            os.kill(os.getpid(), number)

    outside = signal.signal(number, before := signal.default_int_handler)  # under nohup SIGHUP would be ignored
    try:
        with pytest.raises(Interrupted, match="resume with") as caught:
            cpixelcnn.train(ONE_EPOCH, train_set, validation_set, tmp_path / "run", device="cpu", callbacks=[Killer()])
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, outside)
    assert caught.value.exit_code == 128 + number
    assert len(checkpoint_paths(tmp_path / "run")) == 1


def test_in_another_thread(train_set: ImageSet, validation_set: ImageSet, tmp_path: Path) -> None:
    """Where no signal can be handled."""
    results: list[Any] = []
    arguments = (ONE_EPOCH, train_set, validation_set, tmp_path / "run")
    worker = threading.Thread(target=lambda: results.append(cpixelcnn.train(*arguments, device="cpu")))
    worker.start()
    worker.join()
    assert results[0].finished


def test_other_images_of_equal_number_are_refused(
    make_images: Callable[..., ImageSet], fit: Callable[..., Any], tmp_path: Path
) -> None:
    fit(tmp_path / "run", epochs=1)
    with pytest.raises(DataError, match="not those that this run was trained on"):
        fit(tmp_path / "run", resume=True, epochs=2, images=make_images(20, seed=5))
    fit(tmp_path / "run", resume=True, epochs=2)


def test_weights_that_are_not_finite_are_not_saved(fit: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="smaller `lr`"):
        fit(tmp_path / "run", epochs=1, lr=3e38, lr_decay=1.0)
    assert checkpoint_paths(tmp_path / "run") == []


def test_what_a_killed_call_left_is_removed(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(tmp_path / "run", epochs=1)
    leftover = tmp_path / "run" / ".curves.png.abc.tmp"
    leftover.write_bytes(b"half a picture")
    fit(tmp_path / "run", resume=True, epochs=2)
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("1", [5]),
        pytest.param(2, [4, 5], marks=pytest.mark.slow),
        pytest.param("all", [1, 2, 3, 4, 5], marks=pytest.mark.slow),
        ("every:3", [3, 4, 5]),
    ],
)
def test_how_many_checkpoints_are_kept(fit: Callable[..., Any], tmp_path: Path, keep: object, left: list[int]) -> None:
    fit(tmp_path / "run", epochs=5, batch_size=20, eval_interval=5, keep_checkpoints=keep)
    names = [path.name for path in checkpoint_paths(tmp_path / "run")]
    assert [int(name.removeprefix("step-")) for name in names] == left


def test_epochs_are_kept_at_intervals_across_interruptions(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Three steps an epoch: what is saved in the middle of the third epoch, at step 8, is not kept as the second."""
    run, options = tmp_path / "run", {"eval_interval": 6, "keep_checkpoints": "every:2"}

    def steps() -> list[int]:
        return [int(path.name.removeprefix("step-")) for path in checkpoint_paths(run)]

    fit(run, epochs=6, stop_after_step=8, **options)
    assert steps() == [6, 8]
    fit(run, epochs=6, resume=True, **options)
    assert steps() == [6, 12, 15, 18]
    kept, damaged = kept_checkpoints(run)
    assert [each.epoch for each in kept] == [2, 4, 5, 6]
    assert not damaged


def test_help_shows_every_field() -> None:
    for config in (ModelConfig, TrainConfig, cpixelcnn.DataConfig):
        assert all(f"    {name}: " in str(config.__doc__) for name in config.__dataclass_fields__)
    assert "    lr: Learning rate of Adam. Default: 0.001." in str(TrainConfig.__doc__).replace("learning", "Learning")


def test_devices_by_name(train_set: ImageSet, validation_set: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cuda:77"):
        cpixelcnn.train(ONE_EPOCH, train_set, validation_set, tmp_path / "run", device="cuda:77")
    assert not (tmp_path / "run").exists()
