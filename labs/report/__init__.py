"""report.html: a run as one page that a person opens in a browser, without a network.

Theory of operation. story.py listens to the run's stream and keeps, bounded, what the page
tells. At the end, capture.py reads the captures and keeps of each step the packets that tell
something; journey.py follows each packet from interface to interface; ladder.py gathers
connections and chooses; ladder_drawing.py and topology_drawing.py place lines and words;
tables.py compares a NAPT's rules before and after a step. page.py puts it all into page.html,
the only place where HTML is written: there every text is escaped, for a server's answer or a
file's name may be hostile.
"""
