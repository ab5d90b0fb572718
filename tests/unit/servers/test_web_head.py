"""How the small web server reads a request's header."""

from __future__ import annotations

import pytest

from napt_lab.servers.web import BadRequest, Request, parse_head


@pytest.mark.parametrize(
    ("head", "request_"),
    [
        (b"GET / HTTP/1.1\r\nHost: x", Request("GET", "/", True)),
        (b"HEAD /a?b HTTP/1.1\r\nhost:x", Request("HEAD", "/a", True)),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close", Request("GET", "/", False)),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a, close", Request("GET", "/", False)),
        (b"GET / HTTP/1.0", Request("GET", "/", False)),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", Request("GET", "/", True)),
        (b"GET http://151.101.1.69/a HTTP/1.1\r\nHost: x", Request("GET", "/a", True)),
        (b"GET http://151.101.1.69 HTTP/1.1\r\nHost: x", Request("GET", "/", True)),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0", Request("GET", "/", True)),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0", Request("GET", "/", True)),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: x",
            Request("GET", "/", False),
        ),
    ],
)
def test_good(head, request_):
    assert parse_head(head) == request_


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /", 400),
        (b"GET  / HTTP/1.1\r\nHost: x", 400),
        (b"GET / x HTTP/1.1\r\nHost: x", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost : x", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded", 400),
        (b"GET / HTTP/1.1\r\n: x", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/2.0\r\nHost: x", 505),
        (b"POST / HTTP/1.1\r\nHost: x", 405),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x", 400),
        (b"GET / HTTP/1.0\r\nHost: x\r\nhost: y", 400),
        *(
            (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + length, 400)
            for length in (
                b"nonsense",
                b"",
                b"-1",
                b"+0",
                b"0x0",
                b"1_0",
                b"0, 5",
                b"\xb2",
                b"5\r\nContent-Length: 0",
            )
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000, 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked", 413),
    ],
)
def test_bad(head, status):
    with pytest.raises(BadRequest) as bad:
        parse_head(head)
    assert bad.value.status == status
