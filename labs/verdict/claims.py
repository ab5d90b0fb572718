"""What each claim says: the course's statements, each of which a lab shows on real packets."""

from __future__ import annotations

CLAIMS = {
    "8.proxy": "the PC fetches a page through an explicit proxy that it was told about",
    "8.transparent-proxy": "the same fetch; nothing is set on the PC",
    "8.napt": "the same fetch through the NAPT translator",
    "8.rule-per-connection": "each new TCP connection to a public address adds one NAPT rule",
    "8.gc-close": "a rule goes when its TCP connection closes",
    "8.gc-idle": "a rule goes when it is not used for a while",
    "8.65536": "the subnet holds as many TCP connections to one server port as there are ports",
    "8.inbound": "stackoverflow cannot start a connection to the PC",
    "8.upload": "the simplest way: upload the file to a public server, where anyone can fetch it",
    "9a.exchange": "two PCs behind two NAPTs exchange a file through one public file server",
    "9a.server-holds": "the cost: the server holds the file",
    "9b.relay": "the two PCs exchange the file through a relay that both of them dial",
    "9b.turn": "the same through TURN",
    "9b.nothing-held": "the relay keeps nothing",
    "9c.private": "10.0.0.x is not meaningful on the Internet",
    "9c.no-rule": "one PC cannot connect to the other side's NAPT: there is no rule",
    "9c.rule": "with a rule added before the connection starts, a direct one is established",
    "9c.direct": "no server in between",
    "9c.both-ways": "the other direction works too; without the rule it stops",
    "9d.ask": "a program asks the NAPT for an explicit rule, and gets it",
    "9d.direct": "through a rule that a program asked for, a direct connection is established",
    "9d.only-own": "a PC gets rules only for itself, and no other PC can change them",
    "9d.outside": "a request from outside gets no answer",
    "9d.lifetime": "such a rule goes when its lifetime ends, and stays if it is renewed",
}
