"""`python -m proxy` is the `entrepot` command."""

from proxy.cli import main

main()
