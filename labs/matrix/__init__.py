"""The matrix: every pair of NAPT types, every way to talk directly; predicted, and then tried.

prediction.py      what must come of it, from the NAPTs' behaviors alone: read it first
napt_types.py      the types, and their names
cell.py            one pair and method: predicted, and seen
field.py           the network: each type twice
trying.py          all cells, several at a time
user_programs.py   programs of the user's, in place of ours
cell_packets.py    the packets of each cell, picked from the capture of all
matrix_command.py  `napt-lab matrix`
grid.py            the grid on the terminal …
matrix_page.py     … in a browser …
matrix_files.py    … and for other programs
"""
