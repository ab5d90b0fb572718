"""Topologies: YAML files, and the code that reads them and builds their networks."""
