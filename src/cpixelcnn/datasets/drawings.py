"""The embedded data set: hamburgers, pandas, koalas and pizzas, drawn on demand.

The toolkit has to work with no data at hand and no network, so its own four classes are drawn by a
few recipes made of signed distance functions.  The pictures are smooth (noise would only add entropy
that no model can learn) and made of a few large, distinctive parts (what a local autoregressive model
learns first).  Backgrounds come from one distribution for all classes, and palettes, light, position,
size and tilt vary, so that neither colour alone nor a linear function of the pixels gives the class
away: a classifier has to look at shapes.

Points of the plane are complex numbers ``x + iy`` with ``y`` pointing down, so that moving is adding
and turning is multiplying.  Each object is drawn in its own frame, where it fills the unit disc.
"""

import cmath
import colorsys
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

CLASSES: tuple[str, ...] = ("hamburger", "panda", "koala", "pizza")
SPLITS: tuple[str, ...] = ("train", "validation", "test")
SMALLEST_SIDE = 8

_Plane: TypeAlias = NDArray[np.complex128]
_Field: TypeAlias = NDArray[np.float64]
_Colour: TypeAlias = tuple[float, float, float]


# Signed distances: negative inside, positive outside, zero on the edge.


def _disc(z: _Plane, centre: complex, radius: float) -> _Field:
    distance: _Field = np.abs(z - centre) - radius
    return distance


def _discs(z: _Plane, centres: Sequence[complex], radius: float) -> _Field:
    distance: _Field = np.minimum.reduce([_disc(z, centre, radius) for centre in centres])
    return distance


def _ellipse(z: _Plane, centre: complex, axes: complex, angle: float = 0.0) -> _Field:
    """First-order distance to an ellipse whose half-axes are the two parts of ``axes``."""
    local = (z - centre) * cmath.rect(1.0, -angle)
    x, y = local.real / axes.real, local.imag / axes.imag
    level = np.sqrt(x * x + y * y)
    slope = np.sqrt((x / axes.real) ** 2 + (y / axes.imag) ** 2)
    distance: _Field = level * (level - 1.0) / (slope + 1e-9)
    return distance


def _box(z: _Plane, centre: complex, half: complex, radius: float) -> _Field:
    """Distance to an upright box with the half-extents ``half`` and corners rounded by ``radius``."""
    x = np.abs(z.real - centre.real) - (half.real - radius)
    y = np.abs(z.imag - centre.imag) - (half.imag - radius)
    outside = np.sqrt(np.maximum(x, 0.0) ** 2 + np.maximum(y, 0.0) ** 2)
    distance: _Field = outside + np.minimum(np.maximum(x, y), 0.0) - radius
    return distance


def _capsule(z: _Plane, start: complex, end: complex, radius: float) -> _Field:
    along = end - start
    position = ((z - start) * along.conjugate()).real / abs(along) ** 2
    return _disc(z - np.minimum(np.maximum(position, 0.0), 1.0) * along, start, radius)


def _polygon(z: _Plane, corners: Sequence[complex]) -> _Field:
    """Distance (a lower bound beyond the corners) to a convex polygon, clockwise on the screen."""
    sides = []
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        normal = -1j * (end - start) / abs(end - start)
        sides.append(((z - start) * normal.conjugate()).real)
    distance: _Field = np.maximum.reduce(sides)
    return distance


def _scallops(z: _Plane, centre: complex, period: float, radius: float) -> _Field:
    """Distance to an endless row of discs through ``centre``, one every ``period``."""
    x = z.real - centre.real
    return _disc(z - period * np.rint(x / period), centre, radius)


def _fluffy(z: _Plane, centre: complex, radius: float, depth: float) -> _Field:
    """Distance to a disc whose edge waves eight times around, ``depth`` in and out."""
    distance = _disc(z, centre, 0.0)
    turn = (z - centre) / (distance + 1e-9)
    for _ in range(3):
        turn = turn * turn
    return distance - radius - depth * turn.real


