"""How to sample: by which sampler, in which precision, at which temperatures, with how much guidance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cpixelcnn.errors import ConfigError

SAMPLERS = ("incremental", "naive")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class SamplingOptions:
    """What, with the class and the seed, decides an image of a model.

    Attributes:
        sampler: "incremental", or "naive": a forward pass for every pixel, the reference.
        precision: of the incremental sampler's weights and activations; the mixture is computed in float32 always.
        mixture_temperature: T in w_k^(1/T), the choice of the mixture's component; 1 is the model.
        scale_temperature: T in T s_k, the scales of the logistics; 1 is the model.
        guidance: w in p(x_i|c)^(1+w) / p(x_i)^w; 0 is the model.

    Raises:
        ConfigError: a value that cannot be used.
    """

    sampler: str = "incremental"
    precision: str = "float32"
    mixture_temperature: float = 1.0
    scale_temperature: float = 1.0
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"`sampler` must be {' or '.join(SAMPLERS)}, but is {self.sampler!r}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"`precision` must be {' or '.join(PRECISIONS)}, but is {self.precision!r}")
        if self.sampler == "naive" and self.precision != "float32":
            raise ConfigError(f"`sampler` naive has no `precision` {self.precision}; the reference is float32")
        for name in ("mixture_temperature", "scale_temperature"):
            value = getattr(self, name)
            if not 1e-3 <= value <= 1e3:
                raise ConfigError(f"`{name}` must lie in 0.001..1000, but is {value}; 1 is the model")
        if not 0.0 <= self.guidance <= 100.0:
            raise ConfigError(f"`guidance` must lie in 0..100, but is {self.guidance}; 0 is the model")

    @property
    def exact(self) -> bool:
        """Whether the images are drawn from the model's own distribution."""
        return (self.mixture_temperature, self.scale_temperature, self.guidance) == (1.0, 1.0, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
