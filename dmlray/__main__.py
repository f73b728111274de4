"""`python -m dmlray`: the command line."""

from dmlray.cli import main

main()
