"""Files that are either whole or not there, and of one writer at a time."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import BaseFileLock


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` once the block has succeeded.

    The temporary file lies beside `path`, so that the final rename stays on one
    file system and a reader sees the old file or the new one, never a part. Its
    data are flushed to disk before the rename.

    Parameters
    ----------
    path : Path
        The file to write or replace; missing parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: writers such as h5py and tifffile look at it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def lock_of(path: Path) -> BaseFileLock:
    """Return a lock, not yet taken, that goes with a file.

    The operating system holds it: it ends with the process that has it, however that
    ends, and counts on network shares too, where these know locks (NFS, SMB; Lustre
    mounted with ``flock``). It lies in the folder ``.locks`` beside the file and stays
    there, empty: to remove it would let two processes lock two files of one name.

    Parameters
    ----------
    path : Path
        Need not exist.
    """
    # Here, since most of what is written is of one process.
    from filelock import FileLock

    folder = path.parent / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    # A job may go on in another thread than it began in.
    return FileLock(folder / f"{path.name}.lock", thread_local=False)
