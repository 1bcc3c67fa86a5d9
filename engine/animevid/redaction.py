"""Removes secrets from URLs in messages: passwords, tokens, stream keys.

In a URL's query, only values of known harmless parameters are shown, since servers name their tokens in many ways
(``token``, ``sig``, ``streamid``, ``hdnea`` ...). Names of local files are not changed.
"""

from __future__ import annotations

import re
from os import PathLike, fspath

_HIDDEN = "***"
#: A URL in a text, up to a space or a quotation mark, and the options that librtmp accepts after a space.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+(?: +\w+=[^\s'\"<>]+)*")
_PARTS = re.compile(r"(?s)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+://)(?P<authority>[^/?#\s]*)(?P<path>[^?#]*)(?P<rest>.*)")
#: Options of FFmpeg's network protocols that hold no credentials.
_HARMLESS = frozenset(
    (
        "buffer_size", "connect_timeout", "fifo_size", "latency", "linger", "listen", "listen_timeout", "localaddr",
        "localport", "maxbw", "mode", "mss", "payload_size", "pbkeylen", "peerlatency", "pkt_size", "rcvlatency",
        "reuse", "rw_timeout", "tcp_nodelay", "timeout", "transport", "transtype", "ttl",
    )
)  # fmt: skip
_PLAIN_VALUE = re.compile(r"[\w.,-]{0,40}")
#: Schemes whose path is an application followed by the stream key, which allows publishing.
_KEY_IN_PATH = ("rtmp://", "rtmps://", "rtmpt://", "rtmpe://", "rtmpte://", "rtmpts://")


def redacted(spec: str | PathLike[str]) -> str:
    """``spec``, a file's name or a URL, for messages: without the passwords, tokens and keys that a URL may contain."""
    text = fspath(spec)
    parts = _PARTS.fullmatch(text)
    if parts is None or parts["scheme"].lower() == "file://":
        return text
    return (
        parts["scheme"] + _authority(parts["authority"]) + _path(parts["scheme"], parts["path"]) + _rest(parts["rest"])
    )


def redacted_text(text: str) -> str:
    """``text``, such as a library's message, with every URL in it :func:`redacted`."""
    return _URL.sub(lambda found: redacted(found[0]), text)


def printable(text: str) -> str:
    """``text`` with control characters, bidirectional overrides and the like escaped, for a terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _authority(authority: str) -> str:
    who, at, host = authority.rpartition("@")  # a password may hold an @ itself
    user, colon, _ = who.partition(":")
    return f"{user}:{_HIDDEN}@{host}" if colon else f"{who}{at}{host}"


def _path(scheme: str, path: str) -> str:
    if scheme.lower() not in _KEY_IN_PATH:
        return path
    application, slash, key = path[1:].partition("/")
    if slash and key:
        return f"/{application}/{_HIDDEN}"
    return re.sub(r"\s.*", f" {_HIDDEN}", path, flags=re.DOTALL)  # librtmp's options follow a space


def _rest(rest: str) -> str:
    """The query (which may contain a # in SRT) or a fragment (``#access_token=...``)."""
    if not rest:
        return ""
    if not rest.startswith("?"):
        return f"#{_HIDDEN}"
    return "?" + "&".join(_parameter(part) for part in rest[1:].split("&"))


def _parameter(part: str) -> str:
    name, equals, value = part.partition("=")
    if name.lower() in _HARMLESS and _PLAIN_VALUE.fullmatch(value):
        return part
    return f"{name}={_HIDDEN}" if equals and re.fullmatch(r"[\w.%-]{1,40}", name) else _HIDDEN
