"""Atomic outputs: files that appear under their name only when complete."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.errors import OutputError
from animevid.io.network.protocols import Spec, ffmpeg_url, is_local_file, local_path, output_error
from animevid.left_overs import hold, keep, release, sweep

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: The longest name that file systems accept (NAME_MAX), and the part of it that the stem of a hidden name may use.
_MAX_NAME_BYTES = 255
_KEPT_STEM_BYTES = 200


def check_target(path: Path, *, overwrite: bool, source: Spec | None = None) -> None:
    """Refuse a target that cannot or must not be written, before any work is done.

    Raises:
        OutputError: it exists, is a folder, is ``source`` itself, its name is too long, or its folder is missing or
            read-only.
    """
    if (length := len(os.fsencode(path.name))) > _MAX_NAME_BYTES:
        said = f"its name has {length} bytes, at most {_MAX_NAME_BYTES} are allowed"
        raise OutputError(f"path = {str(path)!r} cannot be written: {said}; choose a shorter one")
    if path.is_dir():
        raise OutputError(f"path = {str(path)!r} is a folder: give a file name")
    path = behind_links(path)
    if takes_a_stream(path):
        if not os.access(path, os.W_OK):
            raise OutputError(f"path = {str(path)!r} may not be written: check its permissions")
        return
    if not path.parent.is_dir():
        raise OutputError(f"path = {str(path)!r} cannot be written: its folder does not exist; make it first")
    if source is not None and is_local_file(source) and path.exists() and _same_file(path, local_path(source)):
        raise OutputError(f"path = {str(path)!r} is the input itself: choose another name")
    if path.exists() and not overwrite:
        raise OutputError(f"path = {str(path)!r} exists already: choose another name or overwrite (-y)")
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise OutputError(f"path = {str(path)!r} may not be written: check the folder's permissions or choose another")


def _same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # a glob, or gone
        return False


def behind_links(path: Path) -> Path:
    """The target of a link, whether it exists or not; any other path unchanged. So a link stays a link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def takes_a_stream(path: Path) -> bool:
    """Whether ``path`` is written to and never replaced: a FIFO, a terminal, /dev/null."""
    try:
        return path.is_fifo() or path.is_char_device() or path.is_socket()
    except OSError:  # a name that is too long
        return False


def _short_stem(target: Path) -> str:
    """The start of the stem, short enough (in bytes) to build a hidden name from it."""
    return os.fsencode(target.stem)[:_KEPT_STEM_BYTES].decode("utf-8", "ignore")


class PendingFile:
    """A file written under a hidden name beside its target (with its suffix, for muxers); ``publish`` renames it.

    Where the target is a link, the file it points to is replaced and the link stays; a replaced file's permissions
    are kept. A FIFO gets a copy of the finished file.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        self.target = target = behind_links(target)
        self._overwrite = overwrite
        self._is_stream = takes_a_stream(target)
        name = f".{_short_stem(target)}.{secrets.token_hex(4)}.part{target.suffix}"
        self.path = Path(tempfile.gettempdir()) / name if self._is_stream else target.with_name(name)
        sweep(self.path.parent)
        try:
            # Fails at once if the folder cannot be written. The lock ends with the process, so it tells unfinished work
            # from what a crash left.
            self._hold: int | None = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            if not self._is_stream and target.exists():
                with suppress(OSError):  # another user's file, or a file system without permissions
                    os.chmod(self.path, stat.S_IMODE(target.stat().st_mode))
        except OSError as error:
            raise output_error(target, error) from error
        keep(self._hold, self.path)

    @property
    def url(self) -> str:
        """The name under which FFmpeg opens the file, even if a folder's name is not UTF-8."""
        return ffmpeg_url(self.path, self._hold)

    def publish(self) -> int:
        """Give the file its name; returns its size in bytes.

        Raises:
            OutputError: a file of that name was created meanwhile, or the rename fails.
        """
        self._release()
        if self._is_stream:
            size = self.path.stat().st_size
            with self.path.open("rb") as whole, self.target.open("wb") as stream:
                shutil.copyfileobj(whole, stream)
            self.path.unlink()
            return size
        try:
            size = self.path.stat().st_size
            if not self._overwrite:
                os.link(self.path, self.target)  # atomic: fails if the name is taken
                self.path.unlink()
            else:
                os.replace(self.path, self.target)
        except FileExistsError as error:
            self.discard()
            raise OutputError(
                f"path = {str(self.target)!r} was created meanwhile: choose another name or overwrite (-y)"
            ) from error
        except OSError:
            if self.target.exists() and not self._overwrite:
                self.discard()
                raise OutputError(f"path = {str(self.target)!r} exists already: choose another name") from None
            os.replace(self.path, self.target)  # a file system without hard links
        return size

    def discard(self) -> None:
        """Remove the hidden file, if it is still there."""
        self._release()
        with suppress(OSError):
            self.path.unlink()

    def _release(self) -> None:
        handle, self._hold = self._hold, None
        release(handle)


