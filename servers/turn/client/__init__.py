"""A small TURN client: the other half of the conversation.

session.py    the protocol: credentials, retransmission, refreshing (no I/O, no clock)
endpoint.py   the same over asyncio, with RFC 6062's data connections
__main__.py   send or receive one file through a TCP allocation
echo.py       answer one datagram through a UDP allocation
"""
