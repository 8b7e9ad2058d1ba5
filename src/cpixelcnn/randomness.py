"""Counter-based randomness: every random choice is a function of (seed, purpose, counter), and no state is stored.

For a whole stream, `derive_seed` makes the seed of a generator. For single images, on any device and whatever batch
they come in, word k of a stream s is SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) of k, in
integer arithmetic (modulo 2^64, logical shifts), which is the same everywhere:

    z = s + (k + 1) * 0x9E3779B97F4A7C15,   z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9,
    z = (z ^ z >> 27) * 0x94D049BB133111EB,   z = z ^ z >> 31
"""

from __future__ import annotations

import hashlib

from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 48-bit seed that is a fixed function of its parts, such as (seed, "order", epoch).

    >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3) != derive_seed(0, "order", 4)
    True
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=6).digest()
    return int.from_bytes(digest)


def random_words(stream: int, counters: Tensor) -> Tensor:
    """64 random bits, as int64, for every counter (int64, any shape) of a stream (a seed of at most 63 bits)."""
    z = (counters + 1) * _signed(0x9E3779B97F4A7C15) + stream
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def random_integers(seed: int, purpose: str, counters: Tensor, count: int) -> Tensor:
    """An integer in {0, ..., count - 1} for every counter, equally likely to within count / 2^53."""
    return _shifted(random_words(derive_seed(seed, purpose), counters), 11) % count


def _shifted(z: Tensor, bits: int) -> Tensor:
    """z >> bits of the unsigned number."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
