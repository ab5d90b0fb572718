"""The device through which the kernel hands packets over (TUN), with segmentation offload.

A TUN device is a network interface whose other end is a file descriptor: what the kernel routes
to the interface is read from the descriptor, what is written to it arrives at the interface.

With IFF_VNET_HDR each packet stands behind a `virtio_net_hdr` of 10 bytes (byte order: the
machine's), and with TUNSETOFFLOAD the kernel need not cut TCP into segments first:

    u8  flags         bit 0: the transport checksum is partial, to be finished by "hardware"
    u8  gso_type      0 none, 1 TCP over IPv4, 5 UDP
    u16 header length, segment size, where the checksum starts, its offset from there

So one read brings up to 64 KB of one stream, and since a translator changes neither lengths nor
sequence numbers, the header is given back as it came.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from napt_lab.nat_node.fast_path.flow_cache import VNET_HEADER

DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
CHECKSUM, TSO4, TSO_ECN, USO4, USO6 = 0x01, 0x02, 0x08, 0x20, 0x40

#: A whole GSO packet and its header.
FRAME_SIZE = VNET_HEADER + 65_536
PLAIN = bytes(VNET_HEADER)
"""The header of a packet that is complete as it is."""


class TunError(OSError):
    """The device could not be had; the text says why and what to do."""


class DeviceGone(TunError):
    """The device has been deleted under our hands."""


def open_tun(name: str, *, whole: bool = False) -> int:
    """Make a TUN device in this network namespace; gives a non-blocking descriptor.

    `whole`: no offload, so that each packet comes as a wire would carry it. The device lives as
    long as the descriptor. Raises TunError.
    """
    try:
        descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise TunError(f"{DEVICE} is missing: sudo modprobe tun") from None
    except PermissionError:
        raise TunError(f"{DEVICE} is closed to you: sudo chmod 0666 {DEVICE}") from None
    try:
        request = struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
        if whole:
            return descriptor
        try:
            fcntl.ioctl(descriptor, TUNSETOFFLOAD, CHECKSUM | TSO4 | TSO_ECN | USO4 | USO6)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # UDP segmentation came with Linux 6.2.
            fcntl.ioctl(descriptor, TUNSETOFFLOAD, CHECKSUM | TSO4 | TSO_ECN)
    except OSError as error:
        os.close(descriptor)
        raise TunError(f"cannot make the device {name}: {error.strerror}") from None
    return descriptor
