"""XML from strangers as a bounded tree.

Expat is used directly: ``xml.etree``'s own parser gives no way to refuse a document type declaration, and so entities,
nor to bound the number of elements (defusedxml replaces that parser by a slower one, and bounds nothing either).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

_MAX_ELEMENTS = 100_000
_MAX_DEPTH = 64


@dataclass(slots=True, eq=False)
class Element:
    """One element: ``name`` without its namespace, attributes that have none, text without surrounding space."""

    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, name: str) -> Iterator[Element]:
        """The children called ``name``."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Element | None:
        """The first child called ``name``."""
        return next(self.all(name), None)


def parse_xml(data: bytes) -> Element:
    """The root element of ``data``.

    Raises:
        ValueError: not well-formed, with a document type declaration, or with too many or too deeply nested elements;
            the message says which.
    """
    above: list[Element] = []
    roots: list[Element] = []
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > _MAX_ELEMENTS or len(above) >= _MAX_DEPTH:
            raise ValueError(f"it has more than {_MAX_ELEMENTS} elements, or more than {_MAX_DEPTH} in one another")
        element = Element(_bare(name), {key: value for key, value in attributes.items() if ":" not in key})
        (above[-1].children if above else roots).append(element)
        above.append(element)

    def end(_: str) -> None:
        element = above.pop()
        element.text = element.text.strip()

    def text(data: str) -> None:
        if above:
            above[-1].text += data

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type declaration, which is not read")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise ValueError(f"it is not well-formed XML ({error})") from error
    return roots[0]


def _bare(name: str) -> str:
    return name.rpartition(":")[2]
