"""The prompt on a network's nodes: between two steps of a lab, or for a topology of one's own.

A line is a command of the prompt, or a node's name and what to run there. It is Mininet's own
prompt (topologies/network/mininet_cli.py) with other commands.
"""
