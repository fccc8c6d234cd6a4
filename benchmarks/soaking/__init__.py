"""The soak: `benchmarks/soak.py` is its command."""
