"""A million packets that nobody thought of, and what must hold for each: `make fuzz`.

    packets.py   valid packets, quickly; and the one's complement sum, computed anew
    stories.py   a story: one NAPT, random settings, some hundred packets that know of each other
    judge.py     what must hold for what comes out
    model.py     who may be reached from outside: who has asked whom, in a dictionary
    replay.py    one story, packet by packet, and the shortest part of it that still goes wrong
    __main__.py  many stories on all processors

Nothing of the translator is used to judge it, but `check_table`, with which the table is held
against itself. Packets are generated, not guided by coverage (atheris has no wheel for each
Python that this project runs on): stories are built so that all is reached, and a run that has
not met every reason for a drop fails.
"""
