"""Neutral steps: those that a scale and a shift of every channel may pass.

Whether they do depends on shapes, options and values, and is measured in `_way`; here stands what
may be asked at all: linear steps whose weights do not depend on the size of the input, and maxima.
"""

from batchnorm._model._graph import Step

_MOVE = frozenset(
    (
        *("alias", "channel_shuffle", "clone", "contiguous", "expand", "flatten", "flip"),
        *("getitem", "mT", "movedim", "narrow", "native_channel_shuffle", "permute"),
        *("pixel_shuffle", "pixel_unshuffle", "repeat", "repeat_interleave", "reshape", "roll"),
        *("select", "squeeze", "stack", "swapaxes", "swapdims", "t", "tile", "transpose"),
        *("unflatten", "unsqueeze", "view"),
    )
)
_DROP = frozenset(
    (
        *("alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d"),
        *("feature_alpha_dropout", "feature_dropout"),
    )
)
_AVERAGE = frozenset(
    (
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
        *("avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate", "mean", "pad"),
        *("upsample", "upsample_bilinear", "upsample_nearest"),
    )
)
JOINS = frozenset(("cat", "concat", "concatenate"))  # of several steps' results, side by side
_SUMS = frozenset(("add", "rsub", "sub"))
_SCALE = frozenset(("div", "mul", "neg"))
_MAXIMA = frozenset(
    (
        *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax"),
        *("max_pool1d", "max_pool2d", "max_pool3d"),
    )
)
_NEUTRAL = _MOVE | _DROP | _AVERAGE | JOINS | _SUMS | _SCALE | _MAXIMA
_DIVISOR = 6  # place of `divisor_override`


def is_neutral(call: Step) -> bool:
    """Return whether a scale and a shift may pass a step."""
    if call.replay is None or call.op not in _NEUTRAL:
        return False
    if call.op in ("avg_pool2d", "avg_pool3d"):  # otherwise border windows may sum to less than 1
        return call.replay.argument(_DIVISOR, "divisor_override") is None
    return call.op != "pad" or bool(call.replay.argument(2, "mode", "constant") != "constant")


def is_sum(call: Step) -> bool:
    """Return whether a step adds or subtracts results of several steps."""
    return call.op in _SUMS and len(call.inputs) > 1 and is_neutral(call)


def has_number(call: Step) -> bool:
    """Return whether a step adds a number, or multiplies by one."""
    if call.replay is None or call.op not in _SUMS | _SCALE:
        return False
    return any(number != 0 for number in call.replay.numbers)


def drops(call: Step) -> bool:
    """Return whether a step drops values at random in training."""
    return call.op in _DROP


def takes_maxima(call: Step) -> bool:
    """Return whether a step takes maxima, which a scale below zero would make minima."""
    return call.op in _MAXIMA
