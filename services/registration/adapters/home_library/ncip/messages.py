"""NCIP 2.02 (ANSI/NISO Z39.83): the question LookupUser, and XML from outside as elements.

The names and the order of elements are those of the schema of the standard. An attribute has a prefix there.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lxml import etree

from registration.adapters.home_library.errors import GarbledReply, SaysTwoThings
from registration.adapters.home_library.settings import Credentials, Library

NAMESPACE = "http://www.niso.org/2008/ncip"
VERSION = "http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"
LONGEST_REPLY = 65_536
"""In bytes. A reply about a person has some thousands."""

_DEEPEST = 32
_ELEMENT_TYPES = (
    *("Name Information", "User Address Information", "Date Of Birth", "User Privilege", "Block Or Trap"),
    *("User Id", "Previous User Id"),
)
"""What we want to know of a person. A library may send less."""
_SCHEMES = "http://www.niso.org/ncip/v1_0"
_ELEMENT_SCHEME = f"{_SCHEMES}/schemes/userelementtype/userelementtype.scm"
_INPUT_SCHEME = f"{_SCHEMES}/imp1/schemes/authenticationinputtype/authenticationinputtype.scm"
_END = re.compile(rb"</(?:[A-Za-z_][\w.-]*:)?NCIPMessage\s*>")
_LONGEST_END = 200
_SPACE = b" \t\r\n\x00"
_OF_TWO_BYTES = (b"\xff\xfe", b"\xfe\xff")
_BEGINNINGS = (b"<", b"\xef\xbb\xbf", *_OF_TWO_BYTES)
"""How XML can begin: a tag, or a byte order mark."""


class Element(NamedTuple):
    """An element of a reply. Elements of other namespaces than NCIP's are not seen."""

    node: Any

    def all(self, name: str) -> "list[Element]":
        """Return the elements of this name directly below."""
        return [Element(child) for child in self.node if _name_of(child) == name]

    def one(self, *names: str) -> "Element | None":
        """Return the element below, one name for each level. Raises SaysTwoThings if there are several."""
        found = self
        for name in names:
            below = found.all(name)
            if not below:
                return None
            if len(below) > 1:
                raise SaysTwoThings
            found = below[0]
        return found

    def text(self, *names: str) -> str:
        """Return the text of the element below without surrounding spaces; empty if there is none."""
        found = self.one(*names)
        return "" if found is None else (found.node.text or "").strip()


def _name_of(node: Any) -> str:
    if not isinstance(node.tag, str):
        return ""
    name = etree.QName(node)
    return name.localname if name.namespace in {NAMESPACE, None} else ""


def parse(data: bytes, encoding: str | None = None) -> Element:
    """Return the element NCIPMessage. Raises GarbledReply. `encoding`: in place of what the XML says itself.

    No entity is resolved, nothing is loaded, and a document type is refused: what such a document says would
    depend on more than its bytes.
    """
    if len(data) > LONGEST_REPLY:
        raise GarbledReply
    data = data.lstrip(_SPACE)
    if not data.startswith(_OF_TWO_BYTES):
        data = data.rstrip(_SPACE)
    if encoding is not None:
        data = data.decode(encoding, "replace").encode()
    parser = etree.XMLParser(
        encoding=None if encoding is None else "utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, LookupError, ValueError):
        raise GarbledReply from None
    if root is None or root.getroottree().docinfo.doctype or _depth(root) > _DEEPEST:
        raise GarbledReply
    if _name_of(root) != "NCIPMessage":
        raise GarbledReply
    return Element(root)


def _depth(root: Any) -> int:
    deepest = depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(deepest, depth)
    return deepest


def lookup_user(library: Library, credentials: Credentials | None, card_number: str) -> bytes:
    """Return the question about a card: an NCIPMessage with LookupUser."""
    message = etree.Element(_tag("NCIPMessage"), nsmap={"ncip": NAMESPACE})
    message.set(_tag("version"), VERSION)
    question = etree.SubElement(message, _tag("LookupUser"))
    header = etree.SubElement(question, _tag("InitiationHeader"))
    if credentials is not None and library.credentials_in == "message":
        _add(header, "FromSystemId", credentials.username)
        _add(header, "FromSystemAuthentication", credentials.password)
    _add(etree.SubElement(header, _tag("FromAgencyId")), "AgencyId", library.from_agency or "")
    _add(etree.SubElement(header, _tag("ToAgencyId")), "AgencyId", library.to_agency or "")
    if library.ask_by == "barcode":
        typed = etree.SubElement(question, _tag("AuthenticationInput"))
        _add(typed, "AuthenticationInputData", card_number)
        _add(typed, "AuthenticationDataFormatType", "text/plain")
        _add(typed, "AuthenticationInputType", "Barcode Id", _INPUT_SCHEME)
    else:
        user = etree.SubElement(question, _tag("UserId"))
        _add(user, "AgencyId", library.to_agency or "")
        _add(user, "UserIdentifierValue", card_number)
    for wanted in _ELEMENT_TYPES:
        _add(question, "UserElementType", wanted, _ELEMENT_SCHEME)
    return bytes(etree.tostring(message, xml_declaration=True, encoding="UTF-8"))


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _add(parent: Any, name: str, text: str, scheme: str | None = None) -> None:
    added = etree.SubElement(parent, _tag(name))
    added.text = text
    if scheme is not None:
        added.set(_tag("Scheme"), scheme)


class XmlFrames:
    """Cuts what arrives over TCP into messages: each ends with the end tag of NCIPMessage.

    What does not begin as XML is handed on at once, because no end of it can be known.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        """Add incoming data."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole message; None while it is incomplete."""
        if not self._searched:
            self._buffer = self._buffer.lstrip(_SPACE)
        if not any(mark.startswith(self._buffer[: len(mark)]) for mark in _BEGINNINGS):
            return self._cut(len(self._buffer))
        found = _END.search(self._buffer, max(0, self._searched - _LONGEST_END))
        self._searched = len(self._buffer)
        return None if found is None else self._cut(found.end())

    def _cut(self, end: int) -> bytes:
        message = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = 0
        return message

    @property
    def is_empty(self) -> bool:
        """Whether no data is left except white space."""
        return not self._buffer.strip(_SPACE)


def problems_of(parents: Sequence[Element]) -> Iterator[tuple[str, str]]:
    """Yield the type and the detail of each problem that a reply reports."""
    for parent in parents:
        for problem in parent.all("Problem"):
            yield problem.text("ProblemType"), problem.text("ProblemDetail")
