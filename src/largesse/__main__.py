"""`python -m largesse` is the command `largesse`."""

from largesse.cli import main

main()
