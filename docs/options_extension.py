"""Shows the pages what ``animevid.declare`` makes of options when modules are loaded: arguments and their ``Args:``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from animevid.declare import Options, described
from griffe import Class, Docstring, Extension, Function, Parameter, ParameterKind, Parameters


class OptionsExtension(Extension):
    """A function of ``keywords_of`` takes the options themselves; a class of options is its options."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        if any(str(decorator.value).startswith("keywords_of(") for decorator in func.decorators):
            real = _loaded(func.path)
            func.parameters = _parameters(real)
            _document(func, inspect.getdoc(real) or "")

    def on_class(self, *, cls: Class, **_: Any) -> None:
        if cls.path.startswith(("animevid.options.", "animevid.card_hints.")):
            real = _loaded(cls.path)
            if issubclass(real, Options):
                cls.members.clear()
                cls.set_member("__init__", Function("__init__", parameters=_parameters(real)))
                _document(cls, described(inspect.getdoc(real) or "", real))


def _loaded(path: str) -> Any:
    """The object at ``path``, ``module.name`` or ``module.Class.method``."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return getattr(_loaded(module), name)


def _parameters(real: Callable[..., object]) -> Parameters:
    return Parameters(*(_shown(parameter) for parameter in inspect.signature(real).parameters.values()))


def _shown(parameter: inspect.Parameter) -> Parameter:
    has_default = parameter.default is not inspect.Parameter.empty
    return Parameter(
        parameter.name,
        kind=ParameterKind(parameter.kind.description),
        default=repr(parameter.default) if has_default else None,
    )


def _document(item: Function | Class, text: str) -> None:
    # The pages show defaults beside the arguments.
    text = re.sub(r"(?m)^(    \w+ \(.*) Default: .*\.$", r"\1", text)
    # Griffe takes the indentation of all lines but the first away, which must not be that of the arguments.
    item.docstring = Docstring(f"\n{text}", parent=item, parser="google")
