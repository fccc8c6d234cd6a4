"""Orchestration: rules decide, storage and upstream act."""
