"""What the explicit proxy reads and changes in a message."""

import h11
import pytest

from napt_lab.servers.proxy.request import (
    RefusedError,
    check,
    end_to_end,
    request_to_server,
    response_to_client,
    target_of,
)

ME = "napt-lab-0badcafe"


def request(method="GET", target="http://stackoverflow.test/", version="1.1", **fields):
    headers = [("Host", "whatever.test")]
    headers += [(name.replace("_", "-"), value) for name, value in fields.items()]
    return h11.Request(method=method, target=target, headers=headers, http_version=version)


@pytest.mark.parametrize(
    ("method", "target", "host", "port", "path"),
    [
        ("GET", "http://a.test", "a.test", 80, "/"),
        ("GET", "http://a.test/x?y", "a.test", 80, "/x?y"),
        ("GET", "http://a.test?y", "a.test", 80, "/?y"),
        ("GET", "HTTP://151.101.1.69:8080/", "151.101.1.69", 8080, "/"),
        ("GET", "http://a.test:/", "a.test", 80, "/"),
        ("GET", "http://a.test/http://b.test/", "a.test", 80, "/http://b.test/"),
        ("OPTIONS", "http://a.test", "a.test", 80, "*"),
        ("OPTIONS", "http://a.test/", "a.test", 80, "/"),
        ("CONNECT", "a.test:443", "a.test", 443, None),
    ],
)
def test_targets(method, target, host, port, path):
    found = target_of(request(method, target))
    assert (found.host, found.port, found.path) == (host, port, path)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 400),
        ("OPTIONS", "*", 400),
        ("GET", "a.test:80", 400),
        ("GET", "http:///", 400),
        ("GET", "http://:80/", 400),
        ("GET", "http://user@a.test/", 400),
        ("GET", "http://public.test@10.0.0.1/", 400),
        ("GET", "http://-a.test/", 400),
        ("GET", "http://a%2etest/", 400),
        ("GET", "http://[::1]/", 400),
        ("GET", "http://a.test:65536/", 400),
        ("GET", "http://a.test:0/", 400),
        ("GET", "http://a.test:-1/", 400),
        ("GET", "http://a.test:80:80/", 400),
        ("GET", "http://a.test\\@b.test/", 400),
        ("GET", "http://a.test/#f", 400),
        ("GET", "http://" + "a" * 254 + "/", 400),
        ("GET", "https://a.test/", 501),
        ("GET", "file://a.test/", 501),
        ("TRACE", "http://a.test/", 405),
        ("CONNECT", "a.test", 400),
        ("CONNECT", "a.test:", 400),
        ("CONNECT", "http://a.test:443/", 400),
        ("CONNECT", "a.test:443/", 400),
    ],
)
def test_targets_that_are_refused(method, target, status):
    with pytest.raises(RefusedError) as refused:
        target_of(request(method, target))
    assert refused.value.status == status


def test_the_request_is_made_anew():
    came = request(
        target="http://stackoverflow.test:8080/q?1",
        Connection="X-Mine, close, Host, Via",
        X_Mine="1",
        Keep_Alive="5",
        Proxy_Connection="keep-alive",
        Proxy_Authorization="Basic eDp5",
        TE="trailers",
        Upgrade="h2c",
        Via="1.1 first",
        Accept="*/*",
    )
    goes = request_to_server(came, target_of(came), ME)
    assert goes.target == b"/q?1"
    assert goes.headers.raw_items() == [
        (b"Host", b"stackoverflow.test:8080"),
        (b"Via", b"1.1 first"),
        (b"Accept", b"*/*"),
        (b"Via", b"1.1 " + ME.encode()),
        (b"Connection", b"close"),
    ]


def test_the_body_keeps_its_framing():
    came = request("POST", Transfer_Encoding="chunked")
    assert (b"transfer-encoding", b"chunked") in request_to_server(
        came, target_of(came), ME
    ).headers
    came = request("POST", Content_Length="5", Connection="content-length")
    assert (b"content-length", b"5") in request_to_server(came, target_of(came), ME).headers


def test_port_80_is_left_out_of_host():
    came = request(target="http://a.test:80/")
    assert (b"host", b"a.test") in request_to_server(came, target_of(came), ME).headers


def test_max_forwards_counts_down():
    came = request("OPTIONS", Max_Forwards="2")
    assert (b"max-forwards", b"1") in request_to_server(came, target_of(came), ME).headers
    for forwards, status in [("0", 501), ("x", 400), ("-1", 400), ("9" * 10, 400)]:
        came = request("OPTIONS", Max_Forwards=forwards)
        with pytest.raises(RefusedError) as refused:
            request_to_server(came, target_of(came), ME)
        assert refused.value.status == status


@pytest.mark.parametrize(
    ("came", "status"),
    [
        (request("POST", Content_Length="5", Transfer_Encoding="chunked"), 400),
        (request("POST", version="1.0", Transfer_Encoding="chunked"), 400),
        (request("CONNECT", "a.test:443", Content_Length="5"), 400),
        (request("CONNECT", "a.test:443", Transfer_Encoding="chunked"), 400),
        (h11.Request(method="GET", target="http://a.test/", headers=[("Host", "a b")]), 400),
        (request(version="2.0"), 505),
        (request(version="9.9"), 505),
        (request(version="0.9"), 505),
        (request(Via=f"1.1 {ME}"), 508),
        (request(Via=f"1.0 other, 1.1 {ME} (comment), 1.1 third"), 508),
    ],
)
def test_ambiguous_and_looping_requests_are_refused(came, status):
    with pytest.raises(RefusedError) as refused:
        check(came, ME)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "came",
    [
        request("POST", Content_Length="5"),
        request("POST", Transfer_Encoding="chunked"),
        request("CONNECT", "a.test:443", Content_Length="0"),
        request(Via="1.1 other, 1.1 napt-lab-00000000"),
        request(version="1.0"),
        request(version="1.2"),
    ],
)
def test_plain_requests_are_not(came):
    check(came, ME)


def test_a_length_beside_a_coding_is_dropped_from_an_answer():
    came = h11.Response(
        status_code=200, headers=[("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
    )
    names = [name for name, _ in response_to_client(came, ME).headers]
    assert names == [b"via", b"connection"]


def test_order_and_spelling_of_fields_are_kept():
    came = h11.Response(status_code=200, headers=[("Set-Cookie", "a"), ("SET-cookie", "b")])
    assert end_to_end(came) == [(b"Set-Cookie", b"a"), (b"SET-cookie", b"b")]
