"""A class: what 300 students hand in is marked side by side, and the marks go into tables.

    submissions.py      a folder with a file or a folder for each student
    assignment.py       what is marked of each: exercises in a variant, a translator's claims
    one_submission.py   the marks of one: answers as far as they can be done, and a translator
    whose.py            whether answers were written for another student's variant
    right_secret.py     whether the class is marked with the secret its variants were drawn from
    marked.py           these marks, and the folder that keeps them: after a kill, a run goes on
    workers.py          pieces of work side by side, each in a sandbox of its own
    mark_many.py        all of it, with progress
    mark_tables.py      CSV, Gradescope, JUnit, JSON
    mark_page.py        a page for a browser
    similar.py          which translators are alike, by copydetect

Theory of operation. The process that the teacher started reads no YAML of a student's and runs
nothing: for each submission it forks a process into a sandbox, which hands back its marks as one
text. So a submission can spoil its own marks, but not those of another. The exit status says
whether all could be marked, not how well the students did.
"""
