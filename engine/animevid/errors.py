"""Everything that animevid raises on purpose, in one tree.

::

    AnimevidError                       exit code 1
    +-- UsageError                      2    a flag or argument that cannot be used as given
    |   +-- OptionError                 2    a value that an option cannot have; a ``ValueError`` too
    +-- InputError                      3    the source: missing, unreadable, not what it says it is
    |   +-- UnsupportedInputError       3    readable, but not supported (HDR without tone mapping, encryption)
    +-- OutputError                     4    the target: exists, cannot be written, disk full
    +-- StyleError                      5    no such style, or a file that is not a stylizer
    +-- BackendError                    6    the runtime that executes the network is missing or failed
    |   +-- DeviceError                 6    driver, memory or engine trouble on an accelerator
    +-- LiveError                       7    camera, virtual camera, window, server
    +-- TrainingError                   8    data, recipe, checkpoint, or a loss that is not finite
    +-- Cancelled                       130  Ctrl-C or a caller's cancellation; the output is not written

Every message is one line: what arrived (``{value = }``), what is allowed, and the way out.
The command line prints ``animevid: error: MESSAGE`` and ends with the class's ``exit_code``.
"""

from __future__ import annotations

from typing import ClassVar


class AnimevidError(Exception):
    """Root of the tree. ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class UsageError(AnimevidError):
    exit_code = 2


class OptionError(UsageError, ValueError):
    pass


class InputError(AnimevidError):
    exit_code = 3


class UnsupportedInputError(InputError):
    pass


class OutputError(AnimevidError):
    exit_code = 4


class StyleError(AnimevidError):
    exit_code = 5


class BackendError(AnimevidError):
    exit_code = 6


class DeviceError(BackendError):
    pass


class LiveError(AnimevidError):
    exit_code = 7


class TrainingError(AnimevidError):
    exit_code = 8


class Cancelled(AnimevidError):
    exit_code = 130
