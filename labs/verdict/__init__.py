"""How a check ended: claims, results, exit statuses."""
