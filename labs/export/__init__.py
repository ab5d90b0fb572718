"""A topology for engines that run it on more than one machine: `export FILE --to containerlab`.

Theory of operation. A topology is a plan (topologies/network/plan.py): nodes, interfaces,
addresses, routes, programs. Here the plan is written down for other engines to carry out:

    export.py        what every export has
    node_names.py    names that are allowed on a cluster
    boot.py          what a node does when it starts, as a script: the same for every engine
    slow_link.py     a line of such a script: what a slow link does
    containerlab.py  a containerlab topology; written for clabernetes, too, which uses a cluster
    kathara.py       a Kathara network scenario; written for Megalos, too, which uses a cluster
    expect.py        what the topology expects, as a script

Every node is a container of the project's own image. `warnings` says what does not carry over.
"""
