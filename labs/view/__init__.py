"""A run as a moving picture: live in a browser while it goes on, and afterwards in its report.

Theory of operation. What the page shows at any time is a function of a list of records, each a
small JSON object with a `kind` and `t`, its time in milliseconds since the run began. There are
two sources: recording.py makes records of the run's stream (steps, commands, rules, checks), and
packets.py makes one of each packet's journey through the network (labs/report/journey.py). The
live page (live.py, server.py) gets them one after the other; the report has all of them inside
(run_data.py). So both are the same page with the same code, in js/.

layout.py places nodes and wires. page.py joins the files of js/ into one script, because a page
that is opened from a disk may not import modules.
"""
