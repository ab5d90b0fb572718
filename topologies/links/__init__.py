"""A link that delays, loses and limits: what a real line does to packets.

    line.py      one direction of a link, pure: when each frame arrives, or why it does not
    __main__.py  the program that carries frames between the two halves of each such link

Kernels differ in what they have for this (netem is missing in some), so one program does it on
all of them, and what it does is the same everywhere and can be read.
"""
