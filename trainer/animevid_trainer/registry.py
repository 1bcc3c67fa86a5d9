"""Creates networks by name, for generators and discriminators alike."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping

from animevid.errors import TrainingError
from torch import nn

Option = bool | int | float | str
#: name -> (module within the package, class)
Registry = Mapping[str, tuple[str, str]]


def make_network(what: str, name: str, options: Mapping[str, object], *, registry: Registry, package: str) -> nn.Module:
    """The network ``name`` of ``registry`` with fresh weights; its module is imported only now.

    ``what`` is the kind of network, for messages; ``options`` are its class's keyword arguments.

    Raises:
        TrainingError: an unknown name or option, or a value that the network refuses.
    """
    if name not in registry:
        raise TrainingError(f"{what} {name!r}: allowed are {', '.join(registry)}")
    module_name, class_name = registry[name]
    kind = getattr(importlib.import_module(f"{package}.{module_name}"), class_name)
    known = [parameter for parameter in inspect.signature(kind.__init__).parameters if parameter != "self"]
    unknown = [option for option in options if option not in known]
    if unknown:
        allowed = ", ".join(known) or "none"
        raise TrainingError(f"option {unknown[0]!r} of {what} {name!r}: allowed are {allowed}")
    network = kind(**options)
    assert isinstance(network, nn.Module)
    return network
