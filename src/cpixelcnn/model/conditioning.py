"""How the class enters the network: early fusion at the input, FiLM in every gated residual block.

Both start as the identity (or close to it), so that a conditional network begins its training as the unconditional one.

A network may be told besides in which orientation it sees an image (Jun et al. 2020, "Distribution augmentation for
generative modeling", arXiv 2006.08669): FiLM is, by a vector that is added to the class embedding, and a class template
is turned like the image. Upright images have the zero vector, so that they are seen as if there were no others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NR_TURNS = 4


def turned(images: Tensor, quarter_turns: int) -> Tensor:
    """Images (..., H, W) after that many quarter turns to the left."""
    return images.rot90(quarter_turns, (-2, -1))


class ClassVectorFusion(nn.Module):
    """Early fusion with a class vector:  x_new = x + z_c (x) 1_{H x W}.

    A learned vector of C numbers for each class is added to every pixel of the *image* channels of the network's input
    (not to the channel of ones that marks the padding, and not to the likelihood's target).
    """

    def __init__(self, nr_classes: int, image_channels: int) -> None:
        super().__init__()
        self.z = nn.Parameter(0.01 * torch.randn(nr_classes, image_channels))

    def forward(self, x: Tensor, labels: Tensor, orientations: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), labels (N,) int64 -> (N, C, H, W), the same in every orientation."""
        return x + F.embedding(labels, self.z)[:, :, None, None]  # unlike z[labels], it refuses a label of -1


class ClassTemplateFusion(nn.Module):
    """Early fusion with a class template: a learned image of C x H x W numbers for each class is added to the input.

    It is turned as the image is.
    """

    def __init__(self, nr_classes: int, image_channels: int, height: int, width: int) -> None:
        super().__init__()
        self.z = nn.Parameter(0.01 * torch.randn(nr_classes, image_channels, height, width))

    def forward(self, x: Tensor, labels: Tensor, orientations: Tensor | None = None) -> Tensor:
        """x (N, C, rows, W), labels (N,) int64 -> (N, C, rows, W); x may be the upper rows of an image alone.

        Orientations are quarter turns, int64 (N,); None for upright images.
        """
        templates = self.z if orientations is None else torch.cat([turned(self.z, k) for k in range(NR_TURNS)])
        if orientations is not None:
            labels = labels + len(self.z) * orientations
        return x + F.embedding(labels, templates.flatten(1)).view(-1, *self.z.shape[1:])[:, :, : x.shape[2]]


class FiLM(nn.Module):
    """Feature-wise linear modulation,  h' = gamma(c) * h + beta(c)  (Perez et al. 2018, arXiv 1709.07871, equation 2).

    gamma and beta come from the class embedding through one linear layer, or through two with tanh between. The last
    layer starts at zero and yields gamma - 1, hence gamma = 1 and beta = 0 at the start (a start near gamma = 0
    silences every block and made published runs unstable).

    Args:
        embedding_dim: size E of the class embedding.
        channels: channels of the features that are modulated.
        hidden_dim: width of the hidden layer, or None for the single linear layer.
    """

    def __init__(self, embedding_dim: int, channels: int, hidden_dim: int | None = None) -> None:
        super().__init__()
        last = nn.Linear(hidden_dim or embedding_dim, 2 * channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        if hidden_dim is None:
            self.modulation = nn.Sequential(last)
        else:
            self.modulation = nn.Sequential(nn.Linear(embedding_dim, hidden_dim), nn.Tanh(), last)

    def gamma_beta(self, class_embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Both for embedded classes (N, E): each (N, channels, 1, 1)."""
        gamma_minus_1, beta = self.modulation(class_embedding)[:, :, None, None].chunk(2, dim=1)
        return 1.0 + gamma_minus_1, beta

    def forward(self, h: Tensor, class_embedding: Tensor) -> Tensor:
        """h (N, channels, H, W), class_embedding (N, E) -> (N, channels, H, W)."""
        gamma, beta = self.gamma_beta(class_embedding)
        return torch.addcmul(beta, gamma, h)
