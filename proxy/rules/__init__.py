"""Decisions: pure functions of plain values; no await, no clock, no logging."""
