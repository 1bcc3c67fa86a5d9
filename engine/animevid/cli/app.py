"""Finds the command, runs it, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TextIO, TypeAlias

from animevid.cli.standard_streams import signals_as_ctrl_c, standard_streams
from animevid.cli.suggestions import misspelled_command, with_suggestion
from animevid.errors import AnimevidError, InputError, OutputError, UsageError
from animevid.redaction import printable, redacted_text

if TYPE_CHECKING:
    from animevid.cli.config import Defaults


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: the module that registers with ``add_parser(subparsers)`` and runs with ``run(args)``.

    Modules are imported only when their command is called: ``animevid --help`` must not load a decoder.
    The trainer keeps several commands in one module, as ``COMMANDS[name]`` with the same two functions.
    """

    module: str
    help: str


class CommandModule(Protocol):
    """The functions of a command's module."""

    def add_parser(self, subparsers: Subparsers) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


_TRAINER = "animevid_trainer.cli"

COMMANDS: dict[str, Command] = {
    "convert": Command("animevid.cli.convert", "stylize a video, GIF, image or folder (the default command)"),
    "styles": Command("animevid.cli.styles", "list the styles, or show one"),
    "farm": Command("animevid.cli.farm", "stylize a video on many machines, with Ray"),
    "webcam": Command("animevid.cli.webcam", "stylize a camera live, in a window or as a virtual camera"),
    "serve": Command("animevid.cli.serve", "stylize in the browser"),
    "train": Command(_TRAINER, "train a style"),
    "paint": Command(_TRAINER, "stylize photos with the teachers, for distill"),
    "distill": Command(_TRAINER, "train a student on the teachers' images"),
    "export": Command(_TRAINER, "convert a checkpoint to a style file"),
    "evaluate": Command(_TRAINER, "measure and inspect a style"),
    "survey": Command(_TRAINER, "rank styles by viewers' votes on images"),
    "import": Command(_TRAINER, "import published weights"),
    "faces": Command(_TRAINER, "crop faces from images, to train a generator from noise"),
    "sample": Command(_TRAINER, "generate faces from noise, as a grid or a video"),
    "project": Command(_TRAINER, "find the generated face nearest to an image"),
    "build": Command("animevid.cli.build", "build an engine for this GPU from a style"),
    "doctor": Command("animevid.cli.doctor", "report what is installed and works on this machine"),
    "completion": Command("animevid.cli.completion", "print the completion script of a shell"),
}

#: Optional module -> the extra that installs it.
_EXTRAS = {
    "torch": "train",
    "onnx": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "numba": "train",
    "pydantic": "train",
    "tomli_w": "train",
    "watchfiles": "watch",
    "ray": "farm",
    "aiohttp": "live",
    "aiortc": "live",
    "pyvirtualcam": "live",
    "pygame": "live",
    "cuda": "gpu",
}

