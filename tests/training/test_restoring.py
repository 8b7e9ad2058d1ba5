"""A checkpoint that somebody changed, with its digests renewed: it is refused, and the one before it is used."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cpixelcnn.config import ModelConfig, RunConfig, TrainConfig
from cpixelcnn.errors import CheckpointError
from cpixelcnn.runs import layout
from cpixelcnn.training.checkpoint import find_checkpoint, locked, save_checkpoint
from cpixelcnn.training.restoring import checked_moments, checked_progress, read_training, restore
from cpixelcnn.training.state import TrainProgress, TrainState, create_state

Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def a_config() -> RunConfig:
    model = ModelConfig(nr_resnets=1, nr_filters=2, nr_logistic_mix=1, film="none", image_height=8, image_width=8)
    return RunConfig(dataclasses.replace(model, classes=("cat", "dog"), class_counts=(10, 10)))


@pytest.fixture(scope="module")
def saved(a_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainState, Path]:
    """A training after two steps, and its run with a checkpoint after each of them; not to be changed."""
    run = tmp_path_factory.mktemp("saved") / "run"
    state = create_state(a_config, None, torch.device("cpu"))
    with locked(run):
        for step in (1, 2):
            for parameter in state.model.parameters():
                parameter.grad = torch.full_like(parameter, 0.5)
            state.optimiser.step()
            state.progress = TrainProgress(step=step, images_seen=28, train_images=20, epoch=1, epoch_images=8)
            save_checkpoint(run, a_config, state, finished=False)
    return state, run


@pytest.fixture(scope="module")
def read(saved: tuple[TrainState, Path]) -> Any:
    """The content of the newer `trainer.pt`; not to be changed."""
    return torch.load(saved[1] / "last" / layout.TRAINER, weights_only=True)


@pytest.fixture
def stored(read: Any) -> Any:
    """The same for one test, which may exchange what is in it."""
    return copied(read)


def copied(part: Any) -> Any:
    """Other dictionaries and lists of the same tensors and numbers."""
    if isinstance(part, dict):
        return {key: copied(value) for key, value in part.items()}
    return [copied(each) for each in part] if isinstance(part, list) else part


@pytest.fixture
def checkpoints(saved: tuple[TrainState, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the older checkpoint and of the newer one."""
    older, newer = layout.checkpoint_paths(shutil.copytree(saved[1], tmp_path / "run", symlinks=True))
    return older, newer


@pytest.fixture
def state(a_config: RunConfig) -> TrainState:
    return create_state(a_config, None, torch.device("cpu"))


def change(stored: Any, keys: Sequence[Any], to: Change) -> None:
    """Change the part that these keys lead to."""
    for key in keys[:-1]:
        stored = stored[key]
    stored[keys[-1]] = to(stored.get(keys[-1]) if isinstance(stored, dict) else stored[keys[-1]])


def renew_digests(checkpoint: Path) -> None:
    manifest = layout.read_manifest(checkpoint)
    manifest["files"] = {name: layout.file_digest(checkpoint / name) for name in manifest["files"]}
    (checkpoint / layout.MANIFEST).write_text(json.dumps(manifest))


def assert_refused(checkpoints: tuple[Path, Path], state: TrainState) -> None:
    older, newer = checkpoints
    renew_digests(newer)
    with pytest.raises(CheckpointError, match="step-00000002"):
        restore(newer, state)
    found = find_checkpoint(newer.parent.parent)
    assert found is not None
    assert found.path == older
    assert "step-00000002" in found.warnings[0]


TENSORS: dict[str, Change] = {
    "three elements": lambda _: torch.zeros(3),
    "none": lambda moment: moment[:0],
    "a row less": lambda moment: moment[1:],
    "a row more": lambda moment: torch.cat([moment, moment[:1]]),
    "one dimension": lambda moment: moment.flatten(),
    "another dimension": lambda moment: moment[None],
    "double": lambda moment: moment.double(),
    "half": lambda moment: moment.half(),
    "bfloat16": lambda moment: moment.bfloat16(),
    "whole numbers": lambda moment: moment.int(),
    "complex": lambda moment: moment.to(torch.complex64),
    "float8": lambda moment: moment.to(torch.float8_e5m2),
    "sparse": lambda moment: moment.to_sparse(),
    "without memory": lambda moment: moment.to("meta"),
    "NaN": lambda moment: moment * torch.nan,
    "infinite": lambda moment: moment + torch.inf,
    "one NaN": lambda moment: moment.flatten().index_fill(0, torch.tensor([1]), torch.nan).view(moment.shape),
    "a number": lambda _: 0.5,
    "nothing": lambda _: None,
    "text": lambda _: "moment",
    "a list": lambda moment: moment.tolist(),
}


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("wrong", TENSORS)
def test_moments(saved: tuple[TrainState, Path], stored: Any, name: str, wrong: str) -> None:
    """Moments that are smaller than their parameter had Adam write beyond them, which ended the process at best."""
    parameters = list(saved[0].model.parameters())
    number = next(i for i, parameter in enumerate(parameters) if parameter.dim() == 4)
    change(stored, ("optimiser", "state", number, name), TENSORS[wrong])
    with pytest.raises(ValueError, match=name):
        checked_moments(stored["optimiser"], parameters)


