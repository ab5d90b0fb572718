"""A small TURN client: the other half of the conversation.

turn_client.py  the protocol: credentials, retransmission, refreshing (no I/O, no clock)
endpoint.py     the same over asyncio, with RFC 6062's data connections
options.py      what the command lines have in common
__main__.py     send or receive one file through a TCP allocation
echo.py         answer one datagram through a UDP allocation
load.py         load a server, for `make bench`
"""
