r"""Whitening matrices, with derivatives of every order that stay finite at equal eigenvalues.

With :math:`S = \Sigma^{1/2}` and :math:`W = S^{-1}`, from :math:`S^2 = \Sigma`:

.. math::

    S\, dS + dS\, S = d\Sigma \qquad dW = -W\, dS\, W

so the derivative needs the solution of a Lyapunov equation and no eigenvector's derivative: in the
basis of the eigenvectors, with eigenvalues a and b of :math:`\Sigma`, it divides by
:math:`\sqrt a \sqrt b\, (\sqrt a + \sqrt b)` where that of an eigendecomposition divides by
:math:`a - b`. The solution's derivative is again such an equation.
"""

from typing import Any, cast

import torch
from torch import Tensor

from batchnorm.errors import NonFiniteError, OptionError

METHODS = ("zca", "cholesky")


def whitening_matrix(covariance: Tensor, method: str = "zca", eps: float = 0.0) -> Tensor:
    r"""Return a matrix W with :math:`W (\Sigma + \epsilon I) W^\top = I`.

    Args:
        covariance: :math:`\Sigma`, symmetric and not negative, shape ``(*, C, C)``; several are
            taken one by one.
        method: ``zca`` gives the symmetric :math:`(\Sigma + \epsilon I)^{-1/2}`, ``cholesky`` the
            lower triangular :math:`L^{-1}` with :math:`L L^\top = \Sigma + \epsilon I`.
        eps: added to the diagonal.

    Returns:
        W, shape of the covariance, differentiable any number of times.

    Raises:
        NonFiniteError: the covariance is not finite.
        OptionError: the method is unknown, or, with ``cholesky``, `eps` is too small for the
            rounding of the covariance.

    References:
        Kessy, Lewin and Strimmer (2018), "Optimal Whitening and Decorrelation", for both methods
        and more; Higham (2008), "Functions of Matrices", section 6.1, for the derivative of the
        square root.

    Example:
        >>> whitening_matrix(torch.tensor([[4.0, 0.0], [0.0, 9.0]], dtype=torch.float64))
        tensor([[0.5000, 0.0000],
                [0.0000, 0.3333]], dtype=torch.float64)
    """
    check_method(method)
    try:
        if method == "zca":
            return cast("Tensor", _InverseRoot.apply(covariance, eps)[0])  # type: ignore[no-untyped-call] # torch has no types here
        identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        lower = torch.linalg.cholesky(covariance + eps * identity)
        return cast("Tensor", torch.linalg.solve_triangular(lower, identity, upper=False))
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined] # documented by torch
        if not bool(covariance.isfinite().all()):
            raise NonFiniteError(
                "a covariance needs to be finite, got one with a NaN or an Inf: "
                "look for it in the layer's input"
            ) from error
        raise OptionError(
            f"a covariance needs to be positive for method={method!r}, got one that is not even "
            f"with eps={eps} on its diagonal: choose a larger eps or shrinkage"
        ) from error


def check_method(method: str) -> None:
    """Refuse a method of whitening that there is not."""
    if method not in METHODS:
        raise OptionError(
            f"method must be one of {', '.join(METHODS)}, got {method!r}: zca changes least"
        )


class _InverseRoot(torch.autograd.Function):
    """The inverse square root, with the roots of the eigenvalues and the eigenvectors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        roots = (values.clamp(min=0.0) + eps).sqrt()  # below 0 there is rounding only
        return (vectors / roots.unsqueeze(-2)) @ vectors.mT, roots, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        matrix, ctx.eps = inputs
        inverse, roots, vectors = output
        ctx.mark_non_differentiable(roots, vectors)
        ctx.save_for_backward(matrix, inverse, roots, vectors)

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor, None]:
        matrix, inverse, roots, vectors = ctx.saved_tensors
        root = matrix @ inverse + ctx.eps * inverse
        return _solve(root, -inverse @ g @ inverse, roots, vectors), None


class _Lyapunov(torch.autograd.Function):
    """The X of S X + X S = Q, where S has these eigenvalues and eigenvectors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor, q: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
        del s
        rotated = vectors.mT @ q @ vectors
        rotated = rotated / (values.unsqueeze(-1) + values.unsqueeze(-2))
        return vectors @ rotated @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        s, _, values, vectors = inputs
        ctx.save_for_backward(s, output, values, vectors)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None, None]:
        s, x, values, vectors = ctx.saved_tensors
        y = _solve(s, g, values, vectors)
        return -(y @ x.mT + x.mT @ y), y, None, None


def _solve(s: Tensor, q: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    return cast("Tensor", _Lyapunov.apply(s, q, values, vectors))  # type: ignore[no-untyped-call]
