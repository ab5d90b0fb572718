"""A peer that finds its own way to another peer: ICE (RFC 8445), by the library aioice.

    ice --meet 198.51.100.12:9000 --word TOKEN --stun 198.51.100.11:3478 --receive photo.jpg
    ice --meet 198.51.100.12:9000 --word TOKEN --stun 198.51.100.11:3478 --send photo.jpg

Theory of operation
-------------------
Each peer lists the addresses at which it might be reached, its *candidates*: those of its own
interfaces (host), the one that a STUN server sees (server-reflexive), one that it rents at a TURN
server (relayed). The peers tell each other their lists at a meeting place that both can dial. Then
each tries every pair of an own candidate and one of the other's, by STUN requests (*connectivity
checks*). The first checks go by the best pairs; like punched holes, they open both peers' NAPTs. A
pair that works both ways is selected, and carries the file.

candidates.py writes a peer's list as one line, connection.py chooses the pair, __main__.py is the
program; servers/shared/file_in_datagrams.py sends the file.

Not here: IPv6, and encryption. aioice hands on datagrams from anyone, not from the peer alone; a
real program encrypts what it sends, which also tells strangers from the peer (WebRTC: DTLS).
"""
