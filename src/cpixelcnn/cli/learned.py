"""What was learned about a model, a temperature or a threshold, beside its weights: stored, found, and told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cpixelcnn.cli import console
from cpixelcnn.cli.setup import LoadedModel
from cpixelcnn.errors import CheckpointError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.evaluation.familiarity import Familiarity
    from cpixelcnn.runs.side_files import SideFile

T = TypeVar("T", bound="DataclassInstance")


def stored_calibration(loaded: LoadedModel) -> Calibration | None:
    """The calibration that is stored for a model's weights, if there is one, and tell of it."""
    from cpixelcnn.evaluation.calibration import CALIBRATIONS

    calibration = CALIBRATIONS.find(loaded.path)
    if calibration is None:
        console.info(
            "calibrated no, so probabilities are surer than they are right (see: cpixelcnn eval --calibrate validation)"
        )
    else:
        console.info(
            f"calibrated temperature {calibration.temperature:.4g}, fitted on {calibration.n_images} images of "
            f"{calibration.dataset} ({calibration.split})"
            + (f", {calibration.views} views of each" if calibration.views > 1 else "")
        )
    return calibration


def stored_familiarity(loaded: LoadedModel) -> Familiarity | None:
    """The threshold of unfamiliarity that is stored for a model's weights, if there is one, and tell of it."""
    from cpixelcnn.evaluation.familiarity import THRESHOLDS

    found = THRESHOLDS.find(loaded.path)
    if found is not None:
        console.info(
            f"unfamiliar {found.score} above {found.threshold:.4g}, learned on {found.n_images} images of "
            f"{found.dataset} ({found.split})"
        )
    return found


def store(loaded: LoadedModel, side_file: SideFile[T], entry: T) -> None:
    """Store what was learned beside the weights, and say where.

    Raises:
        CheckpointError: the directory of the weights is not the user's.
    """
    try:
        console.info(f"stored     {side_file.save(loaded.path, entry)}")
    except OSError as error:
        raise CheckpointError(
            f"the {side_file.what} cannot be stored beside {loaded.path} ({error.strerror}); copy the model to a "
            "folder of your own and name it with --model"
        ) from None
