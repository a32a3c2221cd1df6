"""Where a database lies: its URL, its file, and whether that file can be shared safely."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from dsd.errors import DsdError, UsageError

_NETWORK = (
    "nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs afs afpfs ncpfs lustre gpfs beegfs ceph glusterfs "
    "panfs pvfs2 orangefs wekafs webdav sshfs s3fs"
)
_SECRETS = ("password", "sslpassword")
_EXAMPLES = "a path such as dsd.db, sqlite:///dsd.db or postgresql://user@host/name"


def database_url(given: str) -> URL:
    """The full URL of a path, an SQLite URL or a PostgreSQL URL. Raises UsageError."""
    if not given.strip():
        raise UsageError(f"The database is an empty text; give {_EXAMPLES}.")
    unreadable = UsageError(f"The database URL cannot be read; give {_EXAMPLES}.")
    if "://" not in given:
        if re.search(r"\bpassword *=|//[^/]*@", given):  # no file: not to be printed as one
            raise unreadable
        return _sqlite_url(given)
    try:
        url = make_url(given)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise unreadable from None
    if backend == "sqlite":
        return _sqlite_url(url.database or "")
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise UsageError(f"No support for a {backend} database; give {_EXAMPLES}.")


def _sqlite_url(path: str) -> URL:
    if path in ("", ":memory:") or path.startswith("file:"):
        raise UsageError(f"SQLite needs a plain file that processes can share; give {_EXAMPLES}.")
    return URL.create("sqlite", database=str(Path(path).expanduser().absolute()))


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite URL, None for a server."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def describe(url: URL) -> str:
    """The database for a message: never a password, nor options, which may hold one."""
    file = sqlite_file(url)
    bare = url.set(drivername=url.get_backend_name(), query={})._replace(password=None)
    return str(file) if file else bare.render_as_string()


def hidden(url: URL, text: str) -> str:
    """A text with the URL's passwords, written plainly or as a URL writes them, as ***."""
    known = [url.password, *(url.query.get(name) for name in _SECRETS)]
    for secret in {str(word) for word in known if word}:
        for written in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(written, "***")
    return text


def without_secrets(url: URL) -> URL:
    """The same database for a command line or a script: the password comes from elsewhere then."""
    return url.difference_update_query(_SECRETS)._replace(password=None)


def identity(url: URL) -> str:
    """Eight letters that name a database, whoever asks and however its URL is written."""
    file = sqlite_file(url)
    if file:
        place = str(file.resolve())
    else:
        query = {**url.query}
        host, port = url.host or query.get("host", ""), url.port or query.get("port", 5432)
        place = f"postgresql {host} {port} {url.database}"
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def check_file(path: Path, write: bool) -> None:
    """Raises DsdError where SQLite could not work at `path`, or could not work safely."""
    if path.is_dir():
        raise DsdError(f"{path} is a folder; the database needs a file, such as {path / 'dsd.db'}.")
    if not write and not path.exists():
        raise DsdError(f"No database {path} yet: `dsd sample SPACE --n 500` makes it.")
    if not path.parent.is_dir():
        raise DsdError(f"No folder {path.parent} for the database {path.name}: make it first.")
    kind = network_file_system(path) if write else None
    if kind:
        raise DsdError(
            f"{path} lies on a network file system ({kind}), where SQLite loses data. Put it on a "
            f"local disk, or use a server: --db postgresql://user@host/name"
        )


def network_file_system(path: Path) -> str | None:
    """The type of the network file system that holds `path`, None on a local disk."""
    import psutil

    mounts = [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    kind = file_system(path.resolve(), mounts)
    return kind if kind.removeprefix("fuse.") in _NETWORK.split() else None


def file_system(path: Path, mounts: list[tuple[str, str]]) -> str:
    """The type of the innermost mount (point, type) above an absolute path; "" if none."""
    above = [(len(point), kind.lower()) for point, kind in mounts if path.is_relative_to(point)]
    deepest = max((length for length, _ in above), default=0)
    # A later mount on the same point hides the earlier one.
    return next((kind for length, kind in reversed(above) if length == deepest), "")
