"""What a training will do, given what was asked for and what is there already."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import CheckpointError, ConfigError, CpixelcnnError
from cpixelcnn.presets import PRESETS
from cpixelcnn.runs.layout import checkpoint_paths, read_manifest
from cpixelcnn.training.plan import Plan, Request, claim_directory, config_for_images, make_plan, plan_call


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def run(finished_run: Path, fit: Callable[..., Any], tmp_path: Path) -> Path:
    """A finished run of two epochs (three steps each), a copy for every test."""
    if not finished_run.exists():
        fit(finished_run, epochs=2)
    return shutil.copytree(finished_run, tmp_path / "run", symlinks=True)


def test_a_fresh_run_takes_defaults_from_the_default_preset() -> None:
    plan = make_plan(Request(model={"nr_filters": 10}, train={"lr": 0.5}))
    assert plan.run == Path("runs/embedded-tiny-1")
    assert (plan.config.model.nr_filters, plan.config.model.nr_resnets) == (10, 1)
    assert (plan.config.train.lr, plan.config.train.epochs) == (0.5, PRESETS["tiny"].train["epochs"])
    assert plan.checkpoint is None
    assert not plan.finished
    assert plan.images_seen == 0
    assert not Path("runs").exists()


def test_new_runs_are_numbered() -> None:
    Path("runs/embedded-report-1").mkdir(parents=True)
    assert make_plan(Request().with_preset("report")).run == Path("runs/embedded-report-2")
    assert make_plan(Request(data={"dataset": "mnist"})).run == Path("runs/mnist-tiny-1")


def test_flags_win_over_the_preset() -> None:
    request = Request(model={"nr_filters": 7}, train={"epochs": 3}).with_preset("report")
    config = make_plan(request).config
    assert (config.model.nr_resnets, config.model.nr_filters, config.model.nr_logistic_mix) == (5, 7, 10)
    assert (config.train.epochs, config.train.batch_size) == (3, 32)


def test_an_unconditional_model_needs_no_classes(make_images: Callable[..., ImageSet]) -> None:
    plan = make_plan(Request(model={"early_fusion": "none", "film": "none"}))
    assert not plan.config.model.conditional
    assert plan.config.model.classes == ()


def test_images_complete_the_configuration(train_set: ImageSet) -> None:
    config = config_for_images(make_plan(Request()).config, train_set)
    model = config.model
    assert (model.image_channels, model.image_height, model.image_width) == (3, 8, 8)
    assert (model.classes, model.class_counts) == (("cat", "dog"), (10, 10))


def test_a_run_is_not_overwritten(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"already holds a run.*`resume`.*`run`"):
        make_plan(Request(), out=run)


def test_auto_starts_where_there_is_nothing(tmp_path: Path) -> None:
    assert make_plan(Request(), resume="auto").checkpoint is None
    plan = make_plan(Request(), out=tmp_path / "empty", resume="auto")
    assert plan.run == tmp_path / "empty"
    assert plan.checkpoint is None


def test_auto_goes_on(run: Path) -> None:
    plan = make_plan(Request(train={"epochs": 5}), out=run, resume="auto")
    assert plan.run == run
    assert plan.checkpoint == checkpoint_paths(run)[-1]
    assert plan.images_seen == 40
    assert not plan.finished
    assert plan.config.train.epochs == 5
    assert plan.config.model.nr_filters == 4


def test_auto_takes_the_newest_run(run: Path) -> None:
    shutil.copytree(run, "runs/a", symlinks=True)
    plan = make_plan(Request(), resume="auto")
    assert plan.run == Path("runs/a")
    assert plan.finished


def test_a_finished_run_is_finished_until_more_is_asked_for(run: Path) -> None:
    assert make_plan(Request(), out=run, resume="auto").finished
    assert make_plan(Request(train={"epochs": 2}), resume=str(run)).finished
    assert not make_plan(Request(train={"epochs": 3}), resume=str(run)).finished


def test_a_checkpoint_directory_will_do(run: Path) -> None:
    plan = make_plan(Request(), resume=str(checkpoint_paths(run)[-1]))
    assert plan.run == run
    assert plan.images_seen == 40
    with pytest.raises(CheckpointError, match="later checkpoints"):
        make_plan(Request(), resume=str(checkpoint_paths(run)[0]))


def attempt(**arguments: Any) -> Plan | str:
    """The plan, or the message of the error that a user would see."""
    try:
        return make_plan(Request(), **arguments)
    except CpixelcnnError as error:
        return str(error)


def test_the_links_will_do(run: Path) -> None:
    """`last` is what people see in the directory, so they type it."""
    plan = make_plan(Request(), resume=str(run / "last"))
    assert plan.run.resolve() == run.resolve()
    assert plan.images_seen == 40
    best = attempt(resume=str(run / "best"))
    if isinstance(best, str):
        assert "later checkpoints" in best
    else:
        assert best.run.resolve() == run.resolve()


def test_a_lone_copy_of_a_checkpoint_is_an_error_or_goes_on(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint_paths(run)[-1], tmp_path / "copies" / "step-00000006")
    result = attempt(resume=str(copy))
    assert "step-00000006" in result if isinstance(result, str) else result.images_seen == 40


def test_out_beside_a_path_to_resume_is_not_ignored(run: Path, tmp_path: Path) -> None:
    """It goes on elsewhere, or refuses: but it does not write to a directory that --out does not name."""
    result = attempt(out=tmp_path / "elsewhere", resume=str(run))
    assert "`run`" in result if isinstance(result, str) else result.run == tmp_path / "elsewhere"


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent: there is no such run"):
        make_plan(Request(), resume=str(tmp_path / "absent"))
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        make_plan(Request(), resume=str(tmp_path))


def test_a_damaged_checkpoint_is_passed_over_and_named(run: Path) -> None:
    newest = checkpoint_paths(run)[-1]
    (newest / "trainer.pt").write_bytes(b"")
    for plan in (make_plan(Request(), resume=str(run)), make_plan(Request(), out=run, resume="auto")):
        assert plan.checkpoint == checkpoint_paths(run)[0]
        assert plan.images_seen == 20
        assert len(plan.warnings) == 1
        assert f"{newest.name}/trainer.pt" in plan.warnings[0]


@pytest.mark.parametrize(
    ("part", "field", "asked", "flag", "stored"),
    [
        ("model", "nr_filters", 9, "`nr_filters` 9", "4"),
        ("model", "dropout", 0.25, "`dropout` 0.25", "0.5"),
        ("model", "film", "mlp", "`film` mlp", "linear"),
        ("data", "dataset", "mnist", "`dataset` mnist", "embedded"),
        ("data", "split_seed", 3, "`split_seed` 3", "0"),
        ("data", "image_size", 16, "`image_size` 16", "None"),
        ("data", "crops", 1, "`crops` 1", "0"),
        ("train", "seed", 8, "`seed` 8", "0"),
        ("train", "ema_decay", 0.5, "`ema_decay` 0.5", "0.9"),
    ],
)
def test_contradictions_name_the_flag_and_both_values(
    run: Path, part: str, field: str, asked: object, flag: str, stored: str
) -> None:
    request = Request(**{part: {field: asked}})
    with pytest.raises(ConfigError) as caught:
        make_plan(request, resume=str(run))
    assert str(caught.value).startswith(f"{flag} contradicts the checkpoint, which has {stored}")


def test_what_is_repeated_or_may_change_is_no_contradiction(run: Path) -> None:
    request = Request(
        model={"nr_filters": 4, "early_fusion": "vector"},
        data={"data_dir": "/elsewhere", "skip_bad": True},
        train={"batch_size": 64, "lr": 0.5, "seed": 0, "epochs": 9},
    )
    config = make_plan(request, resume=str(run)).config
    assert (config.train.batch_size, config.train.lr, config.train.epochs) == (64, 0.5, 9)
    assert (config.data.data_dir, config.data.skip_bad) == ("/elsewhere", True)
    assert config.train.lr_decay == 0.9  # the checkpoint's


@pytest.mark.parametrize("every", [12, pytest.param(3, marks=pytest.mark.slow)])
def test_a_manifest_with_a_byte_flipped_is_no_internal_error(run: Path, every: int) -> None:
    manifest = checkpoint_paths(run)[-1] / "manifest.json"
    sound = manifest.read_bytes()
    assert read_manifest(manifest.parent)["finished"] is True
    start = sound.index(b'"files"')
    for position in [*range(0, start, every), *range(start, len(sound), 20 * every)]:
        manifest.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        try:
            plan = make_plan(Request(), resume=str(run))
        except CpixelcnnError:
            continue
        assert plan.images_seen in (20, 40) or plan.checkpoint == manifest.parent


def test_sizes_and_classes_come_from_the_images(train_set: ImageSet) -> None:
    planned = make_plan(Request()).config
    assert planned.model == ModelConfig(**PRESETS["tiny"].model)
    completed = config_for_images(planned, train_set).model
    assert completed.classes == ("cat", "dog")
    assert (completed.image_height, completed.image_width) == (8, 8)


def test_two_trainings_that_start_together_get_two_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = make_plan(Request()).run, make_plan(Request()).run
    assert first == second
    assert [claim_directory(first), claim_directory(second)] == [
        Path("runs/embedded-tiny-1"),
        Path("runs/embedded-tiny-2"),
    ]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(data={"dataset": "folder", "train_size": 5}), "`train_size` is for the embedded data set, not"),
        (Request(train={"accumulate": 99, "batch_size": 8}), "`accumulate` 99 is more than the 8 images"),
    ],
)
def test_options_without_effect_are_refused(request_: Request, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(request_)


def test_a_folder_of_somebodys_own_is_left_alone(tmp_path: Path, train_set: ImageSet) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    assert make_plan(Request(), out=folder).run == folder  # as good as empty
    (folder / "cat.png").touch()
    for resume in (None, "auto"):
        with pytest.raises(ConfigError, match=r"images holds cat.png, and no run; choose another `run`"):
            make_plan(Request(), out=folder, resume=resume)
        with pytest.raises(ConfigError, match="and no run"):
            plan_call("tiny", train_set, run=folder, resume=resume)
    (folder / "train.log").touch()  # a training that was killed before its first checkpoint
    assert make_plan(Request(), out=folder).run == folder
