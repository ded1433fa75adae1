"""`python -m nomyo_attest.cli`."""

import sys

from nomyo_attest.cli import main

sys.exit(main())
