"""Package formats: the data plane. Formats do not know each other."""
