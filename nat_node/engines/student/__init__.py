"""Runs a translator that a student wrote (`napt_lab.student` is what the file sees).

    student_engine.py  reads the two devices and has the control socket, as the Python engine does
      └─ worker.py a process of its own, with your file in it: one packet in, an answer out
           bounds.py            what it may take: time, memory, words
           host.py              pings to the NAPT itself, which are no matter of yours
           inspection.py        what is wrong with a packet that you return
           faults.py            what is wrong with your program, by your own lines
           listing.py           your rules, as the control socket tells them
    process.py     starts the worker, asks it, and ends it when it does not answer
    channel.py     what the two say to each other

So an endless loop, `exit()` or a full memory ends a process that the node can start anew, and
never the lab. This guards against mistakes. It does not guard against malice: your file runs
with the rights of whoever runs the lab, within the lab's sandbox.
"""
