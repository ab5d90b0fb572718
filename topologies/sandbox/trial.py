"""The trial of `make doctor`: in a sandbox, builds one of each thing that the labs build.

Whether the kernel refuses something can only be found out by trying it. Each thing is built once
and vanishes with the sandbox.

Its output has a line for each thing refused: the name, a tab, the reason.
"""

from __future__ import annotations

import fcntl
import struct
import subprocess
import sys

from napt_lab.topologies.sandbox import neighbor_table, sandbox

TUN = "/dev/net/tun"
NODE = "a node's namespaces"
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _TUNSETIFF = 0x0001, 0x1000, 0x4000, 0x4004_54CA
NEIGHBOR = "one more neighbor"
BUILT = {  # the command that builds it, and the kernel module that it needs
    "a veth pair": (["ip", "link", "add", "veth-a", "type", "veth", "peer", "veth-b"], "veth"),
    "a bridge": (["ip", "link", "add", "bridge-a", "type", "bridge"], "bridge"),
    "an nftables table": (["nft", "add", "table", "ip", "napt-lab"], "nf_tables"),
}


def attempt() -> None:
    """Build one of each in this sandbox; print `name TAB reason` for each that is refused."""
    try:
        request = struct.pack("16sH22x", b"tun-a", _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR)
        with open(TUN, "r+b", buffering=0) as device:  # noqa: PTH123  # not a path to think about
            fcntl.ioctl(device, _TUNSETIFF, request)
    except OSError as error:
        print(f"{TUN}\t{error.strerror}")
    commands = {
        NODE: ["mnexec", "-n", "true"],  # mounts /sys as well
        **{what: command for what, (command, _) in BUILT.items()},
        NEIGHBOR: ["ip", *neighbor_table.one_more("bridge-a").split()],
    }
    for what, command in commands.items():
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=5)
        except subprocess.CalledProcessError as error:
            print(f"{what}\t{' '.join(error.stderr.split())}")
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"{what}\t{error}")


if __name__ == "__main__":
    try:
        sandbox.enter()
    except sandbox.SandboxError as refused:
        print(refused, file=sys.stderr)
        sys.exit(sandbox.CANNOT_RUN)
    attempt()
