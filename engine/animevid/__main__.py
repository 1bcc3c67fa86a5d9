"""``python -m animevid``."""

import sys

from animevid.cli import main

if __name__ == "__main__":
    sys.exit(main())