EXIT_CODES = """\
exit codes:
  0    done                              5    style: unknown, or not a stylizer
  1    an internal error                 6    the runtime or device failed
  2    an unusable option or argument    7    camera, window or server
  3    input: missing or unreadable      8    training
  4    output: exists, not writable      130  stopped by Ctrl-C; nothing was written"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        message = with_suggestion(message, (flag for flag in self._option_string_actions if flag.startswith("--")))
        self.exit(2, f"animevid: error: {printable(redacted_text(_one_line(message)))}; see {self.prog} --help\n")


#: The sub-commands, as ``Parser.add_subparsers`` returns them.
Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's) and return its exit code. Never raises for bad input."""
    with standard_streams(), signals_as_ctrl_c():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(arguments: list[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal cannot show; stderr does so too
    try:
        return _run(arguments)
    except SystemExit as exit_:  # argparse: --help, --version, a usage error
        return exit_.code if isinstance(exit_.code, int) else 1
    except AnimevidError as error:
        complain(str(error), error)
        return error.exit_code
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C; nothing was written")
        return 130
    except BrokenPipeError:
        _give_up_printing()  # the reader of standard output has gone
        return 141
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        way_out = f'pip install "animevid[{extra}]"' if extra else "install animevid again"
        complain(f"{error.name} is not installed: {way_out}", error)
        return UsageError.exit_code
    except MemoryError as error:
        complain("out of memory: give a smaller --size or --net-size", error)
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # a locked folder, a name that is too long
            said = f"path = {error.filename!r} cannot be reached ({error.strerror})"
            complain(f"{said}: check the name and the permissions of its folders", error)
            return InputError.exit_code
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            _give_up_printing()
            complain(f"standard output cannot be written ({error.strerror}): what was to be printed is lost", error)
            return OutputError.exit_code
        complain(f"unexpected {type(error).__name__}: {error} (run again with -v for the trace, and report it)", error)
        return 1


def _give_up_printing() -> None:
    """Redirect standard output, or Python reports on exit again that it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser(name: str) -> Parser:
    """The parser of command ``name``, as ``main`` uses it (completion and docs read its options).

    Raises:
        UsageError, BackendError ...: something that the command needs is not installed.
    """
    parser = Parser(prog="animevid", formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(dest="command", parser_class=Parser)
    module = _import_command(name)
    module.add_parser(subparsers)
    command_parser: Parser = subparsers.choices[name]
    command_parser.set_defaults(command=name, run=module.run, defaults="")
    return command_parser


def _run(arguments: list[str]) -> int:
    if not arguments:
        _print_overview()
        return 2
    if arguments[0] in ("-h", "--help"):
        arguments[0:1] = ["convert", "--help"]
    if arguments[0] in COMMANDS:
        name, arguments = arguments[0], arguments[1:]
    else:
        meant = misspelled_command(arguments[0], COMMANDS)
        if meant is not None:
            raise UsageError(f"{arguments[0]!r} is no command and no file; did you mean animevid {meant}?")
        name = "convert"
    parser = build_parser(name)
    defaults = None if {"-h", "--help", "--version"} & set(arguments) else _defaults(name, parser)
    args = parser.parse_args([*(defaults.arguments if defaults is not None else ()), *arguments])
    args.defaults = defaults.in_force(parser, arguments) if defaults is not None else ""
    _set_up_logging(getattr(args, "verbose", 0))
    code: int = args.run(args)
    return code


def _defaults(name: str, parser: Parser) -> Defaults | None:
    from animevid.cli.config import read_defaults

    return read_defaults(name, parser)


def _import_command(name: str) -> CommandModule:
    module = COMMANDS[name].module
    try:
        imported: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UsageError(f"animevid {name} is not part of this installation ({error.name} is missing)") from error
    if module != _TRAINER:
        found: CommandModule = imported
    elif name in imported.COMMANDS:
        found = imported.COMMANDS[name]
    else:
        raise UsageError(f"animevid {name} is not part of this installation")
    return found


def _print_overview() -> None:
    print("usage: animevid INPUT OUTPUT [options]   (animevid --help lists everything)", file=sys.stderr)
    print("   or: animevid COMMAND ...\n", file=sys.stderr)
    for name, command in COMMANDS.items():
        print(f"  {name:<11}{command.help}", file=sys.stderr)


def command_list() -> str:
    """The commands, for the end of ``--help``."""
    return "commands:\n" + "\n".join(f"  animevid {name:<11}{command.help}" for name, command in COMMANDS.items())


class _RedactingFormatter(logging.Formatter):
    """Hides passwords and keys in URLs, also in tracebacks and library messages."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(redacted_text(super().format(record)))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stderr``; installed once."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_RedactingFormatter("animevid: %(message)s"))

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        pass


def _set_up_logging(verbosity: int) -> None:
    for name in ("animevid", "animevid_trainer"):
        logger = logging.getLogger(name)
        logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)])
        if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
            logger.addHandler(_StderrHandler())


def complain(message: str, error: BaseException | None = None) -> None:
    """Print one line on standard error, and with ``-v`` the traceback of ``error``."""
    # A traceback is for bugs; a user's mistake is explained by the message (-vv shows its traceback too).
    known = AnimevidError | ModuleNotFoundError | PermissionError | FileNotFoundError
    level = logging.DEBUG if isinstance(error, known) else logging.INFO
    if error is not None and logging.getLogger("animevid").isEnabledFor(level):
        import traceback

        print(printable(redacted_text("".join(traceback.format_exception(error)))), end="", file=sys.stderr)
    with suppress(OSError):  # stderr is closed; the exit code remains
        print(f"animevid: error: {printable(redacted_text(_one_line(message)))}", file=sys.stderr, flush=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())
