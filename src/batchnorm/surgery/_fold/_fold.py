"""Folding: normalization with population statistics becomes part of a linear map."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from batchnorm._model._affine import activation_parts
from batchnorm._model._behaviour import Pass
from batchnorm._model._borrow import borrowed
from batchnorm._model._call import arguments, changed, check_call
from batchnorm._model._compare import Proof
from batchnorm._model._edit import Edit, edit
from batchnorm._model._find import activation_module, check_initialized, is_batch_norm
from batchnorm._model._linear import Weights, is_linear_map
from batchnorm._model._observe import observed
from batchnorm._model._trace import trace
from batchnorm.errors import SurgeryError
from batchnorm.nn import Layer
from batchnorm.nn._modes import check_model
from batchnorm.surgery._fold._facts import Facts, facts_of
from batchnorm.surgery._fold._pairs import Pair, graph_of_pairs, named_pairs
from batchnorm.surgery._fold._plan import Convolution, Plan, plan
from batchnorm.surgery._fold._sizes import varying_numbers
from batchnorm.surgery._record import LEFT_ALONE, NO_LAYERS, Change, Record

_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


def fold(
    model: nn.Module,
    example_inputs: Any,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    tolerance: float | None = None,
    random_inputs: bool = True,
) -> Record:
    r"""Fold batch normalization into the linear maps beside it, in place, and prove it by numbers.

    With population statistics it is an affine map of every channel, so a linear or convolution
    layer before it, or after it, can do its work:

    .. math::

        s = \frac{w}{\sqrt{\sigma^2 + \epsilon}} \qquad t = b - s \mu \qquad
        s\,(V x + a) + t = (s V)\, x + (s a + t) \qquad
        V (s x + t) + a = (V s)\, x + (V t + a)

    What is next to what is read from the traced graph, past what a scale and a shift may pass:
    dropout in evaluation, average pooling, interpolation, sums and concatenations of several linear
    maps, and what only moves values. The layer is replaced by its activation, or by
    `torch.nn.Identity`; a layer that is alone in a branch which is added to linear maps, as in
    RepVGG, by a convolution of single channels. The linear map keeps its parameters, with new
    values, and gets a bias where it had none; the bias requires a gradient where the weight does.

    Args:
        model: the model, in evaluation mode (or with layers that are frozen); it is changed.
        example_inputs: a tensor, a tuple of arguments or a dict of keyword arguments, with which
            the model can be called.
        pairs: qualified names of neighbours, ``(first, second)`` in the order of the forward pass,
            for a model that cannot be traced. Only these are folded. That nothing else uses the
            first one's result is then your word, and what the outputs show.
        tolerance: largest relative error of an output, beside the model before in float64; `None`
            is the square root of the dtype's machine epsilon, or four times the error that the
            model has before, whichever is larger.
        random_inputs: prove it on random inputs as well, of the same shapes and scales; `False`
            for a model that refuses them.

    Returns:
        What became of every layer, and the largest relative error. A layer is left alone, with the
        reason, where folding would change more than rounding.

    Raises:
        SurgeryError: a layer is in training mode, not initialized, or one of `pairs` that cannot be
            folded; the model is TorchScript or cannot be traced; or the proof fails. The model is
            then as it was.
        OptionError: `pairs` names what the model does not have, or `example_inputs` is not what its
            forward takes.

    Note:
        All arithmetic is in float64, and every weight is rounded once. The folded model has other
        names in its `state_dict`: load weights before folding. To keep the model, fold a copy.

    References:
        Ioffe and Szegedy (2015), section 3.1, Algorithm 2, step 11.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        >>> record = fold(model.eval(), torch.randn(2, 3, 8, 8))
        >>> record.done
        (Change(module='1', what='folded', detail='into 0', error=None),)
        >>> record.largest_error < 1e-5
        True
        >>> model
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
          (2): ReLU()
        )
    """
    check_model(model)
    _check_python(model)
    check_call(model, example_inputs)
    check_initialized(model, SurgeryError)
    names = {module: name for name, module in model.named_modules()}
    norms = [name for module, name in names.items() if is_batch_norm(module)]
    named = None if pairs is None else named_pairs(model, pairs)
    if named is not None:
        norms = [norm for norm in norms if any(norm in pair for pair in named)]
    if not norms:
        return Record("fold", (), note=NO_LAYERS)
    facts = _look(model, example_inputs, named)
    _check_modes(facts, norms)
    chosen = plan(facts, norms)
    if named is not None and chosen.left:
        raise SurgeryError(
            f"pairs that can be folded are needed, got {_listing(chosen.left)}: leave them out"
        )
    error = None
    if chosen.folds:
        inputs = [example_inputs] + [_randomized(example_inputs)] * random_inputs
        proof = Proof(
            model,
            partial(_apply, chosen),
            [Pass(one, training=None) for one in inputs],
            advice="fold fewer layers with pairs=, or allow more with tolerance=",
            tolerance=tolerance,
            always_in_double=True,
        )
        with edit(model) as changes:
            _apply(chosen, model, changes)
            error = proof.check(model)
    return Record("fold", tuple(_changes(chosen, norms)), error)


def _look(model: nn.Module, example_inputs: Any, named: list[Pair] | None) -> Facts:
    """Run the model once, and trace it unless the neighbours are named."""
    args, kwargs = arguments(example_inputs)
    watched = [m for m in model.modules() if is_batch_norm(m) or is_linear_map(m)]
    with borrowed(model):
        with torch.no_grad(), observed(model, watched) as seen:
            model(*args, **kwargs)
        graph = (
            trace(model, example_inputs) if named is None else graph_of_pairs(model, named, seen)
        )
        varying = varying_numbers(model, example_inputs, graph)
    return replace(facts_of(model, graph, seen), varying=varying)


def _apply(chosen: Plan, model: nn.Module, changes: Edit) -> None:
    modules = dict(model.named_modules())
    for name, kind in chosen.made.items():
        convolution = _convolution(modules[name], chosen.weights[name], kind)
        changes.replace(modules[name], convolution)
        modules[name] = convolution
    for name, weights in chosen.weights.items():
        layer: Any = modules[name]
        changes.copy_(layer.weight, weights.stored(layer))
        if layer.bias is None:
            bias = weights.bias.to(layer.weight.dtype)
            parameter = nn.Parameter(bias, requires_grad=layer.weight.requires_grad)
            changes.set_parameter(layer, "bias", parameter)
        else:
            changes.copy_(layer.bias, weights.bias)
    for folded in chosen.folds:
        norm = modules[folded.norm]
        changes.replace(norm, _substitute(norm))


def _convolution(norm: nn.Module, weights: Weights, kind: Convolution) -> nn.Module:
    """Return a convolution of single channels for the place of a layer, without its values."""
    channels, mean = len(weights.bias), norm.get_buffer("running_mean")
    in_double = mean.dtype is torch.float64  # as in the copy that proves the fold
    dtype = mean.dtype if in_double else kind.dtype
    place: dict[str, Any] = {"device": mean.device, "dtype": dtype}
    with torch.random.fork_rng([]):  # it starts at random
        made = _CONVOLUTIONS[kind.ndim](channels, channels, 1, groups=channels, **place)
    learns = any(parameter.requires_grad for parameter in norm.parameters(recurse=False))
    return made.requires_grad_(learns).train(norm.training)


def _substitute(norm: nn.Module) -> nn.Module:
    """Return what stays in the place of a layer that is folded: its activation, if it has one."""
    if isinstance(norm, Layer):
        return activation_module(norm).train(norm.training)
    rest = activation_parts(norm)
    return nn.Identity().train(norm.training) if rest is None else rest


def _changes(chosen: Plan, norms: Iterable[str]) -> Iterator[Change]:
    folds = {folded.norm: folded for folded in chosen.folds}
    for norm in norms:
        if norm in folds:
            into = folds[norm].into
            which = "which follows" if len(into) == 1 else "which follow"
            where = "" if folds[norm].follows else f", {which}"
            yield Change(norm, "folded", f"into {' and '.join(into)}{where}")
        elif norm in chosen.made:
            yield Change(norm, "replaced", "by a convolution of single channels")
        else:
            yield Change(norm, LEFT_ALONE, chosen.left[norm])


def _check_python(model: nn.Module) -> None:
    scripted = [n for n, m in model.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        raise SurgeryError(
            f"a model in Python is needed, got TorchScript ({', '.join(scripted) or 'the model'}): "
            "fold first, then script"
        )


def _check_modes(facts: Facts, norms: Iterable[str]) -> None:
    training = [name for name in norms if facts.norms[name].trains]
    if training:
        raise SurgeryError(
            "layers that normalize with population statistics are needed, got "
            f"{len(training)} in training mode ({training[0]}): call model.eval(), or freeze them"
        )


def _randomized(example_inputs: Any) -> Any:
    """Return random inputs of the same shapes and scales."""
    generator = torch.Generator().manual_seed(0)

    def noise(x: Tensor) -> Tensor:
        if not x.is_floating_point() or not x.numel():
            return x
        values = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
        std, mean = torch.std_mean(x.double(), correction=0)
        return (values * torch.where(std > 0, std, 1.0) + mean).to(x.dtype)

    return changed(example_inputs, noise)


def _listing(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