class _Canvas:
    """An RGB picture of floats, 1 being full brightness, and its pixels' points in the current frame.

    The first frame has its origin in the middle of the picture, and the shorter side spans [-1, 1].
    """

    def __init__(self, height: int, width: int) -> None:
        shorter = min(height, width)
        x = (2.0 * np.arange(width) + 1.0 - width) / shorter
        y = (2.0 * np.arange(height) + 1.0 - height) / shorter
        self.z: _Plane = x[None, :] + 1j * y[:, None]
        self.pixel = 2.0 / shorter
        self.image: _Field = np.zeros((3, height, width))
        self.light: _Field = np.ones((3, 1, 1))

    def enter(self, centre: complex, radius: float, tilt: float, mirrored: bool) -> None:
        """Move to the frame of an object: its centre, its radius, its tilt and its handedness."""
        self.z = (self.z - centre) * (cmath.rect(1.0, -tilt) / radius)
        if mirrored:
            self.z = -self.z.conj()
        self.pixel /= radius

    @property
    def folded(self) -> _Plane:
        """The plane with its left half folded onto its right half: draw one ear, get two."""
        plane: _Plane = np.abs(self.z.real) + 1j * self.z.imag
        return plane

    def paint(self, distance: _Field, colour: _Colour, opacity: float = 1.0, blur: float = 0.0) -> None:
        """Blend the lit colour in where the distance is negative, over an edge of a pixel plus ``blur``."""
        cover = np.minimum(np.maximum(0.5 - distance / (self.pixel + blur), 0.0), 1.0) * opacity
        self.image += cover * (np.array(colour)[:, None, None] * self.light - self.image)


# Colours


def _mix(first: _Colour, second: _Colour, share: float) -> _Colour:
    r, g, b = (p + share * (q - p) for p, q in zip(first, second, strict=True))
    return r, g, b


def _darker(colour: _Colour, share: float) -> _Colour:
    return _mix(colour, (0.06, 0.03, 0.05), share)


def _lighter(colour: _Colour, share: float) -> _Colour:
    return _mix(colour, (1.0, 0.99, 0.95), share)


def _pick(rng: Generator, *palette: _Colour) -> _Colour:
    """Pick one colour of the palette and vary it a little."""
    red, green, blue = palette[int(rng.integers(len(palette)))]
    jitter = rng.uniform(-0.04, 0.04, 3)
    return red + float(jitter[0]), green + float(jitter[1]), blue + float(jitter[2])


def _any_colour(rng: Generator) -> _Colour:
    """Pick any colour, from near black over greys and pastels to saturated ones."""
    hue, saturation, shade = (float(u) for u in rng.random(3))
    return colorsys.hsv_to_rgb(hue, 0.72 * saturation, 1.0 - 0.92 * shade * shade)


# The recipes: each paints one object into the unit disc, back to front.


def _hamburger(canvas: _Canvas, rng: Generator) -> None:
    bun = _pick(rng, (0.93, 0.63, 0.28), (0.86, 0.54, 0.25), (0.76, 0.46, 0.22))
    lettuce = _pick(rng, (0.45, 0.76, 0.25), (0.58, 0.82, 0.32), (0.30, 0.64, 0.24))
    cheese = _pick(rng, (1.00, 0.80, 0.22), (1.00, 0.68, 0.20))
    tomato = _pick(rng, (0.88, 0.24, 0.18), (0.95, 0.34, 0.24))
    patty = _pick(rng, (0.40, 0.22, 0.14), (0.48, 0.28, 0.17))
    seed = _lighter(bun, 0.75)
    z = canvas.z

    base = np.maximum(_box(z, 0.44j, 0.80 + 0.36j, 0.28), 0.40 - z.imag)
    dome = np.maximum(_ellipse(z, -0.08j, 0.90 + 0.72j), z.imag + 0.10)
    canvas.paint(np.minimum(base, dome) - 0.06, _darker(bun, 0.55))
    canvas.paint(base, bun)
    canvas.paint(_box(z, 0.33j, 0.93 + 0.17j, 0.15), patty)
    canvas.paint(_box(z, 0.15j, 0.90 + 0.06j, 0.05), cheese)
    canvas.paint(_polygon(z, (-0.62 + 0.16j, 0.38 + 0.16j, -0.12 + 0.46j)), cheese)
    canvas.paint(_box(z, 0.06j, 0.86 + 0.08j, 0.07), tomato)
    frill = np.minimum(_scallops(z, -0.03j, 0.32, 0.13), np.abs(z.imag + 0.09) - 0.08)
    canvas.paint(np.maximum(frill, np.abs(z.real) - 0.96), lettuce)
    canvas.paint(dome, bun)
    canvas.paint(_ellipse(z, -0.30 - 0.46j, 0.40 + 0.20j, -0.4), _lighter(bun, 0.6), 0.5, blur=0.25)
    for spot in (-0.48 - 0.34j, -0.16 - 0.56j, 0.20 - 0.36j, 0.50 - 0.42j):
        canvas.paint(_ellipse(z, spot, 0.10 + 0.06j, spot.real), seed)


