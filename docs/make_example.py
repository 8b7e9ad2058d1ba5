"""Make docs/examples/report.html and its screenshots from a model of cpen455.

    python docs/make_example.py --data-dir DATA [--model small] [--browser chromium]

DATA holds the photographs. Their licence is not known, so that the page shows none: each is replaced by the means of
8 x 8 parts. Pages of your own show the images themselves. The screenshots need Chromium, and pdftoppm for the one of
paper.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "examples" / "report.html"
PARTS = 8
WIDTHS = {
    "desktop": (1080, 1750),
    "dark": (1080, 1750),
    "phone": (520, 2000),
}  # of the window, twice those of the picture
DARK = "--blink-settings=preferredColorScheme=0"
PHOTOGRAPH = re.compile(r'src="data:image/png;base64,([^"]+)" alt="An image of ')


def main() -> None:
    """Make the page, then look at it in four ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", default="small")
    parser.add_argument("--browser", default="chromium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = evaluate(Path(folder), arguments.data_dir.resolve(), arguments.model)
        PAGE.write_text(PHOTOGRAPH.sub(hidden, page), encoding="utf-8")
        for name, size in WIDTHS.items():
            look([arguments.browser], Path(folder), name, size)
        look_at_paper([arguments.browser], Path(folder))


def evaluate(folder: Path, data: Path, model: str) -> str:
    """The page as `eval` writes it; the data are called DATA in it, wherever they lie."""
    (folder / "DATA").symlink_to(data)
    options = ["--model", model, "-d", "cpen455", "-i", "DATA", "--split", "validation", "--report", "report.html"]
    subprocess.run([sys.executable, "-m", "cpixelcnn", "eval", *options], cwd=folder, check=True, env=dict(os.environ))
    return (folder / "report.html").read_text(encoding="utf-8")


def hidden(match: re.Match[str]) -> str:
    """A photograph's place in the page, with the means of its parts in its stead."""
    with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
        coarse = image.convert("RGB").resize((PARTS, PARTS), Image.Resampling.BOX)
    file = io.BytesIO()
    coarse.save(file, format="PNG")
    return match[0].replace(match[1], base64.b64encode(file.getvalue()).decode())


def look(browser: list[str], folder: Path, name: str, size: tuple[int, int]) -> None:
    """A screenshot of the upper part, at half the size."""
    options = [f"--screenshot={folder / name}.png", f"--window-size={size[0]},{size[1]}", "--hide-scrollbars"]
    browse(browser, folder, *options, *([DARK] if name == "dark" else []))
    save(Image.open(folder / f"{name}.png"), name)


def look_at_paper(browser: list[str], folder: Path) -> None:
    """The first four pages side by side."""
    browse(browser, folder, f"--print-to-pdf={folder / 'paper.pdf'}", "--no-pdf-header-footer")
    subprocess.run(["pdftoppm", "-r", "60", "-l", "4", "-png", folder / "paper.pdf", folder / "paper"], check=True)
    pages = [Image.open(path) for path in sorted(folder.glob("paper-*.png"))]
    gap = 16
    sheet = Image.new(
        "RGB", (sum(page.width + gap for page in pages) + gap, pages[0].height + 2 * gap), (200, 203, 208)
    )
    for number, page in enumerate(pages):
        sheet.paste(page, (gap + number * (page.width + gap), gap))
    save(sheet, "print", 0.45)


def browse(browser: list[str], folder: Path, *options: str) -> None:
    """Open the page without a window."""
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    subprocess.run([*browser, *quiet, *options, PAGE.as_uri()], check=True, capture_output=True)


def save(picture: Image.Image, name: str, scale: float = 0.5) -> None:
    """Write a screenshot at a part of its size."""
    size = round(picture.width * scale), round(picture.height * scale)
    small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.save(DOCS / "images" / f"report-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
