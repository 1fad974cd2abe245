"""Sharpness: the largest eigenvalues of the Hessian of a loss by the parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import Module

from batchnorm._model._call import Forward, check_batches
from batchnorm._model._find import unwrapped
from batchnorm._model._record import Record
from batchnorm.errors import DataError, OptionError
from batchnorm.measure._hessian import Hessian, Units, check_units, chosen_parameters
from batchnorm.measure._lanczos import Ends, Lanczos, eigenpairs
from batchnorm.measure._objective import Loss, check_pair, lent, loss_of

_DEFAULT = Lanczos()


@dataclass(frozen=True)
class Eigenvalue(Record):
    """One eigenvalue.

    Attributes:
        value: of it.
        bound: norm of the residual: an eigenvalue of the Hessian lies so near.
        converged: whether the bound is within the tolerance; where the value is 0 but for rounding,
            whether the bound is.
    """

    value: float
    bound: float
    converged: bool


@dataclass(frozen=True, eq=False)
class Sharpness(Record):
    """What `sharpness` found.

    Attributes:
        loss: mean over the batches.
        eigenvalues: from the largest down; the smallest ones, if asked for, come last.
        relative_to: what the parameters were measured in; `None` in their own units.
        parameters: how many values the Hessian is by, its number of rows.
        batches: how many.
        products: how many of the Hessian with a vector were made.
        vectors: unit eigenvectors, by name of the parameter, float64; none unless asked for.
    """

    loss: float
    eigenvalues: tuple[Eigenvalue, ...]
    relative_to: str | None
    parameters: int
    batches: int
    products: int
    vectors: tuple[dict[str, Tensor], ...] = field(default=(), repr=False)

    @property
    def largest(self) -> float:
        """The largest eigenvalue; gradient descent is unstable along it at steps over 2 / this."""
        return self.eigenvalues[0].value

    @property
    def converged(self) -> bool:
        """Whether every bound is within the tolerance."""
        return all(each.converged for each in self.eigenvalues)

    @property
    def note(self) -> str | None:
        """What is missing, where not all converged."""
        if self.converged:
            return None
        missing = sum(not each.converged for each in self.eigenvalues)
        return (
            f"not converged: {missing} of {len(self.eigenvalues)} eigenvalues are only as good as "
            f"their bounds after {self.products} products; allow more, a larger tolerance, or less "
            "rounding (a model in float64, no autocast)"
        )


def sharpness(
    model: Module,
    batches: Iterable[Any],
    loss: Loss | None = None,
    *,
    k: int = 1,
    smallest: int = 0,
    names: Iterable[str] | None = None,
    relative_to: Units | None = None,
    forward: Forward | None = None,
    training: bool | None = None,
    lanczos: Lanczos = _DEFAULT,
) -> Sharpness:
    r"""Measure how sharply the loss curves: the largest eigenvalues of its Hessian.

    With the mean loss L over the batches, each weighted by its number of examples, and the
    parameters w, the ends of the spectrum of

    .. math::

        H = \nabla^2 L(w) \qquad\text{or, relative to their size,}\qquad
        T_w H T_w, \quad T_w \text{ diagonal}

    The second one is the Hessian by u, where :math:`w + T_w u` are the parameters. So it does not
    change when weights before a batch normalization are scaled, which the loss does not notice,
    but which divides their part of H by the square of the scale. The unit in :math:`T_w` is

    - ``"model"``: the norm of all chosen parameters together. Where the loss does not depend on
      that norm, the result is the Hessian at :math:`w / \lVert w \rVert` (spherical sharpness).
    - ``"filter"``: the norm of what belongs to one place of the first dimension, which is the
      output channel of linear and convolutional weights; for vectors, the magnitude of the value.
    - ``"element"``: the magnitude of each value.

    Args:
        model: any model with real parameters.
        batches: of what `internal_covariate_shift` takes one, such as a list or a `DataLoader`.
            They are gone through once, and kept meanwhile.
        loss: as for `internal_covariate_shift`; a mean over the examples of the batch.
        k: how many of the largest eigenvalues.
        smallest: how many of the smallest, the most negative ones.
        names: qualified names of parameters, or of modules for all of theirs; `None` takes all
            that require a gradient. The others are held.
        relative_to: the unit of the parameters, as above; `None` leaves them their own.
        forward: as for `internal_covariate_shift`.
        training: as for `internal_covariate_shift`. In training mode, batch normalization depends
            on the parameters through the statistics of the batch, and so does the Hessian.
        lanczos: tolerance, most products, seed, and whether to keep the eigenvectors.

    Returns:
        The eigenvalues, each with its bound, and whether they converged.

    Raises:
        OptionError: `batches` is a single batch, fewer than one eigenvalue or more than there are
            parameters are asked for, too few products are allowed for them, or a name or unit is
            unknown.
        DataError: there is no batch, one is no pair though there is a `loss`, or the number of
            examples of one cannot be told from its first tensor.
        MeasurementError: as for `internal_covariate_shift`; a chosen parameter is complex; the loss
            has no second derivative, or one that is NaN or infinite.
        NonFiniteError: the loss or a gradient is NaN or infinite.

    Note:
        The bound is measured, rounding included, and says that an eigenvalue lies so near. That no
        other one lies beyond is as good as sure from a random start, not proven. A product costs a
        forward and two backward passes over all batches, less where several eigenvalues are asked
        for at once. At most 24 vectors of float64 are kept, or six for each of more than four
        eigenvalues. Every product sees the same dropout masks, others for each batch, and the same
        buffers: the Hessian is that of the network with these masks. Of ReLU and the like it is the
        second derivative where there is one, almost everywhere. A backward pass written by hand has
        to be differentiable itself; most that are not raise, or leave large bounds.

    References:
        Pearlmutter (1994), "Fast Exact Multiplication by the Hessian", for the products. Ghorbani
        et al. (2019), "An Investigation into Neural Net Optimization via Hessian Eigenvalue
        Density", section 4, for what batch normalization does to the largest ones. Lyu, Li and
        Arora (2022), "Understanding the Generalization Benefit of Normalization Layers: Sharpness
        Reduction", for spherical sharpness. Kwon et al. (2021), "ASAM: Adaptive Sharpness-Aware
        Minimization for Scale-Invariant Learning of Deep Neural Networks", section 3, for units of
        filters and elements.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> bowl = lambda model, batch: (model.weight.square() * batch).sum() / 2
        >>> record = sharpness(model, [torch.tensor([[3.0, -1.0]])], forward=bowl, smallest=1)
        >>> [round(each.value, 3) for each in record.eigenvalues], record.converged
        ([3.0, -1.0], True)
    """
    check_batches(batches, again=False)
    check_units(relative_to)
    ends = _ends(k, smallest)
    lanczos.check_products(sum(ends))
    model = unwrapped(model)
    compute = loss_of(model, loss, forward)
    parameters = chosen_parameters(model, names)
    with lent(model, training=training) as loan:
        kept = _kept(batches, pairs=loss is not None)
        hessian = Hessian(loan, compute, parameters, kept, relative_to)
        _check_size(hessian.size, sum(ends))
        found = eigenpairs(
            hessian.multiply,
            hessian.size,
            ends,
            lanczos,
            floor=hessian.rounding ** (2 / 3),  # as ARPACK
            device=hessian.device,
        )
    columns = (found.values.tolist(), found.bounds.tolist(), found.converged.tolist())
    return Sharpness(
        hessian.loss,
        tuple(Eigenvalue(*row) for row in zip(*columns, strict=True)),
        relative_to,
        hessian.size,
        len(kept),
        found.products,
        tuple(map(hessian.split, found.vectors)) if lanczos.vectors else (),
    )


def _ends(k: int, smallest: int) -> Ends:
    if k < 1 or smallest < 0:
        raise OptionError(
            f"k must be at least 1 and smallest at least 0, got {k} and {smallest}: "
            "take k=1 for the sharpness"
        )
    return Ends(k, smallest)


def _check_size(size: int, wanted: int) -> None:
    if wanted > size:
        raise OptionError(
            f"no more eigenvalues than parameters can be had, got {wanted} asked for of {size}: "
            "take a smaller k or smallest, or more names"
        )


def _kept(batches: Iterable[Any], *, pairs: bool) -> list[Any]:
    kept = list(batches)
    if not kept:
        raise DataError("at least one batch is needed, got none: look at where they come from")
    if pairs:
        for batch in kept:
            check_pair(batch)
    return kept
