"""The loop over the pixels, and its rows as recorded CUDA graphs: played here by a recorder of tensor operations.

What a CUDA graph does and this recorder, too: while a row is recorded, every tensor operation is noted with the memory
that it reads and writes; to replay is to run those operations again on that memory. No Python runs then, so whatever
differs between rows or batches must have been written into memory that the recording reads.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.ancestral import AncestralSampler
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.sample import draw_noise, make_sampler

LEAVES_THE_DEVICE = ("_local_scalar_dense", "nonzero", "is_nonzero", "_to_cpu", "item", "equal")


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Recording(TorchDispatchMode):
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.made: set[int] = set()  # memory that was allocated while recording, and is kept
        self.read: set[int] = set()
        self.first_replay = True

    def pool(self) -> tuple[int, int]:
        return (0, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split("::")[1].split(".")[0]
        assert name not in LEAVES_THE_DEVICE, f"{name} waits for the device, which cannot be recorded"
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = {address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.read |= inputs
        self.made |= {address(output) for output in outputs} - inputs - self.read
        self.operations.append((func, args, kwargs, outputs))
        return result

    def replay(self) -> None:
        if self.first_replay:  # recording has run the operations, which a graph's recording has not
            self.first_replay = False
            return
        for func, args, kwargs, outputs in self.operations:
            results = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
            for output, result in zip(outputs, results, strict=True):
                if address(output) != address(result):
                    output.copy_(result)


class NoStream:
    """Stands in for a CUDA stream."""

    device = None

    def wait_stream(self, other: object) -> None: ...


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[AncestralSampler], dict[tuple[int, ...], Recording]]:
    """`recorded(sampler)` makes it record its rows from now on, and returns the recordings."""

    @contextmanager
    def record(
        graph: Recording, pool: object = None, stream: object = None, capture_error_mode: str = ""
    ) -> Iterator[None]:
        with graph:
            yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: NoStream())
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)

    def start(sampler: AncestralSampler) -> Any:
        sampler.graphs, sampler.stream = {}, NoStream()  # type: ignore[assignment]
        return sampler.graphs

    return start


def noise_of(model: PixelCNN, n: int, batch: int) -> Tensor:
    return torch.stack([draw_noise(model.config, 10 * batch + i) for i in range(n)])


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vector": ({}, {}),
    "template": ({"early_fusion": "template", "film": "mlp"}, {}),
    "grey": ({"image_channels": 1, "film": "none"}, {}),
    "two resnets": ({"nr_resnets": 2}, {}),
    "unconditional": ({"early_fusion": "none", "film": "none"}, {}),
    "temperature": ({}, {"mixture_temperature": 0.5, "scale_temperature": 0.7}),
    "guided": ({"film": "mlp"}, {"guidance": 1.5}),
    "guided by a second model": ({}, {"guidance": 1.5}),
}


@pytest.mark.parametrize(
    ("network", "how"),
    [
        pytest.param(*of, id=name, marks=[pytest.mark.slow] * (name not in ("vector", "guided by a second model")))
        for name, of in VARIANTS.items()
    ],
)
def test_recorded_rows_make_the_same_images(
    network: dict[str, Any],
    how: dict[str, Any],
    request: pytest.FixtureRequest,
    make_model: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
    recorded: Callable[[AncestralSampler], dict[tuple[int, ...], Recording]],
) -> None:
    """Batches of one class and of several, new and completed: bit for bit what the same rows make unrecorded."""
    model = make_model(image_height=6, image_width=3, **network)
    unconditional = None
    if "second" in request.node.callspec.id:
        unconditional = make_model(seed=1, image_height=6, image_width=3, early_fusion="none", film="none")
    options = SamplingOptions(**how)
    plain, replayed = (make_sampler(model, unconditional, options, 2) for _ in range(2))
    recordings = recorded(replayed)
    given = make_images(model, 2)
    batches = [([1, 1], 0), ([2, 1], 0), ([2, 2], 5), ([0, 1], 2), ([0, 0], 0), ([0, 2], 5)]
    for i, (classes, from_row) in enumerate(batches):
        labels = torch.tensor(classes) if model.config.conditional else None
        noise = noise_of(model, 2, i)
        expected = plain.draw(labels, noise, given, from_row)
        assert torch.equal(replayed.draw(labels, noise, given, from_row), expected)
    assert torch.equal(expected[:, :, :5], given[:, :, :5])
    assert len(recordings) <= 4 * 2 * 2, "by row % 4, kept or not, one class or several"


def test_rows_do_not_read_what_other_recordings_made(
    make_model: Callable[..., PixelCNN],
    recorded: Callable[[AncestralSampler], dict[tuple[int, ...], Recording]],
) -> None:
    """Graphs share a pool: what one leaves there, another overwrites."""
    model = make_model(image_height=9, image_width=3)
    sampler = make_sampler(model, None, SamplingOptions(guidance=1.0), 2)
    recordings = recorded(sampler)
    for labels in ([1, 1], [0, 2]):
        for from_row in (0, 5):
            sampler.draw(
                torch.tensor(labels), noise_of(model, 2, 0), torch.zeros(2, 3, 9, 3, dtype=torch.uint8), from_row
            )
    assert len(recordings) == 8, "guidance predicts every class in every batch: no variant of one class"
    for key, recording in recordings.items():
        for other_key, other in recordings.items():
            assert key == other_key or not recording.read & other.made


def fails_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording fails from its `count`-th row on, as CUDA does when something in it cannot be recorded."""
    record, left = torch.cuda.graph, iter(range(count))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCUDA kernel errors ...")
        return record(*arguments, **options)

    monkeypatch.setattr(torch.cuda, "graph", failing)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_where_recording_fails_rows_are_drawn_unrecorded(
    count: int,
    make_model: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
    recorded: Callable[[AncestralSampler], dict[tuple[int, ...], Recording]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One warning, whether the first row fails or a kind of row that comes later, and the right images."""
    model = make_model(image_height=7)
    given = make_images(model, 2)
    plain, replayed = (make_sampler(model, None, SamplingOptions(), 2) for _ in range(2))
    recorded(replayed)
    fails_after(count, monkeypatch)
    expected, images = [], []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for batch, labels in enumerate((torch.tensor([0, 1]), torch.tensor([2, 2]))):
            noise = noise_of(model, 2, batch)
            expected.append(plain.draw(labels, noise, given, 3))
            images.append(replayed.draw(labels, noise, given, 3))
    assert torch.equal(torch.stack(images), torch.stack(expected))
    assert re.search(r"without CUDA graphs.*\(CUDA error: operation not permitted[^\n]*\)$", str(seen[0].message))
    assert len(seen) == 1
    assert replayed.graphs is None


def test_where_replayed_rows_differ_rows_are_drawn_unrecorded(
    make_model: Callable[..., PixelCNN],
    recorded: Callable[[AncestralSampler], dict[tuple[int, ...], Recording]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(image_height=7)
    plain, replayed = (make_sampler(model, None, SamplingOptions(), 2) for _ in range(2))
    recorded(replayed)
    replay = Recording.replay

    def wrong(self: Recording) -> None:
        replay(self)
        replayed.value_row += 1

    monkeypatch.setattr(Recording, "replay", wrong)
    labels, noise = torch.tensor([0, 1]), noise_of(model, 2, 0)
    expected = plain.draw(labels, noise)
    with pytest.warns(RuntimeWarning, match="replayed rows differ from the same rows unrecorded"):
        assert torch.equal(replayed.draw(labels, noise), expected)
    assert replayed.graphs is None


def test_out_of_memory_is_not_taken_for_a_failed_recording(
    make_model: Callable[..., PixelCNN],
    recorded: Callable[[AncestralSampler], dict[tuple[int, ...], Recording]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model()
    sampler = make_sampler(model, None, SamplingOptions(), 2)
    recordings = recorded(sampler)
    labels, noise = torch.tensor([0, 1]), noise_of(model, 2, 0)

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "graph", full)
        with pytest.raises(torch.OutOfMemoryError):
            sampler.draw(labels, noise)
    assert recordings == {}
    expected = make_sampler(model, None, SamplingOptions(), 2).draw(labels, noise)
    assert torch.equal(sampler.draw(labels, noise), expected)


def test_rows_are_reported_one_after_another(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model(image_height=6)
    rows: list[int] = []
    make_sampler(model, None, SamplingOptions(), 2).draw(
        torch.tensor([0, 1]), noise_of(model, 2, 0), row_done=rows.append
    )
    assert rows == [0, 1, 2, 3, 4, 5]
