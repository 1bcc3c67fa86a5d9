"""``animevid completion bash|zsh|fish``: prints a completion script, generated from the parsers."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from animevid.cli.app import COMMANDS, build_parser
from animevid.cli.offers import offered
from animevid.errors import AnimevidError

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers

_INSTALL = """\
bash:  animevid completion bash > ~/.local/share/bash-completion/completions/animevid
zsh:   animevid completion zsh > "${fpath[1]}/_animevid"
fish:  animevid completion fish > ~/.config/fish/completions/animevid.fish"""


@dataclass(frozen=True, slots=True)
class Value:
    """The values of an argument, for a shell.

    Args:
        offered (tuple[str, ...]): the suggested values.
        is_open (bool): whether other values (such as files) are allowed too.
    """

    offered: tuple[str, ...] = ()
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Flag:
    """An option, for a shell; ``value`` is ``None`` for a switch, and optional if it ``may_lack_it``."""

    names: tuple[str, ...]
    help: str
    value: Value | None
    may_lack_it: bool


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a command: its flags and its positional arguments."""

    flags: tuple[Flag, ...]
    words: Value


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "completion",
        description="Print the completion script of a shell.",
        epilog=_INSTALL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    commands = {name: found for name in COMMANDS if (found := _arguments_of(name)) is not None}
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](commands))
    return 0


def _arguments_of(name: str) -> Arguments | None:
    """The arguments of command ``name``; ``None`` if it is not installed."""
    try:
        parser = build_parser(name)
    except (AnimevidError, ModuleNotFoundError):  # an extra that is not installed, such as [train]
        return None
    flags, words = [], Value()
    for action in parser._actions:
        value = None if action.nargs == 0 else Value(offered(action), is_open=action.choices is None)
        if action.option_strings:
            if action.help is not argparse.SUPPRESS:
                text = (action.help or "").replace("%%", "%")
                flags.append(Flag(tuple(action.option_strings), text, value, action.nargs == "?"))
        elif value is not None and value.offered:
            words = value
    return Arguments(tuple(flags), words)


def _bash(commands: dict[str, Arguments]) -> str:
    values, words = [], []
    for name, arguments in commands.items():
        flags = " ".join(flag for option in arguments.flags for flag in option.names)
        taken = _bash_value(arguments.words)
        words.append(f"        {name}) flags='{flags}'{' ' if taken else ''}{taken} ;;")
        for option in arguments.flags:
            if option.value is not None and not option.may_lack_it:
                pattern = "|".join(f"{name}:{flag}" for flag in option.names)
                values.append(f"    {pattern}) {_bash_value(option.value)} ;;")
    return f"""\
# bash completion for animevid
_animevid() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  local command=convert flags='' values='' files=1
  # Of --flag=value bash makes three words.
  if [[ $word == = ]]; then word=''; elif [[ $before == = ]]; then before="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  case "${{COMP_WORDS[1]}}" in {"|".join(commands)}) (( COMP_CWORD > 1 )) && command="${{COMP_WORDS[1]}}" ;; esac
  case "$command:$before" in
{chr(10).join(values)}
    *)
      case "$command" in
{chr(10).join(words)}
      esac
      if [[ $word == -* ]]; then values=$flags files=''; fi
      (( COMP_CWORD == 1 )) && values+=' {" ".join(commands)}'
      ;;
  esac
  COMPREPLY=($(compgen -W "$values" -- "$word"))
  local IFS=$'\n'
  [[ -n $files ]] && COMPREPLY+=($(compgen -f -- "$word"))
}}
complete -o filenames -o bashdefault -F _animevid animevid"""


def _bash_value(value: Value) -> str:
    offered = f"values='{' '.join(value.offered)}'" if value.offered else ""
    return offered if value.is_open else f"{offered} files=''"


def _zsh(commands: dict[str, Arguments]) -> str:
    cases = []
    for name, arguments in commands.items():
        lines = []
        for option in arguments.flags:
            what = _quoted(option.help).replace("[", "(").replace("]", ")").replace(":", " ")
            colon = "::" if option.may_lack_it else ":"
            value = "" if option.value is None else f"{colon} :{_zsh_value(option.value)}"
            lines += [f"      '{flag}[{what}]{value}'" for flag in option.names]
        body = " \\\n".join([*lines, f"      '*: :{_zsh_value(arguments.words)}'"])
        cases.append(f"    {name})\n    _arguments \\\n{body} ;;")
    described = " ".join(f"'{name}:{_quoted(COMMANDS[name].help)}'" for name in commands)
    return f"""\
#compdef animevid
_animevid_or_files() {{ compadd -- "$@"; _files }}
_animevid() {{
  local command=convert
  if (( CURRENT > 2 )) && [[ ${{words[2]}} == ({"|".join(commands)}) ]]; then
    command=${{words[2]}}
    shift words
    (( CURRENT-- ))
  elif (( CURRENT == 2 )); then
    local -a commands=({described})
    _describe command commands
  fi
  case $command in
{chr(10).join(cases)}
  esac
}}
_animevid "$@\""""


def _zsh_value(value: Value) -> str:
    if not value.is_open:
        return f"({' '.join(value.offered)})"
    # The leading space keeps _arguments from adding words of its own.
    return f" _animevid_or_files {' '.join(value.offered)}" if value.offered else "_files"


def _fish(commands: dict[str, Arguments]) -> str:
    lines = ["# fish completion for animevid"]
    for name in commands:
        lines.append(f"complete -c animevid -n __fish_is_first_token -a {name} -d '{_quoted(COMMANDS[name].help)}'")
    others = " ".join(name for name in commands if name != "convert")
    for name, arguments in commands.items():
        seen = (
            f"not __fish_seen_subcommand_from {others}" if name == "convert" else f"__fish_seen_subcommand_from {name}"
        )
        if arguments.words.offered:
            files = "" if arguments.words.is_open else " -f"
            lines.append(f"complete -c animevid -n '{seen}'{files} -a '{' '.join(arguments.words.offered)}'")
        for option in arguments.flags:
            flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.names)
            lines.append(f"complete -c animevid -n '{seen}' {flags}{_fish_value(option)} -d '{_quoted(option.help)}'")
    return "\n".join(lines)


def _fish_value(option: Flag) -> str:
    if option.value is None or option.may_lack_it:
        return ""
    offered = f" -a '{' '.join(option.value.offered)}'" if option.value.offered else ""
    return f" {'-r' if option.value.is_open else '-x'}{offered}"


def _quoted(text: str) -> str:
    return text.replace("'", "")
