"""Where a manifest's files may lie: on web servers for a remote one, in its own folder for a local one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from animevid.errors import InputError
from animevid.redaction import redacted

#: FFmpeg reads no longer lines of a playlist.
_MAX_BYTES = 4000
_LONGEST_SHOWN = 80
#: They would end an address in a playlist.
_ENDING = re.compile(r'[\x00-\x1f\x7f"]')
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True, slots=True)
class Place:
    """A base that addresses are relative to.

    Args:
        manifest: the manifest's path or URL as the user gave it, for messages.
        address: what relative addresses are relative to, a path or a URL; at first that of the manifest.
        folder: of a local manifest: the folder that none of its files may leave; ``None`` for a remote one.
    """

    manifest: str
    address: str
    folder: str | None = None

    @classmethod
    def of_file(cls, path: Path) -> Place:
        """That of a local manifest."""
        whole = os.path.abspath(path)
        return cls(str(path), whole, os.path.dirname(whole))

    @property
    def is_local(self) -> bool:
        return self.folder is not None

    def at(self, reference: str) -> Place:
        """What ``reference`` names from here.

        Raises:
            InputError: it may not be read from this manifest.
        """
        if self.folder is None:
            try:
                address = quote(urljoin(self.address, reference.strip()), safe="%/:=&?~#+!$,;'@()*[]")
                allowed = urlsplit(address).scheme.lower() in ("http", "https")
            except ValueError:
                address, allowed = reference, False
            if not allowed:
                raise self._refused(address, "a manifest on a web server may name files on web servers only")
        else:
            address = self._local(reference)
        if len(os.fsencode(address)) > _MAX_BYTES or _ENDING.search(address):
            raise self._refused(address, "it is too long, or has control characters or quotation marks")
        return replace(self, address=address)

    def has(self, address: str) -> bool:
        """Whether ``address`` is there, as far as that is known without asking a server."""
        return self.folder is None or os.path.isfile(address)

    def require(self, address: str) -> None:
        """Raise ``InputError`` unless :meth:`has`."""
        if not self.has(address):
            name = os.path.basename(address)
            raise InputError(f"path = {self.manifest!r} names {name!r}, which is not in its folder")

    def _local(self, reference: str) -> str:
        assert self.folder is not None
        name = reference.removeprefix("file://").removeprefix("file:")
        if _SCHEME.match(name) and "://" in name:
            raise self._refused(reference, "a local manifest may name files in its folder only: give its URL instead")
        is_folder = self.address.endswith("/") or os.path.isdir(self.address)
        here = self.address if is_folder else os.path.dirname(self.address)
        found = ""
        for each in dict.fromkeys((name, unquote(name))):
            found = os.path.normpath(os.path.join(here, each))
            if each.endswith("/") or not each:
                found = found if each else self.address
                found += "/" if each else ""
            if os.path.commonpath((found, self.folder)) != self.folder:
                raise self._refused(reference, "a local manifest may name files in its folder only")
            if os.path.exists(found):
                break
        return found

    def _refused(self, address: str, why: str) -> InputError:
        return InputError(f"path = {redacted(self.manifest)!r} names {redacted(address)[:_LONGEST_SHOWN]!r}: {why}")
