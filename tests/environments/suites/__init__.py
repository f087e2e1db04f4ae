"""Suites from other packages, each of which must be installed: `make test-environments`."""
