"""Options of sampling: every value that cannot be used is refused, and the message names it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cpixelcnn.errors import ConfigError
from cpixelcnn.sampling.options import SamplingOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "fast"}, r"^`sampler` must be incremental or naive, but is 'fast'$"),
        ({"sampler": ""}, "^`sampler` .* is ''$"),
        ({"precision": "float16"}, r"^`precision` must be float32 or bfloat16, but is 'float16'$"),
        ({"precision": "auto"}, "^`precision` .* is 'auto'$"),
        ({"sampler": "naive", "precision": "bfloat16"}, "^`sampler` naive has no `precision` bfloat16"),
        (
            {"mixture_temperature": 0.0},
            r"^`mixture_temperature` must lie in 0\.001\.\.1000, but is 0\.0; 1 is the model$",
        ),
        ({"mixture_temperature": -1.0}, "^`mixture_temperature`"),
        ({"mixture_temperature": 1001.0}, "^`mixture_temperature`"),
        ({"mixture_temperature": math.nan}, "^`mixture_temperature` .*nan"),
        ({"mixture_temperature": math.inf}, "^`mixture_temperature` .*inf"),
        ({"scale_temperature": 0.0}, "^`scale_temperature`"),
        ({"scale_temperature": 9e-4}, "^`scale_temperature`"),
        ({"scale_temperature": math.nan}, "^`scale_temperature` .*nan"),
        ({"guidance": -0.1}, r"^`guidance` must lie in 0\.\.100, but is -0\.1; 0 is the model$"),
        ({"guidance": 101.0}, "^`guidance`"),
        ({"guidance": math.nan}, "^`guidance` .*nan"),
        ({"guidance": math.inf}, "^`guidance` .*inf"),
    ],
)
def test_values_that_cannot_be_used(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplingOptions(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"sampler": "naive"},
        {"precision": "bfloat16"},
        {"mixture_temperature": 1e-3, "scale_temperature": 1e3},
        {"mixture_temperature": 2, "guidance": 100},
        {"guidance": 0},
    ],
)
def test_values_that_can_be_used(values: dict[str, Any]) -> None:
    options = SamplingOptions(**values)
    document = options.to_json()
    assert json.loads(json.dumps(document)) == document
    assert SamplingOptions(**document) == options


def test_what_is_the_models_own_distribution() -> None:
    """Whatever it is computed by; each of the three others alone changes it."""
    assert SamplingOptions().exact
    assert SamplingOptions(sampler="naive").exact
    assert not SamplingOptions(mixture_temperature=0.9).exact
    assert not SamplingOptions(scale_temperature=1.1).exact
    assert not SamplingOptions(guidance=0.1).exact
