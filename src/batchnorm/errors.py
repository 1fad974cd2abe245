"""Errors of this package, each also the builtin that PyTorch's own check raises."""


class BatchNormError(Exception):
    """Base of every error that `batchnorm` raises on purpose."""


class ShapeError(BatchNormError, ValueError):
    """A tensor has the wrong number of dimensions."""


class ChannelError(ShapeError, RuntimeError):
    """A per-channel tensor has another length than the input has channels."""


class CountError(BatchNormError, ValueError):
    """A training batch has too few values per channel to have a variance."""


class DTypeError(BatchNormError, TypeError, RuntimeError):
    """Tensors have dtypes that do not go together."""


class DeviceError(BatchNormError, RuntimeError):
    """Tensors are on different devices."""


class TransformError(BatchNormError, RuntimeError):
    """A transform of `torch.func` was not given what has to change, or has to be looked at."""


class OptionError(BatchNormError, ValueError):
    """An option has a value outside its range."""


class NonFiniteError(BatchNormError, FloatingPointError):
    """A statistic of a batch is NaN or infinite, and that was to be an error."""


class BackendError(BatchNormError, RuntimeError):
    """A backend was asked for by name and cannot be had."""


class DataError(BatchNormError, ValueError):
    """A file or data set is missing, damaged or not what it claims to be."""


class RunError(BatchNormError, RuntimeError):
    """A run folder cannot be used as asked, or a run could not go on."""


class SurgeryError(BatchNormError, RuntimeError):
    """A model cannot be changed as asked; it is as it was before."""


class MeasurementError(BatchNormError, RuntimeError):
    """A model, a loss or a batch cannot be measured as asked; the model is as it was before."""


class MissingExtraError(BatchNormError, ImportError):
    """An optional package that this part needs is not installed."""
