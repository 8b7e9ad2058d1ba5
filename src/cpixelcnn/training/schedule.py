"""The learning rate at every step: a warm-up, then nearly constant or half a cosine.

With t the steps before this one, p the fraction of the run's images that lie before it, T the steps of the warm-up and
f the final fraction,

    warm(t) = min(1, (t + 1) / T)                                          (linear)
    constant:  lr(t)    = lr * warm(t) * decay^t                           (the original's: it decays at every step)
    cosine:    lr(t, p) = lr * warm(t) * [f + (1 - f) (1 + cos(pi p)) / 2]

The warm-up is that of Goyal et al. 2017, arXiv 1706.02677, section 2.2; the cosine that of Loshchilov & Hutter 2017,
arXiv 1608.03983, equation 5.

p is counted in images, so that a changed batch size keeps its place on the curve. It is a fraction of *all* the epochs
that are asked for: where `--epochs` is raised on resume, the rate goes up to where the longer cosine is at that
moment, and ends at f * lr with the new last epoch.
"""

from __future__ import annotations

import math

from cpixelcnn.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, share_done: float = 0.0) -> float:
    """The rate of the step that has `step` steps before it, and `share_done` of the images of the whole run."""
    rate = config.lr
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        p = min(share_done, 1.0)
        return rate * (config.lr_final + (1.0 - config.lr_final) * (1.0 + math.cos(math.pi * p)) / 2.0)
    return rate * config.lr_decay**step
