"""`make conformance`: the RFCs on NATs as an executable report, for any engine, on real packets.

topology.py, testbed.py  the network on which a NAPT is examined
exam.py                  what one test can do there: must pass, must not pass, must be answered
violation.py             what a test raises unless the requirement is met
requirement.py           a requirement, its verdict, and deliberate deviations as data
headers.py               packets made byte by byte
conversation.py          TCP connections and pings
rfc4787.py, rfc5382.py, rfc5508.py, rfc7857.py, rfc6888.py, rfc3022.py
                         the requirements, in the RFCs' order
*_checks.py, wires.py    what more than one of them needs
chapters.py              all requirements
examine.py               all tests of one engine, side by side
side_by_side.py          several engines at the same time
conformance_command.py   `napt-lab conformance`
result_files.py, terminal.py, table_page.py, written.py
                         the table: JSON and JUnit, the terminal, a page, and docs/conformance.md
"""
