"""The bearer token with which one service calls the other."""

from pathlib import Path


class ServiceToken:
    """The token in a file, read anew whenever the file has changed: it can be renewed without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        """The token of this moment; raises `OSError` when there is no file."""
        status = self._path.stat()
        version = (status.st_mtime_ns, status.st_ino)
        if version != self._read_at:
            self._token = self._path.read_text("ascii").strip()
            self._read_at = version
        return self._token
