# SPDX-License-Identifier: GPL-2.0-only
"""Tarballs, from the net or from disk: verified by SHA-256 before anything reads them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..core.errors import InfrastructureError, UsageError
from ..core.files import TEMPORARY, Say, sha256_file
from ..core.progress import Throttle, megabytes
from ..matrix.model import Tarball

_SILENCE = 60.0  # seconds without a byte from the server
_CHUNK = 1 << 18
_MOST_SUMS = 16 << 20  # bytes; a SHA256SUMS file is far smaller


@contextlib.contextmanager
def fetch_tarball(spec: Tarball, folder: Path, say: Say) -> Iterator[tuple[Path, str, str]]:
    """Yield (path, name, SHA-256) of the verified tarball; a downloaded one is gone afterwards.

    Raises InfrastructureError for the net and for a wrong checksum, UsageError where a
    SHA256SUMS file does not name the tarball.
    """
    name = unquote(Path(urlsplit(spec.url).path).name) or "linux.tar"
    wanted = spec.sha256 or _sum_of(name, str(spec.sha256sums), say)
    local = local_path(spec.url)
    if local is not None:
        say(f"checking {local.name}")
        try:
            found = sha256_file(local)
        except OSError as error:
            raise InfrastructureError(f"cannot be read: {error.strerror}", where=local) from error
        _verify(found, wanted, str(local))
        yield local, name, wanted
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Named by no one until it is verified, and removed whatever happens.
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as work:
        path = Path(work) / name
        _verify(_download(spec.url, path, say), wanted, spec.url)
        yield path, name, wanted


def local_path(url: str) -> Path | None:
    """The file that `url` means, or None for an address on the net."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in url else Path(url).expanduser()


def _verify(found: str, wanted: str, where: str) -> None:
    if found != wanted:
        raise InfrastructureError(
            f"the checksum is wrong: SHA-256 is {found}, but must be {wanted}",
            where=where,
            hint="the file is damaged or not the one that matrix.yaml means; nothing was used",
        )


def sum_in(text: str, name: str) -> str | None:
    """The SHA-256 of `name` in a SHA256SUMS file (a PGP frame around it does no harm)."""
    for line in text.splitlines():
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line.strip())
        if found and Path(found[2]).name == name:
            return found[1]
    return None


def _sum_of(name: str, url: str, say: Say) -> str:
    say(f"asking for the checksum of {name}")
    local = local_path(url)
    try:
        if local is not None:
            text = local.read_text(errors="replace")
        else:
            with _opened(url) as answer:
                text = answer.read(_MOST_SUMS).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error) from error
    found = sum_in(text, name)
    if found is None:
        raise UsageError(f"this file of checksums does not name {name}", where=url)
    return found


def _opened(url: str) -> http.client.HTTPResponse:
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError("only http:, https:, file: and plain paths are allowed", where=url)
    request = urllib.request.Request(url, headers={"User-Agent": "xipmatrix"})
    answer = urllib.request.urlopen(request, timeout=_SILENCE)
    assert isinstance(answer, http.client.HTTPResponse)
    return answer


def _download(url: str, path: Path, say: Say) -> str:
    """Download `url` to `path`; returns the SHA-256 of what came."""
    digest = hashlib.sha256()
    throttle = Throttle(say)
    count = 0
    try:
        with _opened(url) as answer, path.open("wb") as sink:
            total = int(answer.headers.get("Content-Length") or 0)
            while data := answer.read(_CHUNK):
                sink.write(data)
                digest.update(data)
                count += len(data)
                throttle.tell(f"downloading {path.name}: {megabytes(count, total)}")
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise _unreachable(url, error) from error
    if total and count != total:
        raise InfrastructureError(
            f"the download ended after {count} of {total} bytes", where=url, hint="try again"
        )
    return digest.hexdigest()


def _unreachable(url: str, error: Exception) -> InfrastructureError:
    why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    code = getattr(error, "code", None)
    return InfrastructureError(
        f"cannot be downloaded: {f'HTTP {code} ' if code else ''}{why}", where=url
    )
