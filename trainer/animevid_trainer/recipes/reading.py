"""Reads recipes from TOML, dictionaries and ``--set KEY=VALUE``.

pydantic converts tables to the schema's dataclasses and reports errors with their place. Alternatives were msgspec,
which is smaller and faster but accepts unknown keys of a dataclass, and cattrs, which reads the word "false" as true;
neither checks ranges of numbers. This module adds what no library offers: dotted keys, phases by name, and errors in
one line.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from animevid.errors import TrainingError
from pydantic import TypeAdapter, ValidationError

from animevid_trainer.recipes.schema import Phase, Recipe

_OPTIONS = ("generator_options", "objective_options", "discriminator_options")
#: Renamed keys: recipes, ``--set`` and runs may still use the old name.
_RENAMED = {"flat_pictures": "flat_images", "pictures_to_full": "images_to_full"}


def recipe_from_dict(raw: Mapping[str, object]) -> Recipe:
    """Create a recipe from the output of ``Recipe.to_dict``, and validate it.

    Raises:
        TrainingError: a missing or unknown key, a value of the wrong type, or an invalid recipe.
    """
    return check_types(raw).validated()


def check_types(raw: Mapping[str, object]) -> Recipe:
    """Create a recipe from ``raw``, checking each value separately.

    Raises:
        TrainingError: the first missing or unknown key, or value of the wrong type.
    """
    try:
        return _adapter().validate_python(_with_new_names(raw))
    except ValidationError as error:
        raise TrainingError(_told(error, raw)) from error


def _with_new_names(raw: Mapping[str, object]) -> dict[str, object]:
    return {
        section: {_RENAMED.get(key, key): value for key, value in values.items()}
        if section in ("ada", "data") and isinstance(values, Mapping)
        else values
        for section, values in raw.items()
    }


@functools.cache
def _adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)


def recipe_from_toml(text: str) -> Recipe:
    """Read a complete recipe from TOML, or ``recipe = "NAME"`` with overrides, and validate it.

    Raises:
        TrainingError: invalid TOML, or any error of ``with_overrides``.
    """
    from animevid_trainer.recipes.named import load_recipe

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"the recipe file is not TOML: {error}") from error
    base = raw.pop("recipe", None)
    if base is None:
        return recipe_from_dict(raw)
    if not isinstance(base, str):
        raise TrainingError(f"recipe = {base!r}: write the name of a recipe")
    return with_overrides(load_recipe(base), raw)


def with_overrides(recipe: Recipe, overrides: Mapping[str, object]) -> Recipe:
    """Replace some values of a recipe, given nested as in TOML or with dotted keys, and validate the result.

    ``{"losses": {"content": 2.0}}`` and ``{"losses.content": 2.0}`` are equivalent. ``phases`` is either the whole list
    or keyed by phase name (``phases.train.generator_lr``). Options accept any key; the network or objective that gets
    them checks it.

    Raises:
        TrainingError: an unknown key (with the nearest known one), a value of the wrong type, or an invalid recipe.
    """
    merged = recipe.to_dict()
    for key, value in overrides.items():
        _put(merged, key.split("."), value, key)
    return recipe_from_dict(merged)


def parse_assignment(text: str) -> tuple[str, object]:
    """Parse ``KEY=VALUE`` of ``--set``; the value is in TOML syntax or a bare word.

    Raises:
        TrainingError: ``=`` or the key is missing.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise TrainingError(f"--set {text!r}: write KEY=VALUE, e.g. losses.content=2.0")
    try:
        return key.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def with_lengths(recipe: Recipe, *, steps: int | None = None, init_steps: int | None = None) -> Recipe:
    """Set a recipe's length in steps (``--steps``, ``--init-steps``).

    Distributes ``init_steps`` over the content-only phases and ``steps`` over the others, in their present proportion;
    0 removes those phases, ``None`` keeps them unchanged.

    Raises:
        TrainingError: a negative number, or no phase remains.
    """
    phases: list[Phase] = list(recipe.phases)
    for wanted, content_only, flag in ((init_steps, True, "init_steps"), (steps, False, "steps")):
        if wanted is None:
            continue
        if wanted < 0:
            raise TrainingError(f"{flag} = {wanted}: 0 or more")
        chosen = [phase for phase in phases if phase.content_only is content_only]
        if not chosen and wanted > 0:
            what = "initialization" if content_only else "training"
            raise TrainingError(f"{flag} = {wanted}: recipe {recipe.name!r} has no {what} phase")
        whole = sum(phase.length_steps or phase.length_epochs for phase in chosen)
        left = wanted
        resized: dict[str, Phase | None] = {}
        for index, phase in enumerate(chosen):
            share = wanted * (phase.length_steps or phase.length_epochs) / whole
            length = left if index == len(chosen) - 1 else min(left, round(share))
            left -= length
            resized[phase.name] = replace(phase, length_steps=length, length_epochs=0.0) if length > 0 else None
        phases = [kept for phase in phases if (kept := resized.get(phase.name, phase)) is not None]
    if not phases:
        raise TrainingError(f"steps {steps}, init-steps {init_steps}: nothing is left to train; give at least one step")
    return replace(recipe, phases=tuple(phases))


