"""Exercises: the network is up, something is missing, and the student must supply it.

    exercise.py    an exercise as data, from its YAML file; the files stand beside this one
    answers.py     what a student does, as lines: typed at a prompt, or in a file to be graded
    programs.py    which command lines may stand in such a file
    attempt.py     one try at an exercise: a network, and the lines done on it
    facts.py       what has become of it, as lines that patterns can ask for
    marking.py     points, and the message that helps
    tasks.py       a file of answers, found good before anything is built
    session.py     a person at the prompt: check, hint, solve, reset, next
    rehearsal.py   whether an exercise is sound: its solution and mistakes, done and marked
    progress.py    what a person has solved, kept between runs
    grade.py       the same without a person: a score, JSON and JUnit

Theory of operation. An answer is not text to be compared with a solution: it is done, on a network
with real packets, and then the exercise looks at what has become of it (a file that arrived whole,
a rule in a table, a connection that a server saw) and probes what must hold from now on. So every
way that leads there is right. What leads elsewhere leaves traces, too, and the usual mistakes are
known by theirs.
"""
