"""`make conformance`: the RFCs on NATs as an executable report, for any engine, on real packets.

requirement.py         a requirement, the verdicts, and deliberate deviations as data
topology.py, stand.py  the network on which a NAPT is examined
trial.py               what a test can do there: must pass, must not pass, must be answered
headers.py, reading.py packets made and read byte by byte
conversation.py        TCP connections and pings
rfc3022.py, rfc4787.py, rfc5382.py, rfc5508.py, rfc7857.py, rfc6888.py
                       the requirements, in the RFCs' order
*_checks.py            what more than one of them asks for
examine.py             all tests of one engine, side by side
report.py, terminal.py, page.py, written.py
                       the table: JSON and JUnit, the terminal, a page, and docs/conformance.md
"""

from __future__ import annotations