OPTIMISER: list[tuple[tuple[Any, ...], Change]] = [
    (("state", 3, "exp_avg_sq"), lambda moment: -1 - moment),
    (("state", 3, "step"), lambda step: -step),
    (("state", 3, "step"), lambda step: step * torch.nan),
    (("state", 3, "step"), lambda step: step[None]),
    (("state", 3, "step"), lambda step: step.double()),
    (("state", 3, "step"), lambda step: float(step)),
    (("state", 3, "max_exp_avg_sq"), lambda _: torch.zeros(3)),
    (("state", 3), lambda _: {}),
    (("state", 3), lambda _: None),
    (("state", 3), lambda moments: {name: moments[name] for name in ("step", "exp_avg")}),
    (("state", 3), lambda moments: list(moments.values())),
    (("state", 10**6), lambda _: {}),
    (("state", -1), lambda _: {}),
    (("state", "3"), lambda _: {}),
    (("state",), lambda _: None),
    (("state",), lambda _: []),
    (("state",), lambda state: {number: state[number] for number in list(state)[:-1]}),
    (("state",), lambda state: {number + 1: state[number] for number in state}),
    (("state",), lambda state: {str(number): state[number] for number in state}),
    (("state",), lambda _: "text"),
]


@pytest.mark.parametrize(("keys", "to"), OPTIMISER)
def test_the_optimisers_state(saved: tuple[TrainState, Path], stored: Any, keys: tuple[Any, ...], to: Change) -> None:
    change(stored, ("optimiser", *keys), to)
    with pytest.raises(ValueError, match=r"optimiser|step|exp_avg|state"):
        checked_moments(stored["optimiser"], list(saved[0].model.parameters()))


@pytest.mark.parametrize("content", [None, [], {}, "text", 1.0, torch.zeros(3), {"optimiser": {}}])
def test_no_state_at_all(checkpoints: tuple[Path, Path], state: TrainState, content: Any) -> None:
    torch.save(content, checkpoints[1] / layout.TRAINER)
    assert_refused(checkpoints, state)


@pytest.mark.parametrize("keys", [("optimiser", "state", 3, "exp_avg"), ("progression", "step")])
def test_a_wrong_value_has_the_checkpoint_before_it_used(
    checkpoints: tuple[Path, Path], state: TrainState, stored: Any, keys: tuple[Any, ...]
) -> None:
    change(stored, keys, lambda _: torch.zeros(3))
    torch.save(stored, checkpoints[1] / layout.TRAINER)
    assert_refused(checkpoints, state)
    with pytest.raises(CheckpointError, match=r"no checkpoint .* is undamaged"):
        find_checkpoint(checkpoints[1])


@pytest.mark.parametrize("file", [layout.WEIGHTS, layout.EMA_WEIGHTS])
@pytest.mark.parametrize("wrong", ["three elements", "a row more", "double", "half", "float8", "one NaN", "infinite"])
def test_weights_and_average(checkpoints: tuple[Path, Path], state: TrainState, file: str, wrong: str) -> None:
    path = checkpoints[1] / file
    header = {"cpixelcnn_config": (checkpoints[1] / "config.json").read_text()}
    tensors = load_file(path)
    tensors["u_in.v"] = TENSORS[wrong](tensors["u_in.v"]).contiguous()
    save_file(tensors, path, header)
    assert_refused(checkpoints, state)


@pytest.mark.parametrize("file", [layout.WEIGHTS, layout.EMA_WEIGHTS])
@pytest.mark.parametrize("change", [lambda t: t.pop("u_in.v"), lambda t: t.update(stray=torch.zeros(1))])
def test_tensors_that_are_missing_or_too_many(
    checkpoints: tuple[Path, Path], state: TrainState, file: str, change: Change
) -> None:
    path = checkpoints[1] / file
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"cpixelcnn_config": (checkpoints[1] / "config.json").read_text()})
    assert_refused(checkpoints, state)


