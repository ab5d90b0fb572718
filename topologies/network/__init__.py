"""From the model to a running network: Mininet, processes, programs."""
