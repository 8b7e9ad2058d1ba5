"""log p(x | c) of images under every class: what classification and conditional bits per dimension are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import CheckpointError
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.progress import Progress, silent

BATCH_SIZE = 64


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
                labels = torch.full((len(batch),), label, device=model.device)
                columns.append(model.log_prob(batch, labels).cpu().double())
                done += len(batch)
                progress(done, total)
            rows.append(torch.stack(columns, dim=1))
    return processes.gather(torch.cat(rows))
