"""The outgoing edge: external connections, asked with patience that has an end."""