class PendingPlaylist:
    """A playlist and its segments (``NAME-00000.ts`` ...), written in a hidden folder beside the target.

    ``publish`` moves the segments beside the target and the playlist last.

    FFmpeg's playlist muxer ignores failed writes (on a full disk, say). So it writes to files from :meth:`open`, which
    record errors; ``check`` raises them.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        self.target = target
        self._overwrite = overwrite
        self.folder = target.with_name(f".{_short_stem(target)}.{secrets.token_hex(4)}.part")
        self.path = self.folder / target.name
        if not overwrite and (segments := self._old_segments()):
            raise OutputError(
                f"path = {str(segments[0])!r} exists already, a segment of another playlist: choose another name or "
                "overwrite (-y)"
            )
        self._error: OSError | None = None
        sweep(self.folder.parent)
        try:
            self.folder.mkdir()
            self._hold = hold(self.folder)
        except OSError as error:
            raise output_error(target, error) from error

    def open(self, url: str, flags: int, options: dict[str, str]) -> FileIO:
        """A new file, for ``io_open`` of ``av.open``."""
        try:
            return _NotedFile(url.removeprefix("file:"), self._note)
        except OSError as error:
            self._note(error)
            return FileIO(os.devnull, "wb")

    def _note(self, error: OSError) -> None:
        self._error = self._error or error

    def check(self) -> None:
        """Raises:
        OSError: something could not be written.
        """
        if self._error is not None:
            raise self._error

    def publish(self) -> int:
        """Move all files into place; returns their total size in bytes.

        Raises:
            OSError: something was not written, or cannot be moved.
            OutputError: a file of one of the names was created meanwhile.
        """
        self.check()
        new = sorted(path for path in self.folder.iterdir() if path != self.path)
        names = {path.name for path in new}
        size = sum(path.stat().st_size for path in (*new, self.path))
        placed: list[Path] = []
        try:
            left_over = [path for path in self._old_segments() if path.name not in names]
            for path in (*new, self.path):
                target = self.target.with_name(path.name)
                if self._overwrite:
                    os.replace(path, target)
                else:
                    _move_new(path, target)
                placed.append(target)
            for path in left_over:
                path.unlink(missing_ok=True)
        except (OSError, OutputError):
            if not self._overwrite:
                for path in placed:
                    path.unlink(missing_ok=True)
            raise
        finally:
            self.discard()
        return size

    def discard(self) -> None:
        """Remove the hidden folder, if it is still there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        handle, self._hold = self._hold, None
        release(handle)

    def _old_segments(self) -> list[Path]:
        segment = re.compile(re.escape(self.target.stem) + r"-\d{5,}\.ts")
        return sorted(path for path in self.target.parent.iterdir() if segment.fullmatch(path.name))


