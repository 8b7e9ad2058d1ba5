"""How fast images are classified: their log-likelihoods under four classes, against the plain loop over classes.

    python benchmarks/evaluation.py [--model 1/40/5 ...] [--images 64] [--rounds 5] [--threads 2] [--device cuda]
    [--profile]

For each model (nr_resnets/nr_filters/nr_logistic_mix, random weights initialised from images, 32 x 32 RGB), in turn:

    plain     benchmarks/plain_pixelcnn.py once for every class, all images in one batch, the textbook likelihood;
              that network has no class inputs, so it computes a little less than what is asked for
    log_prob  `PixelCNN.log_prob` once for every class, all images in one batch
    ours      `class_log_probs`
    limit     the arithmetic of the network at the speed of this machine's own large matrix products

Printed are the medians as images/s, their ratio to plain, and by how much log-likelihoods of `log_prob` and `ours`
differ at most. With --profile: the operations that `ours` spends its time in.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from plain_pixelcnn import PlainPixelCNN, textbook_loss
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cpixelcnn import ModelConfig, PixelCNN
from cpixelcnn.evaluation.class_log_probs import class_log_probs
from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.mixture import scale_pixels

CLASSES = ("a", "b", "c", "d")


def seconds(function: Callable[[], object]) -> float:
    wait()
    begin = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - begin


def wait() -> None:
    """Until a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def products_per_second(device: str) -> float:
    """Operations a second of large float32 matrix products."""
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / min(seconds(lambda: a @ a) for _ in range(8))


@torch.inference_mode()
def measure(name: str, nr_images: int, rounds: int, device: str, profiling: bool) -> None:
    nr_resnets, nr_filters, nr_logistic_mix = map(int, name.split("/"))
    torch.manual_seed(0)
    sizes = {"nr_resnets": nr_resnets, "nr_filters": nr_filters, "nr_logistic_mix": nr_logistic_mix}
    images = torch.randint(0, 256, (nr_images, 3, 8, 8), dtype=torch.uint8).repeat_interleave(4, 2)
    images = images.repeat_interleave(4, 3)
    model = PixelCNN(ModelConfig(classes=CLASSES, **sizes)).eval()
    model.initialise(images[:16], torch.arange(16) % len(CLASSES))
    model.to(device).to(memory_format=torch.channels_last)
    images = images.to(device)
    plain = PlainPixelCNN(nr_resnets, nr_filters, nr_logistic_mix).eval().to(device)
    x = scale_pixels(images)

    def with_log_prob() -> Tensor:
        labels = torch.arange(len(CLASSES), device=device)
        return torch.stack([model.log_prob(images, label.expand(nr_images)) for label in labels], dim=1).cpu()

    ways: dict[str, Callable[[], object]] = {
        "plain": lambda: [textbook_loss(x, plain(x)) for _ in CLASSES],
        "log_prob": with_log_prob,
        "ours": lambda: class_log_probs(model, images),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    if device != "cpu":  # whose first pass is about libraries and memory
        for function in ways.values():
            function()
    for _ in range(rounds):
        for way, function in ways.items():
            times[way].append(seconds(function))
    with definitions_only(), FlopCounterMode(display=False) as counter:
        model.log_prob(images[:1], torch.tensor([0], device=device))
    medians = {way: statistics.median(each) for way, each in times.items()}
    medians["limit"] = len(CLASSES) * nr_images * counter.get_total_flops() / products_per_second(device)
    difference = float((with_log_prob() - class_log_probs(model, images)).abs().max())
    for way, median in medians.items():
        print(f"{name}  {way:9}{nr_images / median:8.2f} images/s   {medians['plain'] / median:5.2f} times plain")
    print(f"{name}  largest difference of log-likelihoods {difference:.2g} nats, of about {with_log_prob().mean():.0f}")
    if profiling:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            class_log_probs(model, images)
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["1/40/5", "5/108/10"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.model:
        measure(name, arguments.images, arguments.rounds, arguments.device, arguments.profile)


if __name__ == "__main__":
    main()
