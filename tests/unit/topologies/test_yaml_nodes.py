"""The quick composer and the telling one see the same file."""

from __future__ import annotations

import pytest
import yaml

from napt_lab.topologies.spec import yaml_nodes
from tests.installed import ROOT

FILES = [path for top in ("topologies", "labs", "tests") for path in (ROOT / top).rglob("*.yaml")]


def seen(composer, text):
    """Each node once, with its place; None if the text is refused."""
    try:
        waiting = [composer(text).get_single_node()]
    except (yaml.YAMLError, yaml_nodes._Refused, ValueError, OverflowError):
        return None
    nodes = []
    while waiting:
        node = waiting.pop()
        if node is None or node in nodes:
            continue
        nodes.append(node)
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    scalars = [node for node in nodes if isinstance(node, yaml.ScalarNode)]
    return (
        [(type(node), node.start_mark.line, node.start_mark.column) for node in nodes],
        [(node.value, node.style, node.end_mark.line) for node in scalars],
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_both_composers_see_the_same(path):
    text = path.read_text(encoding="utf-8", errors="replace")
    quick = seen(yaml_nodes._QuickComposer, text)
    assert quick == seen(yaml_nodes._TellingComposer, text)
