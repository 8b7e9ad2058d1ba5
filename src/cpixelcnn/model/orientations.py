"""One orientation of a network that tells several apart, as a network of upright images.

Jun et al. 2020, "Distribution augmentation for generative modeling", arXiv 2006.08669.
"""

from __future__ import annotations

import copy
import dataclasses

import torch

from cpixelcnn.errors import ConfigError, plural
from cpixelcnn.model.conditioning import NR_TURNS, ClassTemplateFusion, turned
from cpixelcnn.model.network import PixelCNN


def in_orientation(model: PixelCNN, quarter_turns: int) -> PixelCNN:
    """The distribution of images after so many quarter turns to the left, as a network of its own.

    That network is told nothing: to it, images that have been turned so are upright. It has weights of its own, but for
    upright images, for which it is the model itself.

    Args:
        model: stays as it is.
        quarter_turns: 0 to 3; other numbers than 0 for a model that tells orientations apart only.

    Raises:
        ConfigError: there is no such orientation.
    """
    if quarter_turns not in range(model.config.nr_orientations):
        raise ConfigError(
            f"the model tells {plural(model.config.nr_orientations, 'orientation')} apart, and images after "
            f"{plural(quarter_turns, 'quarter turn')} are none of them; train one with `nr_orientations` {NR_TURNS}"
        )
    if quarter_turns == 0:  # upright images are seen as if there were no others
        return model
    network = copy.deepcopy(model)
    assert network.class_embedding is not None
    assert network.orientation_embedding is not None
    with torch.no_grad():
        network.class_embedding.weight += network.orientation_embedding.weight[quarter_turns]
        if isinstance(network.early_fusion, ClassTemplateFusion):
            network.early_fusion.z.copy_(turned(network.early_fusion.z, quarter_turns).clone())
    network.config = dataclasses.replace(model.config, nr_orientations=1)
    network.orientation_embedding = None
    return network
