"""Checks request parameters: JSON bodies, shares, flags."""

from __future__ import annotations

import json
import math

from aiohttp import web

from animevid.errors import LiveError


async def json_object(request: web.Request) -> dict[str, object]:
    """The body as a JSON object.

    Raises:
        LiveError: it is not a JSON object.
    """
    try:
        params = json.loads(await request.text())
    except (ValueError, LookupError, RecursionError) as error:
        raise LiveError("the request is not JSON") from error
    if not isinstance(params, dict):
        raise LiveError("the request must be a JSON object")
    return params


def share(value: object) -> float:
    """A strength, 0 to 1.

    Raises:
        LiveError: anything else.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise LiveError(f"strength = {str(value)[:20]!r} must lie between 0 and 1")
    return number


def flag(value: object) -> bool:
    """A boolean: JSON's ``true``, or ``1`` in a URL.

    Raises:
        LiveError: anything else.
    """
    if value in (True, "1", "true"):
        return True
    if value in (False, None, "", "0", "false"):
        return False
    raise LiveError(f"{str(value)[:20]!r} must be true or false")
