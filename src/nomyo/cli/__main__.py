"""`python -m nomyo.cli`."""

import sys

from nomyo.cli import main

sys.exit(main())
