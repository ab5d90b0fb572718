"""What an HTTP proxy reads in a message, and what it changes in one it passes on.

Theory of operation
-------------------
A client that was told about a proxy asks in one of two forms (RFC 9112, section 3.2):

    GET http://host:port/path HTTP/1.1      absolute-form: the proxy makes the request itself
    CONNECT host:port HTTP/1.1              authority-form: the proxy opens a tunnel

What is passed on is not the client's message but one made anew from it (RFC 9110, section 7.6):
fields that concern only one connection (Connection and all it names, Transfer-Encoding,
Proxy-Authorization …) end here, Via names this proxy, and Host is that of the absolute form,
not the client's Host field (RFC 9112, section 3.2.2).

Request smuggling needs two readers that disagree about where a message ends. So a message with
both Content-Length and Transfer-Encoding is refused although it could be read (RFC 9112, section
6.1), and what h11 does not accept never gets here: differing Content-Lengths, a transfer coding
other than chunked, white space before a colon.

Pure functions: no sockets, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from napt_lab.servers.shared.host_field import host_fault

Head = h11.Request | h11.Response | h11.InformationalResponse
Fields = list[tuple[bytes, bytes]]

# RFC 9110, section 7.6.1, and what older clients send.
HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-authentication-info", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
# What Connection may name without effect: dropping these would change the message itself.
NOT_NOMINABLE = frozenset({b"content-length", b"host", b"via", b"cache-control", b"expect"})
ALLOWED = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, CONNECT"

# A host is a name or an IPv4 address: no brackets, no user, no leading hyphen, ASCII only.
_AUTHORITY = re.compile(
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}))(?::(?P<port>[0-9]{0,5}))?", re.ASCII
)
_ABSOLUTE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)")


class RefusedError(Exception):
    """The proxy refuses a request: the status code to answer with, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """The server that a request is for, and what to ask it for."""

    host: str
    port: int
    path: str | None
    """The origin-form; None for CONNECT."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def target_of(request: h11.Request) -> Target:
    """Read the request's target. Raises RefusedError (400, 405 or 501)."""
    text = request.target.decode("ascii")
    if request.method == b"CONNECT":
        host, port = _authority(text, default=None)
        return Target(host, port, None)
    # Tracing through a proxy shows the client's own credentials to a script (RFC 9110, 9.3.8).
    if request.method == b"TRACE":
        raise RefusedError(405, "TRACE is not passed on")
    if text.startswith("/") or text == "*":
        raise RefusedError(400, "this is a proxy: ask with the absolute form, http://host/path")
    parts = _ABSOLUTE.fullmatch(text)
    if not parts:
        raise RefusedError(400, "the request target is not of the form http://host/path")
    if parts["scheme"].lower() == "https":
        raise RefusedError(501, "this proxy does not open https:// itself: use CONNECT")
    if parts["scheme"].lower() != "http":
        raise RefusedError(501, "only http:// is served, and CONNECT")
    if "#" in parts["rest"]:
        raise RefusedError(400, "a request target must not have a fragment (RFC 9112, section 3.2)")
    host, port = _authority(parts["authority"], default=80)
    return Target(host, port, _origin_form(request.method, parts["rest"]))


def _origin_form(method: bytes, rest: str) -> str:
    if not rest and method == b"OPTIONS":
        return "*"  # RFC 9112, section 3.2.4: the last proxy makes the asterisk-form
    return rest if rest.startswith("/") else "/" + rest


def _authority(text: str, default: int | None) -> tuple[str, int]:
    if "@" in text:
        raise RefusedError(
            400, "a request target must not have a user name (RFC 9110, section 4.2.4)"
        )
    if "[" in text:
        raise RefusedError(400, "IPv6 is not served here")
    parts = _AUTHORITY.fullmatch(text)
    if not parts:
        raise RefusedError(400, "the request target has no valid host and port")
    port = int(parts["port"]) if parts["port"] else default
    if port is None or not 0 < port < 65_536:
        raise RefusedError(400, "the request target's port is not in 1 to 65535")
    return parts["host"], port


