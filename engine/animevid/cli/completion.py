"""``animevid completion bash|zsh|fish``: prints a completion script, made from the parsers themselves."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from animevid.cli.app import COMMANDS, build_parser
from animevid.errors import AnimevidError

_INSTALL = """\
bash:  animevid completion bash > ~/.local/share/bash-completion/completions/animevid
zsh:   animevid completion zsh > "${fpath[1]}/_animevid"
fish:  animevid completion fish > ~/.config/fish/completions/animevid.fish"""


@dataclass(frozen=True, slots=True)
class Option:
    """An option as a shell sees it. ``choices`` empty and ``takes_value``: a file name is likely."""

    flags: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...]


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "completion",
        description="Print the completion script of a shell.",
        epilog=_INSTALL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    options = {name: found for name in COMMANDS if (found := _options_of(name)) is not None}
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](options))
    return 0


def _options_of(name: str) -> list[Option] | None:
    """The options of command ``name``; ``None`` where it is not installed."""
    try:
        parser = build_parser(name)
    except AnimevidError:
        return None
    found = []
    for action in parser._actions:
        if not action.option_strings or action.help is argparse.SUPPRESS:
            continue
        choices = tuple(str(choice) for choice in action.choices or ())
        takes_value = action.nargs != 0
        if "--style" in action.option_strings:
            choices = _style_names()
        if "--compare" in action.option_strings and takes_value:
            choices = ("side", "split")
        found.append(Option(tuple(action.option_strings), (action.help or "").replace("%%", "%"), takes_value, choices))
    return found


def _style_names() -> tuple[str, ...]:
    from animevid.styles import list_styles

    return tuple(dict.fromkeys(style.card.name for style in list_styles()))


def _bash(commands: dict[str, list[Option]]) -> str:
    values = []
    words = []
    for name, options in commands.items():
        words.append(f"    {name}) words='{' '.join(flag for option in options for flag in option.flags)}' ;;")
        for option in options:
            if option.choices:
                pattern = "|".join(f"{name}:{flag}" for flag in option.flags)
                values.append(f"    {pattern}) COMPREPLY=($(compgen -W '{' '.join(option.choices)}' -- \"$word\")) ;;")
    return f"""\
# bash completion for animevid
_animevid() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command=convert words=''
  case "${{COMP_WORDS[1]}}" in {"|".join(commands)}) (( COMP_CWORD > 1 )) && command="${{COMP_WORDS[1]}}" ;; esac
  COMPREPLY=()
  case "$command:$before" in
{chr(10).join(values)}
  esac
  (( ${{#COMPREPLY[@]}} )) && return
  case "$command" in
{chr(10).join(words)}
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
    (( COMP_CWORD == 1 )) && COMPREPLY+=($(compgen -W '{" ".join(commands)}' -- "$word"))
  fi
}}
complete -o filenames -o bashdefault -F _animevid animevid"""


def _zsh(commands: dict[str, list[Option]]) -> str:
    cases = []
    for name, options in commands.items():
        lines = []
        for option in options:
            what = _quoted(option.help).replace("[", "(").replace("]", ")").replace(":", " ")
            value = ""
            if option.takes_value:
                value = f": :({' '.join(option.choices)})" if option.choices else ": :_files"
            lines += [f"      '{flag}[{what}]{value}'" for flag in option.flags]
        body = " \\\n".join([*lines, "      '*: :_files'"])
        cases.append(f"    {name})\n    _arguments \\\n{body} ;;")
    described = " ".join(f"'{name}:{_quoted(COMMANDS[name].help)}'" for name in commands)
    return f"""\
#compdef animevid
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


def _fish(commands: dict[str, list[Option]]) -> str:
    lines = ["# fish completion for animevid"]
    for name in commands:
        lines.append(f"complete -c animevid -n __fish_is_first_token -a {name} -d '{_quoted(COMMANDS[name].help)}'")
    others = " ".join(name for name in commands if name != "convert")
    for name, options in commands.items():
        seen = (
            f"not __fish_seen_subcommand_from {others}" if name == "convert" else f"__fish_seen_subcommand_from {name}"
        )
        for option in options:
            flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
            value = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.takes_value else ""
            lines.append(f"complete -c animevid -n '{seen}' {flags}{value} -d '{_quoted(option.help)}'")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return text.replace("'", "")