class _NotedFile(FileIO):
    """A file whose write errors are passed to ``note`` instead of raised."""

    def __init__(self, path: str, note: Callable[[OSError], None]) -> None:
        super().__init__(path, "wb")
        self._note = note

    def write(self, data: ReadableBuffer) -> int:
        left = memoryview(data)
        size = len(left)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            self._note(error)
        return size


class PendingFolder:
    """A folder of files written under a hidden name, moved into place by ``publish``.

    The hidden folder is inside ``target`` where that exists (a file system of its own, ``.``, ``/``), else beside it.
    With ``pattern`` (``f%04d.png``), only existing files with such names conflict; without one, any file in ``target``.
    """

    def __init__(self, target: Path, *, overwrite: bool, pattern: str | None = None) -> None:
        self.target = target
        self._overwrite = overwrite
        folder = target if target.is_dir() else target.parent
        self._hold: int | None = None
        sweep(folder)
        self.path = folder / f".{_short_stem(target)}.{secrets.token_hex(4)}.part"
        if target.exists() and not target.is_dir():
            raise OutputError(f"path = {str(target)!r} is a file where a folder is expected: choose another name")
        if not target.parent.is_dir():
            raise OutputError(f"path = {str(target)!r} cannot be written: the folder around it does not exist")
        if target.is_dir() and not overwrite:
            if pattern is None and any(target.iterdir()):
                way_out = "choose another folder, name a video (out.mp4) or overwrite (-y)"
                raise OutputError(f"path = {str(target)!r} has files in it: {way_out}")
            if pattern is not None and (taken := _first_of_pattern(target, pattern)) is not None:
                raise OutputError(f"path = {str(taken)!r} exists already: choose another pattern or overwrite (-y)")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"path = {str(target)!r} may not be written: check permissions or choose another folder")

    def create(self) -> None:
        """Make the hidden folder."""
        try:
            self.path.mkdir()
            self._hold = hold(self.path)
        except OSError as error:
            raise output_error(self.target, error) from error

    def publish(self) -> None:
        """Move everything into place (into an existing folder: file by file).

        Raises:
            OutputError: a file of one of the names was created meanwhile and may not be replaced, or a move
                fails.
        """
        try:
            if not os.path.lexists(self.target):
                os.replace(self.path, self.target)
                return
            written = sorted(path for path in self.path.rglob("*") if not path.is_dir())
            places = [self.target / path.relative_to(self.path) for path in written]
            for place in places:
                if not self._overwrite and os.path.lexists(place):
                    raise _taken(place)
            for path, place in zip(written, places, strict=True):
                place.parent.mkdir(parents=True, exist_ok=True)
                if self._overwrite:
                    os.replace(path, place)
                else:
                    _move_new(path, place)
            shutil.rmtree(self.path)
        except OSError as error:
            raise output_error(self.target, error) from error
        finally:
            self._release()

    def discard(self) -> None:
        """Remove the hidden folder, if it is still there."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        handle, self._hold = self._hold, None
        release(handle)


def _taken(path: Path) -> OutputError:
    taken = f"path = {str(path)!r} was created meanwhile"
    return OutputError(f"{taken}: choose another name or overwrite (-y)")


def _move_new(path: Path, target: Path) -> None:
    """Rename ``path`` to ``target``, unless that exists.

    Raises:
        OutputError: it exists.
    """
    try:
        os.link(path, target, follow_symlinks=False)  # atomic: fails if the name is taken
    except FileExistsError:
        raise _taken(target) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise _taken(target) from None
        os.replace(path, target)
        return
    path.unlink()


def _first_of_pattern(folder: Path, pattern: str) -> Path | None:
    """The first file in ``folder`` that ``pattern`` (``f%04d.png``) could name."""
    before, after = re.split(r"%0?\d*d", pattern, maxsplit=1)
    name = re.compile(re.escape(before) + r"\d+" + re.escape(after))
    return next((path for path in sorted(folder.iterdir()) if name.fullmatch(path.name)), None)
