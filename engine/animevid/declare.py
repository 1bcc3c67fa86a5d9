"""Declares options: each once, as a field of a frozen dataclass, with help text and limits.

``animevid.options`` has the declarations. The command line's parsers are built from them, values are checked by them,
and the API's functions take and document them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from animevid.errors import OptionError
from animevid.suggestions import nearest

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")
K = TypeVar("K", bound="Options")
P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Declaration:
    """An option's properties besides name, type and default.

    Args:
        help (str): what it means, in one line.
        flag (str | None): its name on the command line; ``None``: no flag. A flag of a boolean sets the
            opposite of its default.
        flag_help (str): what the flag does, for ``--help``. Default: ``help``.
        short (str): a second, short flag. Default: none.
        parse (Callable | None): converts text to a value. Default: the text itself.
        metavar (str | None): the placeholder of its value in ``--help``.
        choices (tuple[str, ...]): the allowed texts; empty: any.
        const (str | None): the value of the flag without one; ``None``: a value is required.
        sets (tuple[str, ...]): the fields set by ``parse``, where it is not this field alone.
        check (Callable | None): whether a value is allowed. Default: any is.
        allowed (str): what ``check`` allows, after "must be".
        in_identity (bool): frames depend on it, so a job cannot resume after it changed. Default: true.
    """

    help: str
    flag: str | None = None
    flag_help: str = ""
    short: str = ""
    parse: Callable[[str], object] | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    const: str | None = None
    sets: tuple[str, ...] = ()
    check: Callable[[Any], bool] | None = None
    allowed: str = ""
    in_identity: bool = True


def option(default: A, help: str, **declared: Any) -> A:
    """A dataclass field that is an option; the other arguments are those of ``Declaration``."""
    found: A = field(default=default, metadata={"option": Declaration(help, **declared)})
    return found


def nested(kind: type[A], help: str, **declared: Any) -> A:
    """A dataclass field that holds options of another class, by default those of ``kind()``."""
    found: A = field(default_factory=kind, metadata={"option": Declaration(help, **declared), "nested": kind})
    return found


def declaration_of(declared: Field[object]) -> Declaration | None:
    """The declaration of a field; ``None`` for a field that is no option."""
    found: Declaration | None = declared.metadata.get("option")
    return found


def declaring_class(options: type[Options], name: str) -> type[Options]:
    """The class of options in which field ``name`` of ``options`` was declared."""
    return next(kind for kind in options.__mro__ if name in inspect.get_annotations(kind))


def nested_class(declared: Field[object]) -> type[Options] | None:
    """The class of a nested field's options; ``None`` for another field."""
    found: type[Options] | None = declared.metadata.get("nested")
    return found


class Options:
    """The base class of options: checks each value on construction.

    ``heading``: the heading in ``--help``; ``heading_help``: the text below it.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]  # made by dataclass, in each class of options
    heading: ClassVar[str] = ""
    heading_help: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        """Raises:
        OptionError: values outside their limits, all of them named.
        """
        complaints = [_complaint(declared, getattr(self, declared.name)) for declared in fields(self)]
        if any(complaints):
            raise OptionError("; ".join(filter(None, complaints)))

    @classmethod
    def checked(cls, name: str, value: A) -> A:
        """``value``, if option ``name`` may have it.

        Raises:
            OptionError: it may not.
        """
        if complaint := _complaint(cls.__dict__.get("__dataclass_fields__", {})[name], value):
            raise OptionError(complaint)
        return value


def _complaint(declared: Field[object], value: object) -> str:
    """What is wrong with ``value`` for the option, and what is allowed; ``""``: nothing."""
    limits = declaration_of(declared)
    if limits is None or value == declared.default:
        return ""
    if limits.choices and value not in limits.choices:
        meant = nearest(value, limits.choices) if isinstance(value, str) else None
        allowed = ", ".join(str(choice) for choice in dict.fromkeys((declared.default, *limits.choices)))
        return f"{declared.name} = {value!r} must be one of {allowed}" + (f"; did you mean {meant!r}?" if meant else "")
    if limits.check is not None and not limits.check(value):
        return f"{declared.name} = {value!r} must be {limits.allowed}"
    return ""


class _Decorator(Protocol[T_co, P]):
    @overload
    def __call__(self, function: Callable[[T_co], R]) -> Callable[P, R]: ...
    @overload
    def __call__(self, function: Callable[[A, T_co], R]) -> Callable[Concatenate[A, P], R]: ...
    @overload
    def __call__(self, function: Callable[[A, B, T_co], R]) -> Callable[Concatenate[A, B, P], R]: ...


def keywords_of(options: Callable[P, T_co]) -> _Decorator[T_co, P]:
    """Let a function whose last parameter is ``options`` be called with options as keywords.

    ``@keywords_of(ConversionOptions)`` turns ``stylize(src, dst, options)`` into
    ``stylize(src, dst, *, strength=1.0, ...)``, with their types, and adds what they mean to its docstring.
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        own = list(inspect.signature(function).parameters.values())[:-1]
        taken = inspect.signature(options)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> R:
            known = [each.name for each in own] + list(taken.parameters)
            for name in kwargs:
                if name not in known:
                    meant = nearest(name, known)
                    hint = "" if meant is None else f"; did you mean {meant!r}?"
                    raise TypeError(f"{function.__name__}() has no option {name!r}{hint}")
            own_args = [*args[: len(own)], *(kwargs.pop(each.name) for each in own[len(args) :] if each.name in kwargs)]
            return function(*own_args, options(*args[len(own) :], **kwargs))

        result = inspect.signature(function).return_annotation
        signature = taken.replace(parameters=[*own, *taken.parameters.values()], return_annotation=result)
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = described(inspect.getdoc(function) or "", cast(type[Options], options))
        return call

    return cast(_Decorator[T_co, P], decorate)


def described(doc: str, options: type[Options]) -> str:
    """The docstring ``doc`` with an entry under ``Args:`` for each option of the class ``options``."""
    lines = []
    for declared in fields(options):
        about = declaration_of(declared)
        if about is not None:
            default = "" if declared.default is MISSING else f" Default: {declared.default!r}."
            lines.append(f"    {declared.name} ({declared.type}): {about.help}.{default}")
    listed = "\n".join(lines)
    head, args, own = doc.partition("Args:\n")
    if args:  # its own entries come first
        own, gap, tail = own.partition("\n\n")
        return f"{head}{args}{own}\n{listed}{gap}{tail}"
    head, raises, tail = doc.partition("Raises:\n")
    return f"{head.rstrip()}\n\nArgs:\n{listed}\n\n{raises}{tail}".rstrip()


def changed(options: Options) -> dict[str, object]:
    """The options that differ from their defaults, name -> value."""
    default = type(options)()
    return {name: value for name, value in vars(options).items() if value != getattr(default, name)}


def narrowed(options: Options, kind: type[K]) -> K:
    """The part of ``options`` that its base class ``kind`` has."""
    return kind(**{each.name: getattr(options, each.name) for each in fields(kind)})
