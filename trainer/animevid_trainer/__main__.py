"""``python -m animevid_trainer train ...``: the trainer's commands without the engine's command line."""

import sys

from animevid_trainer.cli import main

sys.exit(main())