def _panda(canvas: _Canvas, rng: Generator) -> None:
    white = _pick(rng, (0.97, 0.97, 0.96), (0.92, 0.94, 0.97), (0.97, 0.94, 0.88))
    black = _pick(rng, (0.11, 0.11, 0.13), (0.16, 0.12, 0.14))
    cheek = _pick(rng, (0.98, 0.62, 0.62), white)
    z, half = canvas.z, canvas.folded

    canvas.paint(_disc(half, 0.64 - 0.58j, 0.34), _mix(black, white, 0.3))
    canvas.paint(_disc(half, 0.64 - 0.58j, 0.28), black)
    canvas.paint(_ellipse(z, 0.12j, 0.95 + 0.83j), _darker(white, 0.45))
    canvas.paint(_ellipse(z, 0.12j, 0.89 + 0.77j), white)
    canvas.paint(_ellipse(z, 0.76j, 0.60 + 0.14j), _darker(white, 0.25), 0.5, blur=0.3)
    canvas.paint(_ellipse(half, 0.64 + 0.38j, 0.15 + 0.11j), cheek, 0.7, blur=0.08)
    canvas.paint(_ellipse(half, 0.39 + 0.06j, 0.20 + 0.29j, -0.6), black)
    canvas.paint(_disc(half, 0.35 + 0.01j, 0.085), _lighter(white, 0.7))
    canvas.paint(_ellipse(z, 0.40j, 0.15 + 0.10j), black)
    canvas.paint(_capsule(half, 0.63j, 0.19 + 0.57j, 0.03), black)


def _koala(canvas: _Canvas, rng: Generator) -> None:
    fur = _pick(rng, (0.70, 0.71, 0.75), (0.58, 0.60, 0.65), (0.66, 0.63, 0.62))
    inner = _pick(rng, (0.95, 0.72, 0.74), (0.92, 0.80, 0.80), (0.88, 0.62, 0.60))
    dark = _pick(rng, (0.15, 0.14, 0.17), (0.24, 0.18, 0.18))
    z, half = canvas.z, canvas.folded

    canvas.paint(_fluffy(half, 0.62 - 0.28j, 0.44, 0.04), _darker(fur, 0.45))
    canvas.paint(_fluffy(half, 0.62 - 0.28j, 0.38, 0.04), fur)
    canvas.paint(_fluffy(half, 0.65 - 0.26j, 0.23, 0.03), inner)
    canvas.paint(_ellipse(z, 0.16j, 0.72 + 0.72j), _darker(fur, 0.45))
    canvas.paint(_ellipse(z, 0.16j, 0.66 + 0.66j), fur)
    canvas.paint(_ellipse(z, 0.68j, 0.36 + 0.14j), _lighter(fur, 0.7), 0.9, blur=0.1)
    canvas.paint(_disc(half, 0.38 + 0.02j, 0.09), dark)
    canvas.paint(_ellipse(z, 0.24j, 0.19 + 0.33j), dark)
    canvas.paint(_ellipse(z, -0.05 + 0.10j, 0.06 + 0.11j), _lighter(dark, 0.45), 0.8, blur=0.06)


def _pizza(canvas: _Canvas, rng: Generator) -> None:
    crust = _pick(rng, (0.87, 0.60, 0.30), (0.78, 0.50, 0.26), (0.90, 0.70, 0.44))
    cheese = _pick(rng, (1.00, 0.83, 0.38), (0.98, 0.76, 0.34), (0.99, 0.88, 0.56))
    sauce = _pick(rng, (0.80, 0.25, 0.14), (0.88, 0.36, 0.18))
    pepperoni = _pick(rng, (0.77, 0.20, 0.16), (0.68, 0.16, 0.16))
    leaf = _pick(rng, (0.22, 0.52, 0.20), (0.32, 0.60, 0.22))
    z = canvas.z

    if rng.random() < 0.5:
        turn = cmath.rect(1.0, float(rng.uniform(0.0, math.tau)))
        fifths = [turn * cmath.rect(1.0, math.tau * k / 5) for k in range(5)]
        canvas.paint(_disc(z, 0j, 0.97), _darker(crust, 0.5))
        canvas.paint(_disc(z, 0j, 0.91), crust)
        canvas.paint(_disc(z, 0j, 0.76), sauce)
        canvas.paint(_disc(z, 0j, 0.71), cheese)
        slices = [0.47 * spot for spot in fifths]
        leaves = [0.40 * spot * cmath.rect(1.0, math.tau / 10) for spot in fifths[:3]] + [0j]
    else:
        corners = (-0.74 - 0.52j, 0.74 - 0.52j, 0.95j)
        wedge = _polygon(z, corners)
        rim = _capsule(z, -0.70 - 0.60j, 0.70 - 0.60j, 0.17)
        canvas.paint(np.minimum(wedge, rim) - 0.06, _darker(crust, 0.5))
        canvas.paint(wedge, sauce)
        canvas.paint(wedge + 0.05, cheese)
        canvas.paint(rim, crust)
        canvas.paint(_capsule(z, -0.60 - 0.65j, 0.60 - 0.65j, 0.04), _lighter(crust, 0.5), 0.6, blur=0.1)
        slices = [-0.29 - 0.20j, 0.29 - 0.10j, -0.04 + 0.35j]
        leaves = [0.04 - 0.32j, -0.14 + 0.08j]
    canvas.paint(_discs(z, slices, 0.18), _darker(pepperoni, 0.3))
    canvas.paint(_discs(z, slices, 0.14), pepperoni)
    canvas.paint(_discs(z, leaves, 0.08), leaf)


