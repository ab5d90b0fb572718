"""Level 8: NAPT, and which hosts can talk to each other through it.

The parts come in the course's order, each on a network of its own:

    proxy, transparent-proxy     a proxy makes a second connection           proxies.py
    napt                         a NAPT rewrites packets                     napt.py
    rules, idle                  rules: how they begin and end               rules.py, idle.py
    65536                        how many rules there can be                 many.py
    inbound, upload              without a rule no packet gets in            outside.py
"""

from __future__ import annotations

from napt_lab.labs.level_8.idle import idle
from napt_lab.labs.level_8.many import many
from napt_lab.labs.level_8.napt import napt
from napt_lab.labs.level_8.outside import inbound, upload
from napt_lab.labs.level_8.proxies import proxy, transparent
from napt_lab.labs.level_8.rules import rules
from napt_lab.labs.stage.steps import Lab

LAB = Lab(
    id="8",
    title="NAPT: proxy, transparent proxy, translator, and the 65,536",
    intro="A PC with a private address opens a connection to a server on the Internet, through "
    "one of three kinds of gateway. Can the server open a connection to the PC?",
    parts=(proxy, transparent, napt, rules, idle, many, inbound, upload),
    learned=(
        "A proxy makes a second connection. A NAPT makes none: it rewrites one address, one port "
        "and the checksums in every packet of the PC's own connection.",
        "A rule has a protocol and an internal, an external and a remote endpoint. A packet from "
        "inside makes it; it ends when its connection closes or is not used for a while.",
        "Ports are the limit: at most 65,535 connections to one server port. And no host outside "
        "can open a connection to the PC, for no rule says to which PC its SYN should go.",
    ),
)
