"""cpen455 with more training images for each: random crops, compressed as the course's files are.

    python benchmarks/more_crops.py DATA OUT [--copies 3]
    cpixelcnn train -d cpen455 -i OUT ...

A crop is a square of 80 to 100 % of the image, enlarged to 64 x 64 again. The other splits are copied as they are.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def main(data: Path, out: Path, copies: int) -> None:
    generator = np.random.default_rng(0)
    shutil.copytree(data, out)
    with (data / "train.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    with (out / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for name, label in rows:
            writer.writerow([name, label])
            image = Image.open(data / name)
            for copy in range(copies):
                size = 64 * generator.uniform(0.8, 1.0)
                x, y = generator.uniform(0, 64 - size), generator.uniform(0, 64 - size)
                crop = image.resize((64, 64), Image.Resampling.BICUBIC, box=(x, y, x + size, y + size))
                target = Path(name).with_stem(f"{Path(name).stem}-{copy}")
                crop.save(out / target, quality=75)
                writer.writerow([target.as_posix(), label])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of cpen455")
    parser.add_argument("out", type=Path, help="the new directory")
    parser.add_argument("--copies", type=int, default=3, help="crops of each image")
    arguments = parser.parse_args()
    main(arguments.data, arguments.out, arguments.copies)
