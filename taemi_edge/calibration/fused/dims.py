"""Sizes that depend on a graph's inputs: sums of products of names, such as `batch * tokens + 1`.

Two sizes that are written alike are equal whatever the inputs are. Two that are written differently may be equal too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

#: A product of names, sorted; the empty product is 1.
_Product = tuple[str, ...]


@dataclass(frozen=True)
class Dim:
    """A size: whole multiples of products of names. No name stands for a negative number.

    Example:
        >>> batch = Dim.named("batch")
        >>> print(batch * Dim.of(3) - batch)
        2*batch
    """

    terms: tuple[tuple[_Product, int], ...]

    @classmethod
    def of(cls, number: int) -> Dim:
        """A number that does not depend on inputs."""
        return _dim({(): number})

    @classmethod
    def named(cls, name: str) -> Dim:
        """A size that is known by its name alone."""
        return cls((((name,), 1),))

    @property
    def number(self) -> int | None:
        """The number that it is, None where it depends on inputs."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def name(self) -> str | None:
        """The single name that it is."""
        if len(self.terms) == 1 and self.terms[0][1] == 1 and len(self.terms[0][0]) == 1:
            return self.terms[0][0][0]
        return None

    @property
    def is_never_negative(self) -> bool:
        """Whether no input can make it negative."""
        return all(factor >= 0 for _, factor in self.terms)

    def __add__(self, other: Dim) -> Dim:
        found = dict(self.terms)
        for product, factor in other.terms:
            found[product] = found.get(product, 0) + factor
        return _dim(found)

    def __sub__(self, other: Dim) -> Dim:
        return self + other * Dim.of(-1)

    def __mul__(self, other: Dim) -> Dim:
        found: dict[_Product, int] = {}
        for left, a in self.terms:
            for right, b in other.terms:
                product = tuple(sorted((*left, *right)))
                found[product] = found.get(product, 0) + a * b
        return _dim(found)

    def divided_by(self, other: Dim) -> Dim | None:
        """The quotient where the division leaves no rest and the divisor is one product; None elsewhere.

        Example:
            >>> print((Dim.named("batch") * Dim.of(12)).divided_by(Dim.of(3)))
            4*batch
        """
        if len(other.terms) != 1:
            return None
        divisor, factor = other.terms[0]
        found = {}
        for product, multiple in self.terms:
            rest = _without(product, divisor)
            if rest is None or multiple % factor:
                return None
            found[rest] = multiple // factor
        return _dim(found)

    def __str__(self) -> str:
        words = ["*".join([*([str(n)] if n != 1 or not names else []), *names]) for names, n in self.terms]
        return " + ".join(words) or "0"


def product_of(dims: Iterable[Dim]) -> Dim:
    """The product of sizes; 1 where there are none."""
    return reduce(Dim.__mul__, dims, ONE)


def numbers_of(dims: Sequence[Dim]) -> list[int] | None:
    """The numbers that sizes are, None where one of them depends on inputs."""
    found = [dim.number for dim in dims]
    return None if any(number is None for number in found) else [number for number in found if number is not None]


def _dim(terms: dict[_Product, int]) -> Dim:
    return Dim(tuple(sorted((product, factor) for product, factor in terms.items() if factor)))


def _without(product: _Product, divisor: _Product) -> _Product | None:
    """The names of a product that are left when those of the divisor are taken out."""
    rest = list(product)
    for name in divisor:
        if name not in rest:
            return None
        rest.remove(name)
    return tuple(rest)


#: The size of an axis that is repeated where it meets a longer one.
ONE = Dim.of(1)
