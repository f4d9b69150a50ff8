"""`python -m fspo` is `fspo`."""

from fspo.cli import main

main()
