"""The network through torch.compile: when, of what, and what happens where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.model.network import PixelCNN
from cpixelcnn.training import compilation
from cpixelcnn.training.compilation import CompiledNetwork, choose_compilation

CPU = torch.device("cpu")
Fit = Callable[..., Any]


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("name", "device", "wanted"),
    [
        ("auto", "cuda", False),
        ("auto", "cpu", False),
        ("auto", "mps", False),
        ("on", "cpu", True),
        ("off", "cuda", False),
    ],
)
def test_auto_does_not_compile(name: str, device: str, wanted: bool) -> None:
    choice = choose_compilation(name, torch.device(device))
    assert choice.wanted == wanted
    assert choice.reason == "as asked" or choice.reason.startswith("auto: ")


@pytest.mark.parametrize(
    "options",
    [
        {"early_fusion": "template", "film": "mlp"},
        pytest.param({}, marks=pytest.mark.slow),  # the same graph without a template
        pytest.param({"early_fusion": "none", "film": "none"}, marks=pytest.mark.slow),  # a part of the first
        pytest.param({"nr_resnets": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_network_is_one_graph_that_computes_the_same(
    make_model: Callable[..., PixelCNN], options: dict[str, Any]
) -> None:
    model = make_model(dropout=0.0, perturb=0.1, **options).train()
    x = torch.rand(2, 3, 4, 4) * 2 - 1
    labels = torch.tensor([0, 1]) if model.config.conditional else None
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(x, labels), model(x, labels))


def test_its_dropout_has_the_rate_and_the_seed(make_model: Callable[..., PixelCNN]) -> None:
    dropout = next(module for name, module in make_model(dropout=0.25).train().named_modules() if "dropout" in name)
    compiled = torch.compile(dropout, backend="eager", fullgraph=True)
    x = torch.ones(4, 8, 16, 16)
    torch.manual_seed(1)
    one = compiled(x)
    assert one.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float((one > 0).float().mean()) == pytest.approx(0.75, abs=0.03)
    torch.manual_seed(1)
    assert torch.equal(compiled(x), one)
    torch.manual_seed(2)
    assert not torch.equal(compiled(x), one)


@pytest.fixture
def compiled_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces torch.compile by what only notes the sizes of the batches."""
    sizes: list[int] = []

    def compile(network: Any, **options: Any) -> Callable[..., Tensor]:
        assert options == {"dynamic": False}

        def call(x: Tensor, labels: Tensor) -> Tensor:
            sizes.append(len(x))
            result: Tensor = network(x, labels)
            return result

        return call

    monkeypatch.setattr(compilation.torch, "compile", compile)
    return sizes


@pytest.mark.parametrize(
    ("options", "trial", "steps"),
    [
        ({}, [8], [8, 8]),
        pytest.param({"accumulate": 2}, [4], [4, 4, 4, 4], marks=pytest.mark.slow),
        ({"accumulate": 3}, [3], [3, 3, 3, 3]),
        ({"discriminative_weight": 1.0}, [6, 2, 2], [6, 2, 2, 6, 2, 2]),  # one wrong class
    ],
)
def test_the_sizes_of_full_batches_go_through_it(
    fit: Fit,
    tmp_path: Path,
    compiled_sizes: list[int],
    options: dict[str, Any],
    trial: list[int],
    steps: list[int],
) -> None:
    fit(tmp_path / "run", epochs=1, compile="on", **options)  # batches of 8, 8 and 4
    assert compiled_sizes == trial + steps
    call = json.loads((tmp_path / "run" / "environment.json").read_text())[-1]
    assert (call["compiled"], call["compiled_reason"]) == (True, "as asked")


def test_off_is_off(fit: Fit, tmp_path: Path, compiled_sizes: list[int]) -> None:
    fit(tmp_path / "run", epochs=1)
    assert compiled_sizes == []
    assert json.loads((tmp_path / "run" / "environment.json").read_text())[-1]["compiled"] is False


def fail_to_compile(*_: Any) -> Any:
    raise RuntimeError("no working C++ compiler\nand a long story")


class NoBackward(torch.autograd.Function):
    """The identity, without a backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return fail_to_compile()


def only_forward(network: Any, **_: Any) -> Any:
    """What torch.compile returns where only the forward passes can be compiled: backward ones are, when needed."""
    return lambda x, labels: NoBackward.apply(network(x, labels))


def only_forward_by_torch(network: Any, **_: Any) -> Any:
    """The same by torch.compile."""
    from torch._dynamo.backends.common import aot_autograd

    backend = aot_autograd(fw_compiler=lambda graph, _: graph.forward, bw_compiler=fail_to_compile)
    return compile_by_torch(network, backend=backend)


compile_by_torch = torch.compile
FAILURES = {
    "forward": lambda network, **_: compile_by_torch(network, backend=fail_to_compile),
    "backward": only_forward,
    "backward by torch": only_forward_by_torch,
}


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("where", ["forward", "backward", pytest.param("backward by torch", marks=pytest.mark.slow)])
def test_where_it_fails_the_training_goes_on_without_and_says_so(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Callable[[Path], dict[str, Any]], where: str
) -> None:
    monkeypatch.setattr(compilation.torch, "compile", FAILURES[where])
    recorder = fit(tmp_path / "run", epochs=1, compile="on")
    message = "torch.compile failed (no working C++ compiler); the training goes on without it"
    assert recorder.warnings == [message]
    fit(tmp_path / "plain", epochs=1)
    one, other = state(tmp_path / "run"), state(tmp_path / "plain")
    assert all(torch.equal(one[name], other[name]) for name in one if isinstance(one[name], Tensor))


def test_lack_of_memory_is_no_failure_to_compile() -> None:
    def starved() -> None:
        raise torch.OutOfMemoryError("too large")

    with pytest.raises(torch.OutOfMemoryError):
        CompiledNetwork(torch.nn.Identity()).learn_from(starved, pytest.fail)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_a_compiled_training_is_the_same_up_to_rounding(fit: Fit, tmp_path: Path) -> None:
    """With torch's own compiler, which wants a C++ compiler on this machine."""
    plain = fit(tmp_path / "plain", dropout=0.0)
    compiled = fit(tmp_path / "compiled", dropout=0.0, compile="on")
    assert compiled.warnings == []
    for one, other in zip(compiled.steps, plain.steps, strict=True):
        assert one.bits_per_dim == pytest.approx(other.bits_per_dim, rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-2)
