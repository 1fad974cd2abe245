"""Files on disk: written whole or left as they were, and read only where they are plain files."""

import errno
import os
import secrets
import stat
from pathlib import Path

from batchnorm.errors import RunError

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on the size of files",
    errno.ENOENT: "make its folder first",
    errno.EISDIR: "name a file",
    errno.ELOOP: "mend the symbolic link",
}
_NAME = 40  # letters of a file's name that its temporary file begins with


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that under its name there is never partial content.

    A new file gets the mode that the umask leaves, an existing one keeps its mode. Through a
    symbolic link its target is written. A device or a pipe is written as it is.

    Args:
        path: where to write; its folder exists.
        content: what to write.

    Raises:
        RunError: it cannot be written; what was there before is still there.
    """
    try:
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            _replace(path, content, mode)
        else:
            _send(path, content, mode)
    except OSError as error:
        raise unwritten(path, error) from error


def append_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Add to the end of a file, all of it or nothing.

    Args:
        path: the file; it is made where there is none.
        content: what to add.
        durable: whether to wait until the disk has it.

    Raises:
        RunError: it cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                left = memoryview(content)
                while left:
                    left = left[file.write(left) :]
                if durable:
                    os.fsync(file.fileno())
            except BaseException:
                file.truncate(before)
                raise
    except OSError as error:
        raise unwritten(path, error) from error


def unwritten(path: Path, error: OSError) -> RunError:
    """Return the error that says in one line which file could not be written, and why."""
    advice = _ADVICE.get(error.errno or 0, "check it and its folder")
    return RunError(f"{path} cannot be written ({reason(error)}): {advice}")


def obstacle(path: Path) -> str | None:
    """Return what keeps a file from being written, as far as that shows beforehand, or `None`.

    Example:
        >>> obstacle(Path("."))
        'it is a folder'
    """
    try:
        mode = _mode(path)
    except OSError as error:
        return reason(error)
    folder = Path(os.path.realpath(path)).parent
    if mode is not None and stat.S_ISDIR(mode):
        return "it is a folder"
    if mode is not None and not os.access(path, os.W_OK):
        return "it is write-protected"
    if not folder.is_dir():
        return "there is no such folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "its folder is write-protected"
    return None


def read_plain(path: Path) -> bytes:
    """Return the content of a plain file; a pipe or a device could make its reader wait for ever.

    Raises:
        OSError: it is something else, or cannot be read.
    """
    check_plain(path)
    return path.read_bytes()


def check_plain(path: Path) -> None:
    """Check that a path leads to a plain file.

    Raises:
        OSError: there is none, or it is a folder, a pipe, a device or a socket.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))


def reason(error: OSError) -> str:
    """Return why the system refused, without the number and the path.

    Example:
        >>> reason(FileNotFoundError(2, "No such file or directory", "a.pt"))
        'No such file or directory'
    """
    return error.strerror or str(error) or type(error).__name__


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _replace(path: Path, content: bytes, mode: int | None) -> None:
    if mode is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is write-protected", str(path))
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:_NAME]}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _send(path: Path, content: bytes, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # Without O_NONBLOCK, opening a pipe that nobody reads waits for ever.
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        os.set_blocking(descriptor, True)
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
