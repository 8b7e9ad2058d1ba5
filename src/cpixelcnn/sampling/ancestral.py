"""The loop that makes images: pixel after pixel in raster order, each chosen from what a predictor tells of it.

    for each row, for each column:   x_i = choose(parameters of p(x_i | x_<i, c), noise_i)

A `Predictor` computes the parameters (one forward pass for each pixel, or incrementally); a `PixelSampler` chooses the
value from them (by the model's own distribution, tempered, or guided).

On CUDA devices the operations of a row are recorded as a CUDA graph and replayed. The first rows are compared with what
the same operations make unrecorded; where they differ, or where recording fails, a warning says so and nothing is
recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import first_line
from cpixelcnn.model.mixture import scale_pixels
from cpixelcnn.sampling.pixel_rules import PixelSampler

PHASES = 4  # which levels of the network a row concerns depends on row % 4

RowDone = Callable[[int], None]


class Predictor(Protocol):
    """Mixture parameters of n images, pixel by pixel in raster order."""

    n: int
    recordable: bool  # a row's operations depend on row % 4 and `variant` alone, and stay on the device

    @property
    def variant(self) -> int:
        """What else the operations of a row depend on."""

    def begin(self, labels: Tensor | None) -> None:
        """Forget everything; the next images have these classes (n,), or none (an unconditional model)."""

    def load_row(self, row: int) -> None:
        """Tell which row comes next, before anything else of that row."""

    def begin_row(self) -> None:
        """Compute what is known before the first pixel of the row."""

    def parameters(self, column: int) -> Tensor:
        """Mixture parameters (n, P) of the pixel at a column, float32; every pixel before it has been placed."""

    def place(self, column: int, x: Tensor) -> None:
        """Set the pixel at a column: x (n, C) in [-1, 1]."""


class AncestralSampler:
    """Makes batches of n images.

    Args:
        predictors: each of n images, or of several times n: then every image has as many predictions, side by side.
        pixel_sampler: chooses the values from all predictors' parameters.
        config: of the images.
        n: images of a batch.
        device: where the predictors compute.
    """

    def __init__(
        self,
        predictors: Sequence[Predictor],
        pixel_sampler: PixelSampler,
        config: ModelConfig,
        n: int,
        device: torch.device,
    ) -> None:
        self.predictors, self.pixel_sampler, self.n = predictors, pixel_sampler, n
        self.height, self.width, self.channels = config.image_height, config.image_width, config.image_channels
        # What enters and leaves a row has fixed addresses, so that rows can be recorded.
        self.noise_row = torch.zeros(n, self.channels + 1, self.width, device=device)
        self.value_row = torch.zeros(n, self.channels, self.width, dtype=torch.uint8, device=device)
        self.graphs: dict[tuple[int, ...], torch.cuda.CUDAGraph] | None = None
        if device.type == "cuda" and all(predictor.recordable for predictor in predictors):
            self.graphs = {}
            self.stream = _recording_stream(device)

    @torch.inference_mode()
    def draw(
        self,
        labels: Tensor | None,
        noise: Tensor,
        given: Tensor | None = None,
        from_row: int = 0,
        row_done: RowDone = lambda row: None,
    ) -> Tensor:
        """A batch of images, uint8 (n, C, H, W) on the CPU.

        Args:
            labels: class of each image (n,), on the device; None for an unconditional model.
            noise: uniform numbers (n, C + 1, H, W).
            given: images uint8 (n, C, H, W) whose rows above `from_row` are kept.
            row_done: called after each row with its index.
        """
        noise = noise.to(self.noise_row.device)
        images = torch.zeros(self.n, self.channels, self.height, self.width, dtype=torch.uint8, device=noise.device)
        if given is not None:
            images[:, :, :from_row] = given[:, :, :from_row].to(noise.device)
        self._begin(labels)
        if self.graphs is not None and not self.graphs:
            self._try_recording(labels, noise)
        for row in range(self.height):
            self._load_row(row, noise, images)
            self._run_row(kept=row < from_row)
            images[:, :, row] = self.value_row
            row_done(row)
        return images.cpu()

    def _begin(self, labels: Tensor | None) -> None:
        for predictor, predicted_labels in zip(self.predictors, self.pixel_sampler.begin(labels), strict=True):
            predictor.begin(predicted_labels)

    def _load_row(self, row: int, noise: Tensor, images: Tensor) -> None:
        self.row = row
        self.noise_row.copy_(noise[:, :, row])
        self.value_row.copy_(images[:, :, row])
        for predictor in self.predictors:
            predictor.load_row(row)

    def _run_row(self, *, kept: bool) -> None:
        if self.graphs is None:
            self._make_row(kept=kept)
            return
        key = (self.row % PHASES, int(kept), *(predictor.variant for predictor in self.predictors))
        if key in self.graphs or self._record(key, kept=kept):
            self.graphs[key].replay()
        else:
            self._make_row(kept=kept)

    def _record(self, key: tuple[int, ...], *, kept: bool) -> bool:
        """Record the operations of a row, and execute none; returns whether it went well."""
        if self.graphs is None:
            return False
        graph = torch.cuda.CUDAGraph()
        pool = next((recorded.pool() for recorded in self.graphs.values()), None)
        try:
            recording = torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local")
            with torch.cuda.device(self.stream.device), recording:
                self._make_row(kept=kept)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._stop_recording(first_line(error))
            return False
        self.graphs[key] = graph
        return True

    def _stop_recording(self, reason: str) -> None:
        self.graphs = None
        warnings.warn(
            f"rows are drawn without CUDA graphs, which is slower but right ({reason})", RuntimeWarning, stacklevel=2
        )

    def _make_row(self, *, kept: bool) -> None:
        """One row, from `noise_row` into `value_row` (or, where it is kept, from `value_row`)."""
        for predictor in self.predictors:
            predictor.begin_row()
        for column in range(self.width):
            parameters = [predictor.parameters(column) for predictor in self.predictors]
            if kept:
                values = self.value_row[:, :, column]
                self.pixel_sampler.observe(parameters, values)
            else:
                values = self.pixel_sampler.choose(parameters, self.noise_row[:, :, column])
                self.value_row[:, :, column] = values
            x = scale_pixels(values)
            for predictor in self.predictors:
                predictor.place(column, x if predictor.n == self.n else x.repeat_interleave(predictor.n // self.n, 0))

    def _try_recording(self, labels: Tensor | None, noise: Tensor) -> None:
        """Record each kind of row that is drawn, and compare what it makes with the same row unrecorded.

        The unrecorded rows come first, since they also let CUDA's libraries set themselves up, which is not possible
        while a graph is recorded.
        """
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            expected = self._first_rows(noise, self._make_row)
        current.wait_stream(self.stream)
        self._begin(labels)
        replayed = self._first_rows(noise, self._run_row)
        if self.graphs is not None and not torch.equal(replayed, expected):
            self._stop_recording("replayed rows differ from the same rows unrecorded")
        self._begin(labels)

    def _first_rows(self, noise: Tensor, make_row: Callable[..., None]) -> Tensor:
        """One row of each kind, as new images begin with them: uint8 (n, C, rows, W)."""
        nothing = torch.zeros(self.n, self.channels, self.height, self.width, dtype=torch.uint8, device=noise.device)
        rows = []
        for row in range(min(PHASES, self.height)):
            self._load_row(row, noise, nothing)
            make_row(kept=False)
            rows.append(self.value_row.clone())
        return torch.stack(rows, dim=2)


@cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One for each device, since CUDA's libraries keep a workspace for every stream that they have worked on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
