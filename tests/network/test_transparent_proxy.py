"""The transparent proxy between a PC that knows nothing of it and a server, in three namespaces.

pc 10.0.0.7 ── lan0 gateway wan0 ── server
     10.0.0.1         24.9.3.7      151.101.1.69
"""

import signal
import subprocess
import sys

import pytest

from tests.server_program import Program

pytestmark = pytest.mark.network
NETWORK = """
ip netns add pc
ip netns add gateway
ip netns add server
ip -n pc link add eth0 type veth peer lan0 netns gateway
ip -n server link add eth0 type veth peer wan0 netns gateway
ip -n pc addr add 10.0.0.7/24 dev eth0
ip -n gateway addr add 10.0.0.1/24 dev lan0
ip -n gateway addr add 24.9.3.7 peer 151.101.1.69 dev wan0
ip -n server addr add 151.101.1.69 peer 24.9.3.7 dev eth0
ip -n pc link set eth0 up
ip -n gateway link set lo up
ip -n gateway link set lan0 up
ip -n gateway link set wan0 up
ip -n server link set eth0 up
ip -n pc route add default via 10.0.0.1
"""
CONNECT = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
print("connected", flush=True)
try:
    print("read", sock.recv(100))
except ConnectionResetError:
    print("reset")
"""


@pytest.fixture(autouse=True)
def network():
    subprocess.run(["sh", "-ec", NETWORK], check=True, timeout=20)


def at(node):
    return ("ip", "netns", "exec", node)


def run(node, *command):
    return subprocess.run([*at(node), *command], capture_output=True, text=True, timeout=20)


def proxy(*arguments):
    return Program("napt_lab.servers.proxy.transparent", *arguments, prefix=at("gateway"))


def intercepting(*arguments):
    return proxy("--intercept", "lan0:80", *arguments)


def web():
    return Program("napt_lab.servers.web", "--port", 80, prefix=at("server"))


def curl(node, url):
    return run(node, "curl", "--silent", "--show-error", "--max-time", "5", url)


def connect(node, address, port):
    return run(node, sys.executable, "-c", CONNECT, address, str(port))


def test_the_pc_asks_the_server_and_the_proxy_connects():
    with web() as server, intercepting() as program:
        assert curl("pc", "http://151.101.1.69/").returncode == 0
        connected = program.event("connected")
        ended = program.event("ended")
        request = server.event("request")
    assert connected["original"] == connected["server"] == "151.101.1.69:80"
    assert connected["client"].startswith("10.0.0.7:")
    assert connected["source"] == request["peer"]
    assert request["peer"].startswith("24.9.3.7:")
    assert ended["reason"] == "closed"
    assert ended["bytes_up"] > 0 < ended["bytes_down"]


def test_a_connect_to_a_closed_port_succeeds_and_is_then_reset():
    with intercepting() as program:
        assert connect("pc", "151.101.1.69", 80).stdout == "connected\nreset\n"
        failed = program.event("failed", original="151.101.1.69:80")
        assert "connection refused" in failed["reason"]
    # The control: whoever is not intercepted is refused by the server itself.
    assert "ConnectionRefusedError" in connect("gateway", "151.101.1.69", 80).stderr


def test_only_the_port_asked_for_is_intercepted():
    run("server", "ip", "route", "add", "10.0.0.0/24", "via", "24.9.3.7")
    run("gateway", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    with intercepting() as program:
        # Forwarded untouched, so the server itself refuses it.
        assert "ConnectionRefusedError" in connect("pc", "151.101.1.69", 81).stderr
        assert connect("pc", "151.101.1.69", 80).stdout == "connected\nreset\n"
        program.event("failed", original="151.101.1.69:80")
        assert not [e for e in program.events if e.get("original") == "151.101.1.69:81"]


@pytest.mark.parametrize(
    ("address", "reason"),
    [("10.9.9.9", "private address"), ("169.254.169.254", "link-local"), ("24.9.3.7", "of this")],
)
def test_what_is_not_public_is_refused(address, reason):
    with intercepting() as program:
        assert connect("pc", address, 80).stdout == "connected\nreset\n"
        assert reason in program.event("failed")["reason"]


def test_an_address_that_is_allowed_is_not_refused():
    own = Program(
        "napt_lab.servers.web", "--port", 80, "--listen", "24.9.3.7", prefix=at("gateway")
    )
    with own, intercepting("--allow", "24.9.3.7/32") as program:
        assert curl("pc", "http://24.9.3.7/").returncode == 0
        program.event("connected")


def test_a_connection_that_was_not_intercepted_goes_nowhere():
    with intercepting("--allow", "0.0.0.0/0") as program:
        assert connect("pc", "10.0.0.1", 8080).stdout == "connected\nreset\n"
        assert "itself" in program.event("failed")["reason"]


def test_an_intercepted_connection_to_the_proxys_own_port_is_no_loop():
    with proxy("--intercept", "lan0:8080", "--allow", "0.0.0.0/0") as program:
        assert connect("pc", "24.9.3.7", 8080).stdout == "connected\nreset\n"
        assert "itself" in program.event("failed")["reason"]


def test_both_hold_when_the_kernel_chose_its_port():
    with web(), intercepting("--port", 0, "--allow", "0.0.0.0/0") as program:
        port = program.ready["listening"][0].rpartition(":")[2]
        assert connect("pc", "10.0.0.1", port).stdout == "connected\nreset\n"
        assert "itself" in program.event("failed")["reason"]
        assert curl("pc", "http://151.101.1.69/").returncode == 0
        program.event("connected")


def test_the_rule_goes_with_the_program_and_a_stale_one_is_replaced():
    first = intercepting()
    assert "redirect to :8080" in run("gateway", "nft", "list", "ruleset").stdout
    first.process.kill()
    first.process.wait(10)
    assert run("gateway", "nft", "list", "ruleset").stdout.count("redirect") == 1
    with intercepting() as program:
        assert run("gateway", "nft", "list", "ruleset").stdout.count("redirect") == 1
        assert program.stop() == 0
    assert run("gateway", "nft", "list", "ruleset").stdout == ""


def test_a_reset_by_the_server_reaches_the_pc():
    breaks_off = (
        "import socket, struct; s = socket.create_server(('', 80)); print('up', flush=True)\n"
        "c, _ = s.accept(); c.sendall(b'half')\n"
        "c.recv(1); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
    )
    server = subprocess.Popen(
        [*at("server"), sys.executable, "-c", breaks_off], stdout=subprocess.PIPE
    )
    assert server.stdout
    assert server.stdout.readline() == b"up\n"
    with intercepting() as program:
        done = run(
            "pc", sys.executable, "-c",
            "import socket; s = socket.create_connection(('151.101.1.69', 80), timeout=5)\n"
            "print(s.recv(4)); s.send(b'.'); print(s.recv(4))",
        )  # fmt: skip
        ended = program.event("ended")
    assert done.stdout == "b'half'\n"
    assert "ConnectionResetError" in done.stderr
    assert ended["reason"] == "server: connection reset by peer"
    server.wait(10)


HALF_A_FILE = """
import socket, sys
if sys.argv[1] == "server":
    listener = socket.create_server(("", 80)); print("up", flush=True)
    sock, _ = listener.accept(); sock.sendall(b"half")
