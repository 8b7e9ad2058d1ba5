"""One step of the training: the gradient of a batch, and what it does to the weights.

Nothing here waits for the device. Whether loss and gradient are finite is decided there, and the metrics of a step are
left there, to be read when they are ready (`step_metrics`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cpixelcnn.config import RunConfig
from cpixelcnn.randomness import derive_seed
from cpixelcnn.training.batches import BatchSource
from cpixelcnn.training.compilation import CompiledNetwork
from cpixelcnn.training.objective import Objective
from cpixelcnn.training.optimiser import decay_weights, decayed_parameters
from cpixelcnn.training.parallel import Agreement, ParallelNetwork
from cpixelcnn.training.state import TrainState


class TrainingStep:
    """Takes the steps of a training; each process computes its part of a batch.

    Args:
        config: of the run.
        state: what is trained.
        source: the training images.
        objective: the loss.
        parallel: the network, as forward and backward use it.
        agreement: of the processes, on the metrics of a step.
    """

    def __init__(
        self,
        config: RunConfig,
        state: TrainState,
        source: BatchSource,
        objective: Objective,
        parallel: ParallelNetwork,
        agreement: Agreement,
    ) -> None:
        self.options, self.state = config.train, state
        self.source, self.objective, self.parallel, self.agreement = source, objective, parallel, agreement
        self.network = parallel.network.train()
        self.decayed = decayed_parameters(state.model)

    def compile(self, warn: Callable[[str], None]) -> None:
        """Compile the network for the parts of a full batch; where that fails, `warn` is told and it stays as it is."""
        network = CompiledNetwork(self.parallel.network)
        if network.learn_from(lambda: self.trial(network), warn):
            self.network = network

    def trial(self, network: nn.Module | None = None) -> None:
        """Compute the gradient of a full batch's first part through `network` (or the training's), and forget it."""
        nr_images = min(self.options.batch_size, len(self.source.images))
        mine, _ = self.parallel.local_part(nr_images)
        first_part = torch.arange(nr_images)[mine].chunk(self.options.accumulate)[0].to(self.source.images.device)
        try:
            with self.parallel.averaging(last=False):
                batch = self.source.batch(first_part, 0)
                loss = self.objective(network or self.network, batch, 0, nr_images)
                loss.total.backward()  # type: ignore[no-untyped-call]
        finally:
            self.state.optimiser.zero_grad()

    def __call__(self, indices: Tensor, first: int, step: int, lr: float) -> Tensor:
        """One step of Adam on one batch.

        Args:
            indices: of its images, int64 (N,), on the device of the source's images.
            first: number on the clock of the first of them.
            step: how many steps lie before this one.
            lr: the learning rate.

        Returns:
            On the device: bits/dim, the norm of the loss's gradient, and the flags of the processes. Where one of the
            first two is not finite, no weight was changed (the moving average was updated with the same weights).
        """
        bits_per_dim = self._gradient(indices, first)
        longest = self.options.clip_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.state.model.parameters(), longest)
        metrics = self.agreement.all_reduce(torch.stack([bits_per_dim, norm]))
        self._update(metrics.isfinite().all(), step, lr)
        return metrics

    def _gradient(self, indices: Tensor, first: int) -> Tensor:
        """Leave the gradient of the whole batch in the parameters; returns this process's part of its bits/dim."""
        options, state = self.options, self.state
        mine, weight = self.parallel.local_part(len(indices))
        number = first + mine.start
        torch.manual_seed(derive_seed(options.seed, "dropout", number))
        state.optimiser.zero_grad()
        bits_per_dim = torch.zeros((), device=self.objective.device)
        parts = indices[mine].chunk(options.accumulate)
        for count, part in enumerate(parts, 1):
            with self.parallel.averaging(last=count == len(parts)):
                batch = self.source.batch(part, number)
                loss = self.objective(self.network, batch, first, len(indices))
                (weight * loss.total).backward()  # type: ignore[no-untyped-call]
            bits_per_dim += weight * loss.bits_per_dim.detach()
            number += len(part)
        return bits_per_dim

    def _update(self, finite: Tensor, step: int, lr: float) -> None:
        """Adam's step if the gradient is `finite` (a bool on the device); the moving average is updated in any case."""
        optimiser = self.state.optimiser
        for group in optimiser.param_groups:
            group["lr"] = lr
        if self.options.weight_decay:
            decay_weights(self.decayed, finite * (lr * self.options.weight_decay))
        if optimiser.defaults["fused"]:
            optimiser.found_inf = 1.0 - finite.float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler skips it
            optimiser.step()
        elif finite:
            optimiser.step()
        self.state.ema.update(self.state.model, step + 1)
