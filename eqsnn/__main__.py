"""`python -m eqsnn` is the command line."""

import sys

from eqsnn.cli import main

sys.exit(main())
