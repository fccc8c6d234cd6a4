"""The package formats; they do not know each other. `proxy.installed` has those that a server speaks."""
