"""`python -m dsd` is `dsd`."""

from dsd.cli.main import main

main()