def check(request: h11.Request, pseudonym: str) -> None:
    """Refuse an ambiguous request, or one that is in a loop. Raises RefusedError."""
    # A higher minor version is read as the highest that is known (RFC 9110, section 2.5).
    if not request.http_version.startswith(b"1."):
        raise RefusedError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
    if fault := host_fault(hosts, is_required=request.http_version == b"1.1"):
        raise RefusedError(400, fault)
    lengths, codings = (
        _values(request.headers, b"content-length"),
        _values(request.headers, b"transfer-encoding"),
    )
    if lengths and codings:
        raise RefusedError(400, "a request must not have both Content-Length and Transfer-Encoding")
    if codings and request.http_version < b"1.1":
        raise RefusedError(400, "HTTP/1.0 has no Transfer-Encoding")
    if request.method == b"CONNECT" and (codings or lengths not in ([], [b"0"])):
        raise RefusedError(400, "CONNECT has no body")
    hops = [hop.split() for hop in _values(request.headers, b"via")]
    if any(len(hop) >= 2 and hop[1] == pseudonym.encode() for hop in hops):
        raise RefusedError(508, "a loop: this request has come through this proxy already")


def request_to_server(request: h11.Request, target: Target, pseudonym: str) -> h11.Request:
    """The request that the proxy makes on the client's behalf, in origin-form.

    Raises RefusedError when Max-Forwards lets it go no further.
    """
    assert target.path is not None
    host = target.host if target.port == 80 else str(target)
    headers: Fields = [(b"Host", host.encode())]
    for name, value in end_to_end(request):
        if name.lower() == b"max-forwards" and request.method == b"OPTIONS":
            value = _one_fewer(value)
        if name.lower() != b"host":
            headers.append((name, value))
    if _values(request.headers, b"transfer-encoding"):
        headers.append((b"Transfer-Encoding", b"chunked"))
    headers += [_via(request.http_version, pseudonym), (b"Connection", b"close")]
    return h11.Request(method=request.method, target=target.path, headers=headers)


def response_to_client(response: h11.Response, pseudonym: str) -> h11.Response:
    """The final response as the client gets it; h11 adds the framing that suits the client."""
    headers = end_to_end(response)
    if _values(response.headers, b"transfer-encoding"):
        # A length beside a coding is not to be trusted (RFC 9112, section 6.3).
        headers = [(n, v) for n, v in headers if n.lower() != b"content-length"]
    headers += [_via(response.http_version, pseudonym), (b"Connection", b"close")]
    return h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)


def interim_to_client(
    response: h11.InformationalResponse, pseudonym: str
) -> h11.InformationalResponse:
    """A 1xx response as the client gets it (RFC 9110, section 15.2)."""
    return h11.InformationalResponse(
        status_code=response.status_code,
        reason=response.reason,
        headers=[*end_to_end(response), _via(response.http_version, pseudonym)],
    )


def end_to_end(head: Head) -> Fields:
    """The fields that are passed on, in their order and spelling."""
    named = set(_values(head.headers, b"connection")) - NOT_NOMINABLE
    return [
        (name, value)
        for name, value in head.headers.raw_items()
        if name.lower() not in HOP_BY_HOP and name.lower() not in named
    ]


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    """The members, in lower case, of all list fields of that name."""
    return [
        member.strip().lower()
        for name, value in headers
        if name == wanted
        for member in value.split(b",")
        if member.strip()
    ]


def _one_fewer(forwards: bytes) -> bytes:
    if not forwards.isdigit() or len(forwards) > 9:
        raise RefusedError(400, "Max-Forwards is not a number")
    if int(forwards) == 0:
        raise RefusedError(501, "Max-Forwards is 0: the request goes no further than this proxy")
    return b"%d" % (int(forwards) - 1)


def _via(version: bytes, pseudonym: str) -> tuple[bytes, bytes]:
    return b"Via", version + b" " + pseudonym.encode()
