"""Lanczos iteration: the ends of the spectrum of a symmetric matrix that only multiplies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from batchnorm.errors import OptionError

_LEAST_VECTORS = 24
_PRODUCTS_FOR_EACH = 3  # a block, a second one where both ends are wanted, and a last for the bound
_NOTHING = 1e-14  # of a vector's length; less is rounding
_HALF = 0.5  # of a length that orthogonalizing a second time leaves; less was rounding

Multiply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Lanczos:
    """How eigenvalues are looked for.

    Args:
        tolerance: the bound at which an eigenvalue is good enough, relative to its magnitude.
        max_products: how many products of the matrix with a vector may be spent.
        seed: of the vectors to start from; the global random numbers are left alone.
        vectors: keep the eigenvectors in the record.

    Raises:
        OptionError: the tolerance is not between 0 and 1, or there are fewer than three products.

    Example:
        >>> Lanczos(tolerance=1e-6).max_products
        200
    """

    tolerance: float = 1e-3
    max_products: int = 200
    seed: int = 0
    vectors: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            raise OptionError(
                f"tolerance must lie between 0 and 1, got {self.tolerance}: take 1e-3, which gives "
                "three digits"
            )
        self.check_products(1)

    def check_products(self, wanted: int) -> None:
        """Refuse fewer products than so many eigenvalues take.

        Raises:
            OptionError: there are too few.
        """
        if self.max_products < _PRODUCTS_FOR_EACH * wanted:
            raise OptionError(
                f"max_products must be at least {_PRODUCTS_FOR_EACH * wanted} for {wanted} "
                f"eigenvalues, got {self.max_products}: take 100 for each"
            )


class Ends(NamedTuple):
    """How many eigenvalues are wanted.

    Attributes:
        largest: from the upper end.
        smallest: from the lower end, the most negative ones.
    """

    largest: int
    smallest: int

    def chosen(self, count: int, extra: int = 0) -> list[int]:
        """Return their places among `count` ascending values, from the largest down.

        Args:
            count: of the values.
            extra: how many more to take at an end of which some are wanted.
        """
        up = self.largest + extra * bool(self.largest)
        low = self.smallest + extra * bool(self.smallest)
        return [*range(count - 1, count - 1 - up, -1), *range(low - 1, -1, -1)]


class Pairs(NamedTuple):
    """Approximate eigenpairs of a matrix of n rows, from the largest down.

    Attributes:
        values: shape ``(k,)``, float64.
        bounds: shape ``(k,)``: the norm of each residual; some eigenvalue lies so near.
        converged: shape ``(k,)``: whether the bound is within the tolerance.
        vectors: shape ``(k, n)``, orthonormal.
        products: how many were made.
    """

    values: Tensor
    bounds: Tensor
    converged: Tensor
    vectors: Tensor
    products: int


def eigenpairs(
    multiply: Multiply,
    size: int,
    ends: Ends,
    options: Lanczos,
    *,
    floor: float,
    device: torch.device | None = None,
) -> Pairs:
    r"""Return the ends of the spectrum, by block Lanczos with thick restarts.

    Every new vector is made orthogonal to all that are kept, twice. A block has as many vectors as
    eigenvalues are wanted at an end, so that one of that multiplicity is found as often as it is
    there. At the end one more product is made of each eigenvector y, and the eigenvalue is
    :math:`\theta = y^T A y` with the bound :math:`\lVert A y - \theta y \rVert`: of the
    multiplication as it is, with its rounding.

    Args:
        multiply: takes vectors, ``(b, n)``, to their images, in float64.
        size: n.
        ends: what is wanted, n at most.
        options: tolerance, products and seed.
        floor: what the multiplication rounds to, relative to the largest magnitude. A value of no
            more is as good as 0, and so is its bound.
        device: of the vectors.

    References:
        Golub and Underwood (1977), "The Block Lanczos Method for Computing Eigenvalues";
        Wu and Simon (2000), "Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems";
        Parlett (1998), "The Symmetric Eigenvalue Problem", theorem 4.5.1, for the bound.

    Example:
        >>> diagonal = torch.tensor([1.0, 3.0, 3.0, -2.0]).double()
        >>> found = eigenpairs(diagonal.mul, 4, Ends(2, 1), Lanczos(), floor=1e-10)
        >>> [round(value, 6) for value in found.values.tolist()]
        [3.0, 3.0, -2.0]
    """
    wanted = sum(ends)
    most = max(_LEAST_VECTORS, 6 * wanted)
    space = _Space(multiply, (min(most, size), size), max(ends), options.seed, device)
    while space.width and space.products + space.width + wanted <= options.max_products:
        if len(space.values) + space.width > most:
            space.shrink(ends.chosen(len(space.values), extra=most // 4))
        space.grow()
        if len(space.values) >= wanted:
            chosen = ends.chosen(len(space.values))
            limits = _limits(space.values[chosen], space.values, options.tolerance, floor)
            if (space.residuals(chosen) <= limits).all():
                break
    found = space.vectors(ends.chosen(len(space.values)))
    images = multiply(found)
    values = (found * images).sum(1)
    bounds = torch.linalg.vector_norm(images - values[:, None] * found, dim=1)
    good = bounds <= _limits(values, space.values, options.tolerance, floor)
    order = values.argsort(descending=True)
    return Pairs(
        values[order], bounds[order], good[order], found[order], space.products + len(found)
    )


def _limits(values: Tensor, spectrum: Tensor, tolerance: float, floor: float) -> Tensor:
    """Return the bounds at which values are good enough."""
    nothing = floor * spectrum.abs().max()
    return torch.where(values.abs() <= nothing, nothing, tolerance * values.abs())


class _Space:
    """The space of the vectors that are kept, and what the matrix is on it.

    Args:
        multiply: by the matrix.
        shape: how many vectors it holds at most, and their size.
        block: how many are added at a time.
        seed: of the random ones.
        device: of all.

    Attributes:
        values: the eigenvalues on the space, ascending.
        products: how many were made.
    """

    def __init__(
        self,
        multiply: Multiply,
        shape: tuple[int, int],
        block: int,
        seed: int,
        device: torch.device | None,
    ) -> None:
        self._multiply = multiply
        self._block = block
        self._generator = torch.Generator().manual_seed(seed)  # the same on every device
        self._rows = torch.empty(shape, dtype=torch.float64, device=device)
        self._projected = self._coordinates = self._rows.new_empty(0, 0)
        self.values = self._rows.new_empty(0)
        self.products = 0
        self._next = self._orthonormal(self._basis, [])

    @property
    def _basis(self) -> Tensor:
        return self._rows[: len(self.values)]

    @property
    def width(self) -> int:
        """How many vectors come next; 0 where the space is the whole one."""
        return len(self._next)

    def grow(self) -> None:
        """Add the next vectors, and find those after them."""
        images = self._multiply(self._next)
        self.products += self.width
        beside, inside = self._basis @ images.T, self._next @ images.T
        upper = torch.cat([self._projected, beside], 1)
        lower = torch.cat([beside.T, (inside + inside.T) / 2], 1)
        self._projected = torch.cat([upper, lower])
        self._rows[len(self.values) : len(self._projected)] = self._next
        self.values, self._coordinates = torch.linalg.eigh(self._projected)
        sizes = torch.linalg.vector_norm(images, dim=1).tolist()
        remainder = _without(_without(images, self._basis), self._basis)
        self._next = self._orthonormal(remainder, sizes)
        self._coupling = self._next @ remainder.T

    def residuals(self, chosen: list[int]) -> Tensor:
        """Return the norms of the residuals of some of the eigenvectors on the space."""
        tail = self._coordinates[-self._coupling.shape[1] :, chosen]
        found: Tensor = torch.linalg.vector_norm(self._coupling @ tail, dim=0)
        return found

    def vectors(self, chosen: list[int]) -> Tensor:
        """Return some of the eigenvectors on the space."""
        found: Tensor = self._coordinates[:, chosen].T @ self._basis
        return found

    def shrink(self, chosen: list[int]) -> None:
        """Keep some of the eigenvectors on the space, and what comes next."""
        self._rows[: len(chosen)] = self.vectors(chosen)
        self.values = self.values[chosen]
        self._projected = torch.diag(self.values)

    def _orthonormal(self, candidates: Tensor, sizes: list[float]) -> Tensor:
        """Return an orthonormal block that is orthogonal to the basis.

        Args:
            candidates: what to make it of; where they do not suffice, random ones do.
            sizes: the lengths that theirs are measured by.
        """
        size = self._rows.shape[1]
        width = min(self._block, size - len(self.values))
        found = self._rows[:0]
        for candidate, length in zip(candidates, sizes, strict=True):
            found = self._extended(found, candidate, length)[:width]
        while len(found) < width:
            drawn = torch.randn(size, generator=self._generator, dtype=torch.float64)
            found = self._extended(found, drawn.to(found.device), drawn.norm().item())
        return found

    def _extended(self, found: Tensor, candidate: Tensor, size: float) -> Tensor:
        """Return `found` with what is new in a vector, if anything is beyond rounding."""
        rest = _without(_without(candidate, self._basis), found)
        length = torch.linalg.vector_norm(rest)
        if length <= _NOTHING * size:
            return found
        rest = _without(_without(rest / length, self._basis), found)
        length = torch.linalg.vector_norm(rest)
        return found if length < _HALF else torch.cat([found, (rest / length)[None]])


def _without(vectors: Tensor, basis: Tensor) -> Tensor:
    """Return what of vectors is orthogonal to a basis."""
    return vectors - (vectors @ basis.T) @ basis
