"""One step: it reads nothing that the device computes, and a gradient that is not finite changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.distributed import ALONE
from cpixelcnn.training import state as state_module
from cpixelcnn.training.batches import BatchSource
from cpixelcnn.training.objective import Objective
from cpixelcnn.training.parallel import Agreement, ParallelNetwork
from cpixelcnn.training.state import create_state
from cpixelcnn.training.step import TrainingStep
from cpixelcnn.training.stopping import StopRequest, TimeBudget

CPU = torch.device("cpu")
aten = torch.ops.aten
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.is_nonzero.default, aten.equal.default}


class NothingIsRead(TorchDispatchMode):
    """Refuses what, of a tensor on a GPU, would wait for the GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in WAITING, func
        return func(*args, **(kwargs or {}))


@pytest.fixture
def make_step(config: Callable[..., RunConfig], train_set: ImageSet) -> Callable[..., TrainingStep]:
    def make(**changes: Any) -> TrainingStep:
        run_config = config(**changes)
        train_state = create_state(run_config, train_set, CPU)
        parallel = ParallelNetwork(train_state.model, ALONE)
        agreement = Agreement(ALONE, StopRequest(), TimeBudget(0.0))
        feed, objective = BatchSource(train_set, run_config.train, CPU), Objective(run_config, "float32", CPU)
        return TrainingStep(run_config, train_state, feed, objective, parallel, agreement)

    return make


@pytest.mark.parametrize("changes", [{}, {"accumulate": 3, "weight_decay": 0.1, "shift": 1, "horizontal_flip": True}])
def test_nothing_is_read_from_the_device(make_step: Callable[..., TrainingStep], changes: dict[str, Any]) -> None:
    step = make_step(**changes)
    with NothingIsRead():
        figures = [step(torch.arange(8), 8 * number, number, 1e-3) for number in range(3)]
    assert all(bool(each.isfinite().all()) for each in figures)
    with NothingIsRead(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        float(figures[0][0])  # it would notice


@pytest.mark.parametrize("fused", [True, False])
def test_an_unsound_gradient_changes_nothing_and_a_sound_one_does(
    make_step: Callable[..., TrainingStep], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fused:  # as on MPS
        monkeypatch.setattr(state_module, "make_optimiser", lambda model, _: torch.optim.Adam(model.parameters()))
    step = make_step(weight_decay=0.1)
    train_state = step.state
    assert bool(train_state.optimiser.defaults["fused"]) == fused
    step(torch.arange(8), 0, 0, 1e-3)

    def state() -> list[torch.Tensor]:
        moments = [number for each in train_state.optimiser.state.values() for number in each.values()]
        return [tensor.detach().clone() for tensor in (*train_state.model.parameters(), *moments)]

    for spoiled in (True, False):
        before = state()
        if spoiled:
            hook = train_state.model.out.b.register_hook(lambda gradient: gradient * torch.nan)
        figures = step(torch.arange(8), 8, 1, 1e-3)
        same = all(torch.equal(one, other) for one, other in zip(state(), before, strict=True))
        assert same == spoiled
        assert bool(figures.isfinite().all()) != spoiled
        hook.remove()
    assert all(bool(parameter.isfinite().all()) for parameter in train_state.ema.model.parameters())
