"""Answer one datagram through a TURN server: `turn-echo …`.

The client makes a UDP allocation, permits one peer, and waits for a datagram. It sends it back
twice, in the two ways there are (RFC 8656, sections 11 and 12): in a Send indication, which names
the peer each time, and then through a channel, whose number stands for the peer from now on.
"""

from __future__ import annotations

import argparse
import asyncio

from napt_lab.servers.shared.events import emit
from napt_lab.servers.shared.events import endpoint as text
from napt_lab.servers.stun.attributes import Transport
from napt_lab.servers.turn.client.endpoint import connected
from napt_lab.servers.turn.client.options import add_common, converse


def main() -> None:
    parser = argparse.ArgumentParser(prog="turn-echo", description="Answer one datagram.")
    add_common(parser)
    converse(_run(parser.parse_args()))


async def _run(options: argparse.Namespace) -> None:
    name, password = options.user
    async with connected(options.server, name, password, Transport.UDP) as turn:
        granted = await turn.allocate(Transport.UDP)
        await turn.permit(options.permit)
        emit("allocated", relayed=text(granted.relayed), mapped=text(granted.mapped))
        async with asyncio.timeout(options.wait):
            datagram = await turn.receive()
        emit("datagram", peer=text(datagram.peer), bytes=len(datagram.data))
        turn.send(datagram.peer, datagram.data)
        await turn.bind_channel(datagram.peer)
        turn.send(datagram.peer, datagram.data)
        await turn.delete()


if __name__ == "__main__":
    main()
