"""Runs a translator that a student wrote (`napt_lab.student` is what the file sees).

The file runs in a process of its own, behind a wall: it computes, and reaches no file, network or
other program. An endless loop, `exit()` or a full memory ends that process; its NAPT starts
it again.

    student_engine.py  reads the two devices and has the control socket, as the Python engine does
      process.py       starts the worker, asks it, and ends it when it does not answer
      channel.py       what the two say to each other
    worker.py          the process with the file in it: one packet in, an answer out
      wall.py          what it can see, have, and ask of the kernel
      imports.py       what the file can import
      bounds.py        its time, memory and words
      host.py          answers to pings for the NAPT itself, which are not the student's work
      inspection.py    what is wrong with a packet that it returns
      faults.py        what is wrong with the program, by the student's own lines
      listing.py       the rules, as the control socket tells them
"""
