"""How much of the remote endpoint a NAPT looks at (RFC 4787, sections 4.1 and 5).

The same three words serve two questions. *Mapping*: may one internal endpoint keep its external
endpoint when it talks to another remote one? *Filtering*: from which remote endpoints are
packets let in? Each answer ignores a part of the remote endpoint, and `project` blanks exactly
that part, so that "the same as far as this NAPT cares" becomes "equal".

    remote endpoint            198.51.100.10:80
    endpoint-independent       *                    (once called "full cone", as filtering)
    address-dependent          198.51.100.10:*
    address-and-port-dependent 198.51.100.10:80     (as mapping: once called "symmetric")
"""

from __future__ import annotations

from enum import StrEnum

#: An IPv4 address as a number, and a port (for ICMP queries: the identifier).
Endpoint = tuple[int, int]

ANY: Endpoint = (0, 0)


class Behavior(StrEnum):
    """Mapping behavior and filtering behavior, from open to strict."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"

    def project(self, remote: Endpoint) -> Endpoint:
        """The remote endpoint with the parts that do not matter blanked."""
        if self is _ADDRESS_AND_PORT:
            return remote
        if self is _ADDRESS:
            return (remote[0], 0)
        return ANY

    def looser(self, other: Behavior) -> Behavior:
        """Of two behaviors the one that looks at less."""
        order = list(Behavior)
        return min(self, other, key=order.index)


# Plain names: a look-up on an enum class for every packet would be felt.
_, _ADDRESS, _ADDRESS_AND_PORT = Behavior


def show_address(address: int) -> str:
    """Dotted decimal, as people write an address."""
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def show(endpoint: Endpoint) -> str:
    """`address:port`, with `*` for what `project` has blanked."""
    address, port = endpoint
    return f"{show_address(address) if address else '*'}:{port or '*'}"


def parse_address(text: str) -> int:
    """The address in dotted decimal `text` as a number; ValueError says what is wrong."""
    parts = text.split(".")
    if len(parts) != 4 or not all(p.isascii() and p.isdigit() and int(p) < 256 for p in parts):
        raise ValueError(f"{text!r} is not an IPv4 address such as 10.0.0.7")
    return int.from_bytes(bytes(int(part) for part in parts), "big")


def parse_endpoint(text: str) -> Endpoint:
    """`address:port` as numbers; ValueError says what is wrong."""
    address, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} is not an endpoint such as 10.0.0.7:8080")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"port {port!r} is not a number from 1 to 65535")
    return parse_address(address), int(port)
