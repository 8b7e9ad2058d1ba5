"""The network and its likelihood are those of the paper: they equal an implementation written from it alone.

`benchmarks/plain_pixelcnn.py` is made of torch's own modules and shares no code with the package. With the same
weights, outputs and gradients are equal in float64.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from cpixelcnn.config import ModelConfig
from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.mixture import DiscretizedLogisticMixture, scale_pixels
from cpixelcnn.model.network import PixelCNN

PLAIN = Path(__file__).resolve().parents[2] / "benchmarks" / "plain_pixelcnn.py"
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(scope="module")
def plain_pixelcnn() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_pixelcnn", PLAIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def convolutions(model: PixelCNN) -> list[str]:
    """Names of this package's convolutions, in the order of `counterparts`."""
    levels = range(3)
    names = ["u_in", "ul_in_above", "ul_in_left"]
    for way in ("up", "down"):
        for stream in ("u", "ul"):
            for i in levels:
                for j in range(len(getattr(model, f"{way}_levels")[i])):
                    block = f"{way}_levels.{i}.{j}.{stream}"
                    parts = ["conv_in", *(["skip"] if model.get_submodule(block).skip is not None else []), "conv_out"]
                    names += [f"{block}.{part}" for part in parts]
    names += [f"{stream}_{kind}.{i}" for kind in ("halve", "double") for stream in ("u", "ul") for i in range(2)]
    return [*names, "out"]


def counterparts(plain: nn.Module) -> list[nn.Module]:
    """The convolutions of the plain network, in the same order."""
    found = [plain.u_in.conv, plain.ul_in[0].conv, plain.ul_in[1].conv]
    for way in ("up", "down"):
        for stream in ("u", "ul"):
            for blocks in getattr(plain, f"{stream}_{way}"):
                for block in blocks:
                    found += [
                        block.conv_in.conv,
                        *([block.nin] if block.nin is not None else []),
                        block.conv_out.conv,
                    ]
    for kind in ("halve", "double"):
        for stream in ("u", "ul"):
            found += [getattr(layer, "conv", layer) for layer in getattr(plain, f"{stream}_{kind}")]
    return [*found, plain.out]


def weights(layer: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """g, v and b of a convolution of the plain network."""
    parametrization = layer.parametrizations.weight
    return parametrization.original0, parametrization.original1, layer.bias


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("nr_resnets", [1, 2])
def test_equals_the_plain_network(plain_pixelcnn: ModuleType, nr_resnets: int, fused: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        nr_resnets=nr_resnets,
        nr_filters=4,
        nr_logistic_mix=2,
        early_fusion="none",
        film="none",
        image_height=8,
        image_width=12,
    )
    model = PixelCNN(config).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    plain = plain_pixelcnn.PlainPixelCNN(nr_resnets, 4, 2).double().eval()
    names, layers = convolutions(model), counterparts(plain)
    assert sum(p.numel() for p in plain.parameters()) == model.nr_parameters()
    assert len(names) == len(layers) == len({id(layer) for layer in layers})
    with torch.no_grad():
        for name, layer in zip(names, layers, strict=True):
            ours = model.get_submodule(name)
            for theirs, mine in zip(weights(layer), (ours.g, ours.v, ours.b), strict=True):
                theirs.copy_(mine.view_as(theirs))

    images = torch.randint(0, 256, (2, 3, 8, 12), dtype=torch.uint8)
    x = scale_pixels(images.double())
    with torch.enable_grad():
        if fused:
            parameters = model(x)
        else:
            with definitions_only():
                parameters = model(x)
        theirs = plain(x)
        torch.testing.assert_close(parameters, theirs, **TOLERANCE)
        per_bit = x.numel() * torch.log(torch.tensor(2.0, dtype=torch.float64))
        bits_per_dim = -DiscretizedLogisticMixture(parameters, 3).log_prob(images).sum() / per_bit
        textbook = plain_pixelcnn.textbook_loss(x, theirs)
        torch.testing.assert_close(bits_per_dim, textbook, **TOLERANCE)
        bits_per_dim.backward()
        textbook.backward()
    for name, layer in zip(names, layers, strict=True):
        ours = model.get_submodule(name)
        for other, mine in zip(weights(layer), (ours.g, ours.v, ours.b), strict=True):
            assert other.grad.any(), name
            torch.testing.assert_close(mine.grad.view_as(other), other.grad, **TOLERANCE, msg=name)