OF_EVERY_FIELD = [None, "text", [], {"a": "b"}, torch.zeros(()), True, math.nan, math.inf, b"bytes", {1: 2.0}, 2**63]
PROGRESS: list[tuple[str, Any]] = [
    *((name, value) for name in vars(TrainProgress()) for value in OF_EVERY_FIELD),
    *((name, value) for name in ("step", "images_seen", "epoch", "train_images", "threads") for value in (-1, 1.0)),
    ("best_step", -2),
    ("best", {"accuracy": math.nan}),
    ("best", {"accuracy": None}),
    ("epoch", 2),
    ("epoch", 0),
    ("images_seen", 41),
    ("images_seen", 19),
    ("epoch_images", 9),
    ("unknown", 1),
]


def fits(name: str, value: Any) -> bool:
    """Whether a field can have this value after all."""
    default = getattr(TrainProgress(), name, None)
    return (isinstance(default, str) and isinstance(value, str)) or (isinstance(default, float) and value == 2**63)


@pytest.mark.parametrize(("name", "value"), [case for case in PROGRESS if not fits(*case)])
def test_progress(stored: Any, name: str, value: Any) -> None:
    change(stored, ("progression", name), lambda _: value)
    with pytest.raises(ValueError, match=r"the progress .*"):
        checked_progress(stored["progression"])


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.builds(torch.zeros, st.integers(0, 3))
NAMES = st.sampled_from(["state", "param_groups", "exp_avg", "exp_avg_sq", "step", "epoch", 0, 1, 3]) | st.text()
JUNK = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    junk=JUNK,
    keys=st.sampled_from([("optimiser",), ("optimiser", "state"), ("optimiser", "state", 3), ("progression",)]),
)
def test_anything_at_all(checkpoints: tuple[Path, Path], read: Any, keys: tuple[Any, ...], junk: Any) -> None:
    """It is read, or it is a `CheckpointError`."""
    newer, content = checkpoints[1], copied(read)
    change(content, keys, lambda _: junk)
    torch.save(content, newer / layout.TRAINER)
    with suppress(CheckpointError):
        read_training(newer)


def test_the_layout_in_memory_is_the_parameters(checkpoints: tuple[Path, Path], state: TrainState, stored: Any) -> None:
    """A moment that is one number for all, or in another layout: Adam goes through memory, not through indices."""
    parameters = list(state.model.parameters())
    number, parameter = next((i, p) for i, p in enumerate(parameters) if p.dim() == 4 and not p.is_contiguous())
    expected = {"exp_avg": torch.rand(1).expand(parameter.shape), "exp_avg_sq": torch.rand(parameter.shape)}
    for name, moment in expected.items():
        assert moment.stride() != parameter.stride()
        change(stored, ("optimiser", "state", number, name), lambda _, moment=moment: moment)  # type: ignore[misc]
    torch.save(stored, checkpoints[1] / layout.TRAINER)
    restore(checkpoints[1], state)
    for name, moment in expected.items():
        restored = state.optimiser.state[parameter][name]
        assert restored.stride() == parameter.stride()
        assert torch.equal(restored, moment)


def test_the_optimisers_options_are_not_the_checkpoints(
    checkpoints: tuple[Path, Path], a_config: RunConfig, stored: Any
) -> None:
    hostile = {"amsgrad": True, "capturable": True, "eps": "small", "betas": None, "maximize": True, "fused": None}
    change(stored, ("optimiser", "param_groups", 0), lambda group: group | hostile)
    torch.save(stored, checkpoints[1] / layout.TRAINER)
    config = dataclasses.replace(a_config, train=TrainConfig(beta1=0.5))
    state = create_state(config, None, torch.device("cpu"))
    before = dict(state.optimiser.param_groups[0])
    restore(checkpoints[1], state)
    after = dict(state.optimiser.param_groups[0])
    assert (before.pop("lr"), after.pop("lr")) == (TrainConfig.lr, state.progress.lr)
    assert all(one is other for one, other in zip(before.pop("params"), after.pop("params"), strict=True))
    assert after == before
    assert after["betas"] == (0.5, TrainConfig.beta2)


def test_sound_checkpoints_are_restored_exactly(saved: tuple[TrainState, Path], state: TrainState) -> None:
    restore(saved[1] / "last", state)
    assert state.progress == saved[0].progress
    for mine, theirs in zip(saved[0].model.parameters(), state.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        ours = (saved[0].optimiser.state[mine], state.optimiser.state[theirs])
        assert ours[0].keys() == ours[1].keys()
        assert all(torch.equal(ours[0][name], ours[1][name]) for name in ours[0])


def test_before_the_first_step_there_are_no_moments(tmp_path: Path, a_config: RunConfig, state: TrainState) -> None:
    with locked(tmp_path / "run"):
        restore(save_checkpoint(tmp_path / "run", a_config, state, finished=False), state)
    assert not state.optimiser.state
