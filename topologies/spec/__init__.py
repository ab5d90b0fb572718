"""From YAML to a model of a network, or to errors that name the line."""