_RECIPES: tuple[Callable[[_Canvas, Generator], None], ...] = (_hamburger, _panda, _koala, _pizza)


def _background(canvas: _Canvas, rng: Generator) -> None:
    """Fill the canvas with a plain colour or a soft gradient."""
    first, second = _any_colour(rng), _any_colour(rng)
    across = (canvas.z * cmath.rect(1.0, float(rng.uniform(0.0, math.tau)))).real
    canvas.image += np.array(first)[:, None, None]
    if rng.random() < 0.5:
        canvas.paint(across, second, blur=2.0)


def _lamp(rng: Generator, strength: float, dimmest: float, brightest: float) -> _Field:
    """Pick a coloured light: factors for red, green and blue with a mean between the two bounds."""
    hue, saturation = float(rng.random()), strength * float(rng.random()) ** 2
    colour = np.array(colorsys.hsv_to_rgb(hue, saturation, 1.0))[:, None, None]
    lamp: _Field = colour * (float(rng.uniform(dimmest, brightest)) / colour.mean())
    return lamp


def draw(label: int, *, split: str, index: int, seed: int = 0, height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    """Draw one picture of a class.

    Args:
        label: The class, an index into ``CLASSES``.
        split: ``"train"``, ``"validation"`` or ``"test"``; they share no picture.
        index: Which picture of the split, from 0 on.
        seed: Which family of data sets, from 0 on.
        height: The height in pixels, at least 8.
        width: The width in pixels, at least 8.

    Returns:
        An RGB picture of shape (3, height, width) with values in 0..255, the same for the same arguments.

    Raises:
        ValueError: If the label or the split is unknown, the index or the seed is negative, or the
            picture is smaller than 8x8.
    """
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label must be in 0..{len(CLASSES) - 1}, got {label}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must not be negative, got index {index} and seed {seed}")
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(f"height and width must be at least {SMALLEST_SIDE}, got {height}x{width}")

    rng = Generator(PCG64(SeedSequence([seed, SPLITS.index(split), index])))
    canvas = _Canvas(height, width)
    daylight = _lamp(rng, 0.1, 0.85, 1.0)
    _background(canvas, rng)

    radius = float(rng.uniform(0.60, 0.86))
    reach = 1.18 - radius
    centre = complex(*rng.uniform(-reach, reach, 2))
    shadow = _ellipse(canvas.z, centre + 0.9j * radius, (0.85 + 0.2j) * radius)
    canvas.paint(shadow, (0.0, 0.0, 0.0), 0.35, blur=0.25)

    canvas.enter(centre, radius, tilt=float(rng.uniform(-0.35, 0.35)), mirrored=bool(rng.random() < 0.5))
    slope = cmath.rect(float(rng.uniform(0.0, 0.4)), float(rng.uniform(0.0, math.tau)))
    canvas.light = _lamp(rng, 0.15, 0.75, 1.1) * (1.0 + (canvas.z * slope).real)
    _RECIPES[label](canvas, rng)

    return np.rint(255.0 * np.clip(daylight * canvas.image, 0.0, 1.0)).astype(np.uint8)


def generate(
    split: str, count: int, *, seed: int = 0, height: int = 32, width: int = 32
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw the first ``count`` pictures of a split, the classes taking turns.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``; they share no picture.
        count: How many pictures, at least 1; a smaller count gives the beginning of a larger one.
        seed: Which family of data sets, from 0 on.
        height: The height in pixels, at least 8.
        width: The width in pixels, at least 8.

    Returns:
        The pictures, of shape (count, 3, height, width) with values in 0..255, and their labels, of
        shape (count,): picture i has the label i modulo 4.

    Raises:
        ValueError: If the split is unknown, the count is not positive, the seed is negative, or the
            pictures are smaller than 8x8.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = [
        draw(int(label), split=split, index=index, seed=seed, height=height, width=width)
        for index, label in enumerate(labels)
    ]
    return np.stack(images), labels
