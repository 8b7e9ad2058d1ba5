"""log p(x | c) of images under every class: what classification and conditional bits per dimension are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import CheckpointError
from cpixelcnn.model.fused.folded import folded_for_class
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.progress import Progress, silent

BATCH_SIZE = 64
_CPU_BATCH_SIZE = 16  # more do not fit into the caches


@torch.inference_mode()
def class_log_probs(
    model: PixelCNN,
    images: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Tensor:
    """log p(x | c) in nats of every image under every class, one forward pass a class, in float32 on every device.

    Whole batches are divided among the processes, so that the numbers are bit for bit those of one.

    Args:
        model: class-conditional.
        images: uint8 (N, C, H, W).
        batch_size: images computed together; it matters to rounding only.
        processes: those that share the work; each calls this and gets the whole result.
        progress: called with the passes done and their total, images times classes.

    Returns:
        float64 (N, classes) on the CPU.

    Raises:
        CheckpointError: the model is unconditional and knows no classes.
        DataError: images of another shape than the model's.
    """
    if not model.config.conditional:
        raise CheckpointError("this model is unconditional: it has no classes to choose from; train one with a fusion")
    nr_classes = model.config.nr_classes
    rows = [torch.empty(0, nr_classes, dtype=torch.float64)]
    batches = processes.share([images[i : i + batch_size] for i in range(0, len(images), batch_size)])
    done, total = 0, nr_classes * sum(map(len, batches))
    with processes.together(), evaluation_mode(model):
        for batch in (batch.to(model.device) for batch in batches):
            columns = []
            for label in range(nr_classes):
                columns.append(one_class_log_probs(model, batch, label))
                done += len(batch)
                progress(done, total)
            rows.append(torch.stack(columns, dim=1))
    return processes.gather(torch.cat(rows))


def one_class_log_probs(model: PixelCNN, images: Tensor, label: int | None) -> Tensor:
    """log p(x | c) in nats of images of the model's device under one class, float64 (N,) on the CPU.

    The model is in evaluation mode, and gradients are off; `label` is None for an unconditional model.
    """
    at_once = _CPU_BATCH_SIZE if images.device.type == "cpu" else max(len(images), 1)
    with folded_for_class(model, label):
        parts = []
        for some in torch.split(images, at_once):
            labels = None if label is None else torch.full((len(some),), label, device=some.device)
            parts.append(model.log_prob(some, labels))
    return torch.cat(parts).cpu().double()
