"""Where a proxy may connect to."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv4Network

import pytest

from napt_lab.servers.shared import destinations
from napt_lab.servers.shared.destinations import Destinations, NotDialledError


@pytest.fixture(autouse=True)
def own_addresses(monkeypatch):
    """This machine has loopback, 10.0.0.1 and 24.9.3.7."""

    def is_own(address):
        return address.is_loopback or str(address) in {"10.0.0.1", "24.9.3.7"}

    monkeypatch.setattr(destinations, "is_own", is_own)


def refusal(address, port=80, allowed=()):
    policy = Destinations(own_port=3128, allowed=[IPv4Network(n) for n in allowed])
    return policy.refusal(IPv4Address(address), port)


@pytest.mark.parametrize(
    "address",
    [
        "151.101.1.69", "198.51.100.9", "203.0.113.255", "11.0.0.0", "172.32.0.1", "1.1.1.1",
        "198.20.0.0",
    ],
)  # fmt: skip
def test_public_addresses_are_not_refused(address):
    assert refusal(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.7", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.168.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "192.88.99.1", "198.18.0.1", "198.19.255.255",
        "24.9.3.7",
    ],
)  # fmt: skip
def test_others_are_unless_allowed(address):
    assert refusal(address)
    assert refusal(address, allowed=["192.0.2.0/24"])
    assert refusal(address, allowed=[f"{address}/32"]) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "24.9.3.7"])
def test_the_proxy_itself_is_refused_even_when_allowed(address):
    assert "itself" in refusal(address, port=3128, allowed=["0.0.0.0/0"])
    assert refusal(address, port=80, allowed=["0.0.0.0/0"]) is None


def dialled(monkeypatch, answers, connect=lambda address: None):
    """Dial a name that resolves to `answers`; returns what was connected to, and the error."""
    lookups, connected = iter([answers, ["10.0.0.7"]]), []

    async def getaddrinfo(*_, **__):
        found = next(lookups)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in found]

    async def sock_connect(_, address):
        connected.append(address[0])
        connect(address)

    async def dial():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        try:
            (await Destinations(own_port=3128).dial("name.test", 80)).close()
        except NotDialledError as error:
            return error
        return None

    return connected, asyncio.run(dial())


def test_the_address_that_was_checked_is_dialled_and_the_name_not_asked_again(monkeypatch):
    assert dialled(monkeypatch, ["151.101.1.69"]) == (["151.101.1.69"], None)


def test_a_name_with_a_private_address_is_refused(monkeypatch):
    connected, error = dialled(monkeypatch, ["10.0.0.7", "127.0.0.1"])
    assert connected == []
    assert error.cause == "policy"


def test_only_the_public_ones_of_a_names_addresses_are_dialled(monkeypatch):
    assert dialled(monkeypatch, ["10.0.0.7", "151.101.1.69"]) == (["151.101.1.69"], None)


def test_the_next_address_is_tried_but_not_without_end(monkeypatch):
    def refuse(_):
        raise ConnectionRefusedError(111, "Connection refused")

    connected, error = dialled(monkeypatch, [f"198.51.100.{n}" for n in range(50)], refuse)
    assert connected == ["198.51.100.0", "198.51.100.1", "198.51.100.2", "198.51.100.3"]
    assert (error.cause, str(error)) == ("unreachable", "198.51.100.3:80: connection refused")


def test_a_name_that_no_one_knows(monkeypatch):
    async def dial():
        async def getaddrinfo(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        await Destinations(own_port=3128).dial("name.test", 80)

    with pytest.raises(NotDialledError, match=r"name\.test: Name or service not known") as error:
        asyncio.run(dial())
    assert error.value.cause == "unreachable"
