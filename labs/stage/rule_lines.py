"""A NAPT's table as text on the labs' screens: the same lines as `napt rules` prints."""

from napt_lab.nat_node.control.rule_lines import count, rule_lines

__all__ = ["count", "rule_lines"]