else:
    sock = socket.create_connection(("151.101.1.69", 80), timeout=5)
    print(sock.recv(4), flush=True)
sock.settimeout(10)
try:
    print("end", sock.recv(1))
except ConnectionResetError:
    print("reset")
"""


def half_a_file(node):
    """A program on that node which receives or sends half a file, then tells how it ended."""
    program = subprocess.Popen(
        [*at(node), sys.executable, "-c", HALF_A_FILE, node], stdout=subprocess.PIPE
    )
    assert program.stdout
    assert program.stdout.readline() == {"server": b"up\n", "pc": b"b'half'\n"}[node]
    return program


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_proxy_is_no_end_of_a_file(number):
    server, program = half_a_file("server"), intercepting()
    pc = half_a_file("pc")
    program.process.send_signal(number)
    program.process.wait(10)
    assert [side.communicate(timeout=10)[0] for side in (pc, server)] == [b"reset\n"] * 2
    if number == signal.SIGTERM:
        ended = program.event("ended")
        assert (ended["bytes_up"], ended["bytes_down"]) == (0, 4)
        assert ended["reason"] == "stopped"
    program.read_to_end()


def test_a_machine_without_the_interface_option_still_serves_a_rule_of_ones_own():
    rule = (
        "add table ip mine; add chain ip mine pre { type nat hook prerouting priority dstnat; };"
        'add rule ip mine pre iifname "lan0" tcp dport 80 redirect to :8081'
    )
    assert run("gateway", "nft", rule).returncode == 0
    with web(), proxy("--port", 8081) as program:
        assert curl("pc", "http://151.101.1.69/").returncode == 0
        program.event("ended")


def test_nft_that_cannot_be_used_is_one_clear_line():
    done = run("gateway", "env", "PATH=/nonexistent", sys.executable, "-m",
               "napt_lab.servers.proxy.transparent", "--intercept", "lan0:80")  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "nft" in done.stderr
