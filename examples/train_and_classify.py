"""Train a very small model on the embedded images through the Python interface, then let it classify new ones.

    python examples/train_and_classify.py [--epochs 3] [--train-size 400] [--image-size 12] [--out RUN]

Much the same from the command line: cpixelcnn train --nr-filters 16 --image-size 12 --train-size 400 --epochs 3
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cpixelcnn
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.runs.metrics_log import EpochRecord


class EpochPrinter(cpixelcnn.Callback):
    """A line for every epoch. The library itself never prints; it calls a callback."""

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        print(
            f"epoch {record.epoch}: train {record.train_bpd:.2f} bits/dim, "
            f"validation {record.validation_bpd:.2f} bits/dim, accuracy {100 * (record.accuracy or 0):.1f} %"
            + (" (best so far)" if is_best else "")
        )


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    data = cpixelcnn.DataConfig(image_size=options.image_size, train_size=options.train_size)
    train_set = cpixelcnn.load_split(data, "train")
    validation_set = cpixelcnn.load_split(data, "validation")
    test_set = cpixelcnn.load_split(data, "test")
    test_set = test_set.select(balanced_subset(test_set.labels, options.test_images))

    config = cpixelcnn.RunConfig(
        model=cpixelcnn.ModelConfig(nr_filters=options.nr_filters, dropout=0.0),  # sizes and classes: the images'
        data=data,
        train=cpixelcnn.TrainConfig(
            epochs=options.epochs,
            batch_size=8,
            lr=4e-3,
            lr_decay=0.998,
            beta1=0.9,
            beta2=0.99,
            ema_decay=0.98,
            eval_images=100,
        ),
    )
    with tempfile.TemporaryDirectory() as scratch:
        run = options.out or Path(scratch) / "run"
        result = cpixelcnn.train(config, train_set, validation_set, run, device="cpu", callbacks=[EpochPrinter()])

        # The run's best checkpoint, with the moving average of the weights.
        model = cpixelcnn.load(result.run)
    evaluation = cpixelcnn.evaluate(model, test_set)
    assert evaluation.scores is not None
    low, high = evaluation.scores.accuracy_ci95
    print(f"\n{model.nr_parameters():,} parameters on {len(test_set)} test images:")
    print(f"  accuracy   {100 * evaluation.scores.accuracy:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})")
    print(f"  bits/dim   {evaluation.density.bpd:.3f} given the class, {evaluation.density.bpd_marginal:.3f} without")
    if options.out:
        print(f"  run        {options.out}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a very small model and let it classify.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-size", type=int, default=400)
    parser.add_argument("--test-images", type=int, default=200)
    parser.add_argument("--image-size", type=int, default=12)
    parser.add_argument("--nr-filters", type=int, default=16)
    parser.add_argument("--out", type=Path, help="keep the run in this directory, which must not hold one yet")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
