"""Version of the installed package, as files and pages that it writes state it."""

import functools
from importlib import metadata


@functools.cache
def own_version() -> str:
    """Return the version, which `batchnorm.__version__` repeats.

    Read from the installation and not from the package, which would import all of it.
    """
    return metadata.version("batchnorm")
