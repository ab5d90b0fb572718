"""Level 8: NAPT, and what it does to who can talk to whom.

The parts come in the course's order, each on a network of its own:

    proxy, transparent-proxy     others make the PC's connections            proxies.py
    napt                         or its packets are rewritten                napt.py
    rules, idle                  by rules, which are made and collected      rules.py, idle.py
    65536                        of which there can be so many               many.py
    inbound, upload              and without which nobody gets in            outside.py
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
    intro="A PC with a private address wants to talk to a server on the Internet. Three kinds "
    "of gateway can help it. But who can start a connection with the PC?",
    parts=(proxy, transparent, napt, rules, idle, many, inbound, upload),
)
