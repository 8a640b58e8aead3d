"""`python -m pymta.cli` is `pymta`."""

import sys

from pymta.cli.main import main

sys.exit(main())
