"""The usual way to sample from an autoregressive model: the whole network once for every pixel. The reference."""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.model.network import PixelCNN


class NaivePredictor:
    """Mixture parameters of n images by the definition itself: a forward pass over the images as they are so far."""

    recordable = False
    variant = 0

    def __init__(self, model: PixelCNN, n: int) -> None:
        config = model.config
        self.model, self.n = model, n
        self.x = torch.zeros(n, config.image_channels, config.image_height, config.image_width, device=model.device)
        self.labels: Tensor | None = None
        self.row = 0

    def begin(self, labels: Tensor | None) -> None:
        self.x.zero_()
        self.labels = labels

    def load_row(self, row: int) -> None:
        self.row = row

    def begin_row(self) -> None: ...

    def parameters(self, column: int) -> Tensor:
        parameters: Tensor = self.model(self.x, self.labels)[:, :, self.row, column]
        return parameters.float()

    def place(self, column: int, x: Tensor) -> None:
        self.x[:, :, self.row, column] = x