def difference(first: Recipe, second: Recipe) -> list[str]:
    """Return a line for each different value, ``losses.content: 1.5 -> 2.0``; empty if the recipes are equal."""
    before, after = _flat(first.to_dict()), _flat(second.to_dict())
    return [
        f"{key}: {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]


def nearest(word: str, known: Collection[str]) -> str:
    """Return ``; did you mean 'X'?``, or an empty string if nothing is similar."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


_ABSENT = object()


def _put(target: dict[str, object], keys: Sequence[str], value: object, path: str) -> None:
    """Store ``value`` in the tree ``target`` under the dotted key ``keys``."""
    head, *rest = keys
    head = _RENAMED.get(head, head)
    phases = target.get(head)
    if head == "phases" and isinstance(phases, list) and (rest or isinstance(value, Mapping)):
        target = {phase["name"]: phase for phase in phases}
        if not rest and isinstance(value, Mapping):
            for name, inner in value.items():
                _put(target, name.split("."), inner, f"{path}.{name}")
            return
        head, *rest = rest
        if head not in target:
            raise TrainingError(f"{path} = {value!r}: phase {head!r} is none of {', '.join(target)}")
    found = target.get(head)
    if rest:
        if not isinstance(found, dict):
            raise TrainingError(_unknown(path, head, target))
        _put(found, rest, value, path)
    elif isinstance(found, dict) and isinstance(value, Mapping):
        for key, inner in value.items():
            _put(found, key.split("."), inner, f"{path}.{key}")
    else:
        target[head] = value


def _unknown(path: str, key: str, known: Collection[str]) -> str:
    return f"{path!r} is not a key of a recipe; allowed here: {', '.join(known)}{nearest(key, known)}"


def _told(error: ValidationError, raw: Mapping[str, object]) -> str:
    """Describe the first mistake of ``error`` in one line."""
    first = error.errors(include_url=False)[0]
    path: list[str] = []
    phases = raw.get("phases")
    for step in first["loc"]:
        if isinstance(step, int) and path == ["phases"] and isinstance(phases, Sequence):
            path.append(str(phases[step].get("name", step)))
        elif path and path[0] in _OPTIONS and len(path) == 2:
            break  # what follows are the members of an option's union
        else:
            path.append(str(step))
    where = ".".join(path)
    if first["type"] == "unexpected_keyword_argument":
        return _unknown(where, path[-1], _keys_beside(first["loc"]))
    if first["type"] in ("missing", "missing_argument"):
        return f"the recipe is incomplete: {where} is missing"
    message = first["msg"].removeprefix("Input should be ").replace(" or an instance of ", ", as of ")
    return f"{where} = {first['input']!r}: allowed is {message}"


def _keys_beside(location: Sequence[int | str]) -> list[str]:
    """Return the keys of the table that contains the last element of ``location``."""
    kind: Any = Recipe
    for step in location[:-1]:
        if isinstance(step, str):
            default = next((f for f in fields(kind) if f.name == step), None)
            kind = Phase if step == "phases" else type(default.default) if default is not None else Recipe
    return [field.name for field in fields(kind)]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [(item.get("name", str(index)), item) for index, item in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, object] = {}
    for key, item in items:
        flat |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return flat
