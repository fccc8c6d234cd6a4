"""PyPI: the Simple Repository API (PEP 503, 691, 700 and what followed)."""
