"""`python -m memorax`, the same as `memorax`."""

from __future__ import annotations

import sys

from memorax.cli import main

sys.exit(main())
