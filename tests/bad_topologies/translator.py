"""Some Python file: what is wrong is in the YAML files that name it."""
