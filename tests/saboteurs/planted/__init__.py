"""What saboteurs plant: functions that take what a module has under a name, and give what it gets.

They run in the processes of the copy (planting.py), which has this folder as `planted` and neither
pytest nor the tests. So a file here imports only what every program of the project has.
"""
