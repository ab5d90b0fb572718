"""The explicit proxy: curl as its client, and clients that are up to no good."""

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import struct
import subprocess
import threading

import pytest
from aiohttp import web

from napt_lab.servers.shared import splice
from tests.server_program import Program
from tests.waiting import wait_until

pytestmark = pytest.mark.network
PROXY = ("127.0.0.1", 3128)
ALLOW = ("--allow", "127.0.0.0/8")


def proxy(*arguments):
    return Program(
        "napt_lab.servers.proxy.explicit", "--listen", PROXY[0], "--port", PROXY[1], *arguments
    )


def curl(*arguments, check=True):
    command = ["curl", "--silent", "--show-error", "--max-time", "20"]
    command += ["--proxy", "http://{}:{}".format(*PROXY), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=30, check=check)


def ask(request, address=PROXY):
    """Send bytes to the proxy; returns all that comes back."""
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(request)
        return read_all(sock)


def read_all(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


class Origin:
    """A server that keeps what it received on one connection and answers with fixed bytes."""

    def __init__(self, answer, port=8000, until=b"\r\n\r\n", broken_off=False):
        self.answer, self.until, self.broken_off = answer, until, broken_off
        self.received = b""
        self.was_reset = False
        self.listener = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        sock, self.peer = self.listener.accept()
        with sock:
            sock.settimeout(10)
            while self.until not in self.received:
                try:
                    piece = sock.recv(65536)
                except ConnectionResetError:
                    self.was_reset = True
                    return
                if not piece:
                    return
                self.received += piece
            try:
                sock.sendall(self.answer)
                if self.broken_off:
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                else:
                    sock.shutdown(socket.SHUT_WR)
                    self.received += read_all(sock)
            except OSError as error:  # the proxy resets the connection when it refuses the answer
                if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                    raise

    def head(self):
        return self.received.partition(b"\r\n\r\n")[0].decode().split("\r\n")

    def fields(self):
        return {n.lower(): v for n, v in (line.split(": ", 1) for line in self.head()[1:])}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def big_server():
    """An aiohttp server: GET /N streams N bytes, POST answers with the body's SHA-256."""

    async def get(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        block, left = bytes(1 << 16), int(request.match_info["size"])
        while left:
            await answer.write(block[:left])
            left -= min(left, len(block))
        return answer

    async def post(request):
        digest = hashlib.sha256()
        async for block in request.content.iter_any():
            digest.update(block)
        return web.Response(text=digest.hexdigest())

    async def serve():
        app = web.Application(client_max_size=1 << 40)
        app.add_routes([web.get("/{size}", get), web.post("/", post)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 8000).start()
        ready.set()
        await asyncio.Event().wait()

    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    assert ready.wait(10)


OK = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: 5\r\n"
    b"Connection: x-hop\r\nX-Hop: 1\r\n\r\nhello"
)


def test_curl_fetches_a_page_and_the_message_is_made_anew():
    with proxy(*ALLOW) as program, Origin(OK) as origin:
        done = curl(
            "--include", "-H", "Connection: x-mine", "-H", "X-Mine: 1", "-H", "X-Kept: 2",
            "--proxy-user", "a:b", "http://127.0.0.1:8000/page?q=1",
        )  # fmt: skip
        told = program.event("request")
        ended = program.event("ended")
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    assert body == "hello"
    assert "via: 1.1 napt-lab-" in head.lower()
    assert "x-hop" not in head.lower()
    assert "keep-alive" not in head.lower()
    assert origin.head()[0] == "GET /page?q=1 HTTP/1.1"
    fields = origin.fields()
    assert fields["host"] == "127.0.0.1:8000"
    assert fields["x-kept"] == "2"
    assert fields["via"].startswith("1.1 napt-lab-")
    assert fields["connection"] == "close"
    assert fields.keys().isdisjoint({"x-mine", "proxy-authorization", "proxy-connection"})
    # The server's peer is the proxy's own endpoint, not the client's.
    assert told["source"] == "{}:{}".format(*origin.peer) != told["peer"]
    assert (told["server"], told["status"], told["method"]) == ("127.0.0.1:8000", 200, "GET")
    assert (ended["bytes_up"], ended["bytes_down"], ended["reason"]) == (0, 5, "closed")


def test_the_source_address_is_the_one_asked_for():
    with proxy(*ALLOW, "--source", "127.0.0.9"), Origin(OK) as origin:
        curl("http://127.0.0.1:8000/")
    assert origin.peer[0] == "127.0.0.9"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_is_passed_whole(big_server, tmp_path, framing):
    body = os.urandom(3_000_000)
    (tmp_path / "body").write_bytes(body)
    chunked = ["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else []
    with proxy(*ALLOW) as program:
        # Above 1 MB curl asks with Expect: 100-continue first.
        done = curl(*chunked, "--data-binary", f"@{tmp_path}/body", "http://127.0.0.1:8000/")
        assert done.stdout.decode() == hashlib.sha256(body).hexdigest()
        assert program.event("ended")["bytes_up"] == len(body)


def test_a_big_answer_streams_in_bounded_memory(big_server):
    size = 200_000_000
    with proxy(*ALLOW) as program:
        done = curl("-o", "/dev/null", "-w", "%{size_download}", f"http://127.0.0.1:8000/{size}")
        assert int(done.stdout) == size
        assert program.status("VmHWM") < 60_000


def test_tls_goes_end_to_end_through_connect(tmp_path):
    make_certificate = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout key"
        " -out cert -subj /CN=lab -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(make_certificate.split(), cwd=tmp_path, check=True, capture_output=True)
    s_server = "openssl s_server -accept 127.0.0.1:8443 -cert cert -key key -www"
    server = subprocess.Popen(
        s_server.split(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdout
    while b"ACCEPT" not in server.stdout.readline():
        pass
    with proxy(*ALLOW, "--tunnel-port", 8443) as program:
        done = curl("--cacert", tmp_path / "cert", "https://127.0.0.1:8443/")
        assert b"TLSv1.3" in done.stdout
        told = program.event("request", method="CONNECT", status=200)
        assert told["target"] == "127.0.0.1:8443"
        ended = program.event("ended")
        assert ended["bytes_up"] > 0
        assert ended["bytes_down"] > len(done.stdout)
    server.terminate()
    server.wait(10)


def test_what_a_client_sends_before_the_tunnel_stands_is_not_lost():
    answer = b"pong"
    with proxy(*ALLOW, "--tunnel-port", 8000), Origin(answer, until=b"ping"):
        got = ask(b"CONNECT 127.0.0.1:8000 HTTP/1.1\r\nHost: x\r\n\r\nping")
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(b"\r\n\r\npong")


GET = b"GET http://127.0.0.1:8000/ HTTP/1.1\r\nHost: a\r\n"
POST = b"POST http://127.0.0.1:8000/ HTTP/1.1\r\nHost: a\r\n"


def told_after(program, earlier):
    """What the program tells of the request after so many earlier ones."""
    return wait_until(lambda: program.told("request")[earlier:], "what it tells")[0]


BAD_REQUESTS = [
    ("not HTTP", b"hello\r\n\r\n", 400),
    ("origin-form", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no Host", b"GET http://127.0.0.1:8000/ HTTP/1.1\r\n\r\n", 400),
    ("user", b"GET http://a@127.0.0.1:8000/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("port 0", b"GET http://127.0.0.1:0/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("https", b"GET https://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("ftp", b"GET ftp://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("TRACE", b"TRACE http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("no port", b"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("mail", b"CONNECT 127.0.0.1:25 HTTP/1.1\r\nHost: a\r\n\r\n", 403),
    ("HEAD, without a body", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CL and TE", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("two CL", POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
    ("CL +4", POST + b"Content-Length: +4\r\n\r\n1234", 400),
    ("CL 4, 5", POST + b"Content-Length: 4, 5\r\n\r\n1234", 400),
    ("TE gzip", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("space before colon", POST + b"Transfer-Encoding : chunked\r\n\r\n", 400),
    ("giant field", GET + b"A: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    ("HTTP/2.0", GET.replace(b"1.1", b"2.0") + b"\r\n", 505),
    ("head without end", GET, 408),
    ("silence", b"", 408),
]  # fmt: skip


def test_a_bad_request_is_answered_and_not_passed_on(subtests):
    with (
        proxy(*ALLOW, "--head-time", 0.5) as program,
        socket.create_server(("127.0.0.1", 8000)) as listener,
    ):
        listener.setblocking(False)
        for what, request_bytes, status in BAD_REQUESTS:
            with subtests.test(what):
                earlier = len(program.told("request"))
                assert ask(request_bytes).startswith(b"HTTP/1.1 %d " % status)
                told = told_after(program, earlier)
                assert told["status"] == status
                assert told["reason"]
                with pytest.raises(BlockingIOError):
                    listener.accept()


def message_with_head_of(size, start, rest=b""):
    filler = size - len(start) - len(b"A: \r\n\r\n")
    return start + b"A: " + b"a" * filler + b"\r\n\r\n" + rest


@pytest.mark.parametrize(("size", "status"), [(16_384, 200), (16_385, 431), (64_000, 431)])
def test_a_request_head_may_have_16384_bytes(size, status):
    body = b"a body behind it" * 1000
    start = POST + b"Content-Length: %d\r\n" % len(body)
    with proxy(*ALLOW) as program, Origin(OK, until=body) as origin:
        assert ask(message_with_head_of(size, start, body)).startswith(b"HTTP/1.1 %d " % status)
        program.event("request", status=status)
        if status != 200:  # nobody came: let the origin go
            socket.create_connection(("127.0.0.1", 8000)).close()
    assert origin.received.startswith(b"POST ") == (status == 200)


def test_a_body_that_breaks_its_own_framing_does_not_arrive_as_a_whole_one():
    with proxy(*ALLOW), Origin(b"", until=b"NEVER", broken_off=True) as origin:
        got = ask(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nZZ\r\n")
        origin.listener.close()
    assert got.startswith(b"HTTP/1.1 400 ")
    assert origin.received.endswith(b"2\r\nab\r\n")
    assert origin.was_reset


def test_a_second_request_behind_the_first_is_not_smuggled_to_the_server():
    with proxy(*ALLOW), Origin(OK) as origin:
        got = ask(GET + b"\r\n" + GET.replace(b"/ ", b"/secret ") + b"\r\n")
    assert got.count(b"HTTP/1.1 ") == 1
    assert b"secret" not in origin.received


def test_an_answer_that_is_cut_off_is_not_passed_off_as_whole():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    with proxy(*ALLOW) as program, Origin(answer):
        done = curl("http://127.0.0.1:8000/", check=False)
        assert done.returncode in (18, 56)  # partial file; receive failure
        program.event("ended")


ANSWERS = [
    (b"", 502),
    (b"nonsense\r\n\r\n", 502),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 502),
    (message_with_head_of(16_384, b"HTTP/1.1 200 OK\r\n"), 200),
    (message_with_head_of(16_385, b"HTTP/1.1 200 OK\r\n"), 502),
    (message_with_head_of(100_000, b"HTTP/1.1 200 OK\r\n"), 502),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello", 200),
]


def test_answers_of_all_kinds(subtests):
    with proxy(*ALLOW) as program:
        for answer, status in ANSWERS:
            with subtests.test(repr(answer[:60])), Origin(answer):
                earlier = len(program.told("request"))
                curl("http://127.0.0.1:8000/")
                assert told_after(program, earlier)["status"] == status


def test_an_answer_before_the_body_has_gone_through_reaches_the_client():
    answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    with proxy(*ALLOW), Origin(answer), socket.create_connection(PROXY, timeout=10) as sock:
        sock.sendall(POST + b"Content-Length: 1000000\r\n\r\nabc")
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "target", ["127.0.0.1:8000", "localhost:8000", "127.1:8000", "2130706433:8000", "0:8000"]
)
def test_loopback_is_refused_however_it_is_written_unless_allowed(target):
    with proxy() as program:
        listener = socket.create_server(("127.0.0.1", 8000))
        assert b"\r\n\r\n" in curl("-i", f"http://{target}/").stdout
        assert "address" in program.event("request", status=403)["reason"]
        listener.close()
    with proxy(*ALLOW, "--allow", "0.0.0.0/32"), Origin(OK):
        assert curl(f"http://{target}/").stdout == b"hello"


def test_private_and_own_addresses_are_refused_and_a_public_one_is_not():
    for command in (
        "link add outside type veth peer nobody",
        "link set outside up",
        "link set nobody up",
        "addr add 10.0.0.1/24 dev outside",
        "addr add 24.9.3.7/24 dev outside",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    with proxy("--connect-time", 0.5) as program:
        curl("http://10.0.0.1/")
        assert "private address" in program.event("request", status=403)["reason"]
        curl("http://24.9.3.7/")
        assert program.event("request", target="http://24.9.3.7/")["status"] == 403
        curl("http://24.9.3.8/")  # nobody answers ARP there
        gateway_timeout = program.event("request", target="http://24.9.3.8/")
        assert gateway_timeout["status"] == 504


def test_a_server_that_refuses_and_a_network_out_of_reach_are_502_with_the_cause():
    with proxy(*ALLOW) as program:
        curl("http://127.0.0.1:8000/")
        assert "connection refused" in program.event("request", status=502)["reason"]
        curl("http://151.101.1.69/")
        unreachable = program.event("request", target="http://151.101.1.69/")
        assert (unreachable["status"], unreachable["reason"]) == (
            502, "151.101.1.69:80: network is unreachable",
        )  # fmt: skip


def test_the_proxy_does_not_connect_to_itself_even_when_its_address_is_allowed():
    with proxy(*ALLOW, "--tunnel-port", PROXY[1]) as program:
        curl("http://127.0.0.1:3128/")
        assert "itself" in program.event("request", status=403, method="GET")["reason"]
        ask(b"CONNECT 127.0.0.1:3128 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert "itself" in program.event("request", status=403, method="CONNECT")["reason"]


def test_nor_when_the_kernel_chose_its_port():
    with proxy(*ALLOW, "--port", 0) as program:
        port = int(program.ready["listening"][0].rpartition(":")[2])
        asked = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: a\r\n\r\n" % port
        assert ask(asked, ("127.0.0.1", port)).startswith(b"HTTP/1.1 403 ")
        assert "itself" in program.event("request")["reason"]
        with Origin(OK):  # the same proxy reaches others at that address
            assert ask(GET + b"\r\n", ("127.0.0.1", port)).startswith(b"HTTP/1.1 200 ")


def test_a_request_that_comes_back_is_a_loop():
    with proxy(*ALLOW) as program:
        with Origin(OK) as origin:
            curl("http://127.0.0.1:8000/")
        via = origin.fields()["via"]
        with Origin(OK):
            curl("-H", "Via: 1.1 someone-else", "http://127.0.0.1:8000/")
        curl("-H", f"Via: 1.0 first, {via}", "http://127.0.0.1:8000/")
        assert program.event("request", status=508)["reason"].startswith("a loop")
        assert [e["status"] for e in program.events if e["event"] == "request"] == [200, 200, 508]


def test_beyond_the_limit_of_connections_the_answer_is_503():
    with proxy(*ALLOW, "--per-client", 2) as program:
        kept = [socket.create_connection(PROXY) for _ in range(2)]
        assert ask(b"").startswith(b"HTTP/1.1 503 ")
        program.event("refused")
        kept.pop().close()
        with Origin(OK):
            wait_until(
                lambda: curl("http://127.0.0.1:8000/").stdout == b"hello", "a place for one more"
            )


def await_reset(sock):
    """Read up to the reset that must come; returns what was read before it."""
    got = bytearray()
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return bytes(got)
        assert piece, f"a FIN, not a reset, after {bytes(got)!r}"
        got += piece


def exchange(request):
    """A request through the proxy to a listening socket of ours; returns client and server."""
    with socket.create_server(("127.0.0.1", 8000)) as listener:
        listener.settimeout(10)
        client = socket.create_connection(PROXY, timeout=10)
        client.sendall(request)
        server, _ = listener.accept()
        server.settimeout(10)
    return client, server


CONNECT = b"CONNECT 127.0.0.1:8000 HTTP/1.1\r\nHost: a\r\n\r\n"
OLD_GET = b"GET http://127.0.0.1:8000/ HTTP/1.0\r\n\r\n"
WITHOUT_LENGTH = b"HTTP/1.0 200 OK\r\n\r\n"  # a FIN is the end of what follows


def half_way(request):
    """Five bytes have come down to the client, and for a tunnel two have gone up."""
    client, server = exchange(request)
    if request is CONNECT:
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"up")
        assert server.recv(2) == b"up"
        server.sendall(b"hello")
    else:
        assert server.recv(65536).startswith(b"GET / ")
        server.sendall(WITHOUT_LENGTH + b"hello")
    got = b""
    while b"hello" not in got:
        got += client.recv(65536)
    return client, server


def never_a_fin(request, program, end, reason):
    """Whatever `end` does to a transfer on its way, both sides are reset, and the bytes counted."""
    client, server = half_way(request)
    for sock in end(client, server):
        await_reset(sock)
    ended = program.event("ended")
    up = 2 if request is CONNECT else 0
    assert (ended["bytes_up"], ended["bytes_down"]) == (up, 5)
    assert reason in ended["reason"].lower()


@pytest.mark.parametrize("request_", [CONNECT, OLD_GET], ids=["tunnel", "fetch"])
class TestAnEndThatIsNotTheSendersOwnIsAReset:
    """Of a tunnel, and of an answer whose end only a FIN marks."""

    flags = (*ALLOW, "--tunnel-port", 8000)

    def test_when_the_proxy_is_stopped(self, request_):
        with proxy(*self.flags) as program:

            def end(client, server):
                program.process.terminate()
                program.process.wait(10)
                return client, server

            never_a_fin(request_, program, end, "stopped")

    def test_when_the_proxy_is_killed(self, request_):
        program = proxy(*self.flags)
        sides = half_way(request_)
        program.process.kill()
        program.process.wait(10)
        for sock in sides:
            await_reset(sock)
        program.read_to_end()

    def test_when_nothing_passes_for_too_long(self, request_):
        with proxy(*self.flags, "--idle-time", 0.5) as program:
            reason = "idle" if request_ is CONNECT else "silent for 0.5 s"
            never_a_fin(request_, program, lambda client, server: (client, server), reason)

    def test_when_the_server_is_reset(self, request_):
        with proxy(*self.flags) as program:

            def end(client, server):
                splice.reset(server)
                return (client,)

            never_a_fin(request_, program, end, "connection reset by peer")

    def test_when_the_client_is_reset(self, request_):
        with proxy(*self.flags, "--idle-time", 5) as program:

            def end(client, server):
                splice.reset(client)
                if request_ is not CONNECT:  # only by sending does one learn that nobody reads
                    with contextlib.suppress(ConnectionError):
                        while True:
                            server.sendall(bytes(65536))
                return (server,) if request_ is CONNECT else ()

            if request_ is CONNECT:
                never_a_fin(request_, program, end, "connection reset by peer")
            else:
                end(*half_way(request_))
                assert program.event("ended")["bytes_down"] >= 5

    def test_but_the_senders_own_end_is_a_fin(self, request_):
        """The control."""
        with proxy(*self.flags) as program:
            client, server = half_way(request_)
            server.shutdown(socket.SHUT_WR)
            assert client.recv(65536) == b""
            client.shutdown(socket.SHUT_WR)
            assert server.recv(65536) == b""
            assert program.event("ended")["reason"] == "closed"


@pytest.mark.parametrize("cut", ["reset", "fin"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"]
)
def test_an_upload_that_is_cut_off_is_reset_at_the_server(framing, cut):
    with proxy(*ALLOW) as program:
        client, server = exchange(POST + framing + b"half")
        got = b""
        while not got.endswith(b"half" if b"Length" in framing else b"half\r\n"):
            got += server.recv(65536)
        if cut == "reset":
            splice.reset(client)
        else:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(65536).startswith(b"HTTP/1.1 400 ")
        await_reset(server)
        assert program.told("request", status=200) == []


def test_a_client_that_ends_its_side_after_the_request_gets_the_answer():
    with proxy(*ALLOW) as program, Origin(OK):
        with socket.create_connection(PROXY, timeout=10) as sock:
            sock.sendall(GET + b"\r\n")
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock).endswith(b"hello")
        assert program.event("ended")["reason"] == "closed"


@pytest.mark.parametrize(
    "typed", ["GET http://127.0.0.1:8000/ HTTP/1.1\nHost: a\n\n", "GET http://127.0.0.1:8000/"]
)
def test_a_request_that_is_typed_into_nc_is_answered(typed):
    with proxy(*ALLOW), Origin(OK) as origin:
        command = ["nc", "-N", PROXY[0], str(PROXY[1])]
        got = subprocess.run(command, input=typed.encode(), capture_output=True, timeout=10).stdout
        origin.listener.close()
    if typed.endswith("\n"):
        assert got.endswith(b"hello")
    else:
        assert got.startswith(b"HTTP/1.1 400 ")


def test_a_crowd_of_one_address_leaves_places_for_others():
    with proxy(*ALLOW, "--connections", 4, "--per-client", 4) as program, Origin(OK):
        crowd = [socket.create_connection(PROXY, 10, ("127.0.0.66", 0)) for _ in range(4)]
        assert ask(GET + b"\r\n").endswith(b"hello")
        yielded = program.event("refused")
        assert yielded["peer"] == "{}:{}".format(*crowd[0].getsockname())
        await_reset(crowd[0])
