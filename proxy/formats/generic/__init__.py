"""Generic packages: names alone; they are published and read through the control plane."""
