"""One step of the training: the gradient of a batch, and what it does to the weights.

Nothing here waits for the device. Whether loss and gradient are finite is decided where they are, and the figures of a
step are left there, to be read when it is convenient (`figures`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.randomness import derive_seed
from cpixelcnn.training.batches import BatchSource
from cpixelcnn.training.checkpoint import TrainState
from cpixelcnn.training.compilation import CompiledNetwork
from cpixelcnn.training.objective import Objective
from cpixelcnn.training.optimiser import decay_weights, decayed_parameters
from cpixelcnn.training.parallel import Agreement, ParallelNetwork


class TrainingStep:
    """Computes steps of a training, of which this process takes its share.

    Args:
        config: of the run.
        trainee: what is trained.
        feed: the training images.
        objective: the loss.
        parallel: the network, as forward and backward use it.
        agreement: of the processes, on what came of a step.
    """

    def __init__(
        self,
        config: RunConfig,
        trainee: TrainState,
        feed: BatchSource,
        objective: Objective,
        parallel: ParallelNetwork,
        agreement: Agreement,
    ) -> None:
        self.options, self.trainee = config.train, trainee
        self.feed, self.objective, self.parallel, self.agreement = feed, objective, parallel, agreement
        self.network = parallel.network.train()
        self.decayed = decayed_parameters(trainee.model)

    def compile(self, warn: Callable[[str], None]) -> None:
        """Compile the network for the parts of a full batch; where that fails, `warn` is told and it stays as it is."""
        nr_images = min(self.options.batch_size, len(self.feed.images))
        mine, _ = self.parallel.share(nr_images)
        first_part = torch.arange(nr_images)[mine].chunk(self.options.accumulate)[0].to(self.feed.images.device)
        network = CompiledNetwork(self.parallel.network)

        def try_out() -> None:
            with self.parallel.exchanging(last=False):
                batch = self.feed.batch(first_part, 0)
                self.objective(network, batch, 0, nr_images).total.backward()  # type: ignore[no-untyped-call]

        if network.learn_from(try_out, warn):
            self.network = network
        self.trainee.optimiser.zero_grad()

    def __call__(self, indices: Tensor, first: int, step: int, lr: float) -> Tensor:
        """One step of Adam on one batch.

        Args:
            indices: of its images, int64 (N,), where the feed has its images.
            first: number on the clock of the first of them.
            step: how many steps lie before this one.
            lr: the learning rate.

        Returns:
            On the device: bits/dim and the norm of their gradient, and what the processes tell each other. Where one
            of the two is not finite, no weight was changed (and the moving average took the same weights in again).
        """
        bits_per_dim = self._gradient(indices, first)
        longest = self.options.clip_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.trainee.model.parameters(), longest)
        figures = self.agreement.all_reduce(torch.stack([bits_per_dim, norm]))
        self._update(figures.isfinite().all(), step, lr)
        return figures

    def _gradient(self, indices: Tensor, first: int) -> Tensor:
        """Leave the gradient of the whole batch in the parameters; returns this process's share of its bits/dim."""
        options, trainee = self.options, self.trainee
        mine, weight = self.parallel.share(len(indices))
        number = first + mine.start
        torch.manual_seed(derive_seed(options.seed, "dropout", number))
        trainee.optimiser.zero_grad()
        bits_per_dim = torch.zeros((), device=self.objective.device)
        parts = indices[mine].chunk(options.accumulate)
        for count, part in enumerate(parts, 1):
            with self.parallel.exchanging(last=count == len(parts)):
                batch = self.feed.batch(part, number)
                loss = self.objective(self.network, batch, first, len(indices))
                (weight * loss.total).backward()  # type: ignore[no-untyped-call]
            bits_per_dim += weight * loss.bits_per_dim.detach()
            number += len(part)
        return bits_per_dim

    def _update(self, sound: Tensor, step: int, lr: float) -> None:
        """Adam's step where the gradient is `sound` (a bool on the device), and in any case the moving average's."""
        optimiser = self.trainee.optimiser
        for group in optimiser.param_groups:
            group["lr"] = lr
        if self.options.weight_decay:
            decay_weights(self.decayed, sound * (lr * self.options.weight_decay))
        if optimiser.defaults["fused"]:
            optimiser.found_inf = 1.0 - sound.float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler skips it
            optimiser.step()
        elif sound:
            optimiser.step()
        self.trainee.ema.update(self.trainee.model, step + 1)
