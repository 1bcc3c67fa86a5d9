"""``python -m animevid.gpu.check SECTION FILE OPTIONS``: one section, its findings appended to FILE as JSON lines.

``--sanitized WHAT`` runs kernels or norms for compute-sanitizer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from animevid.gpu.check.findings import CheckOptions
from animevid.gpu.check.runner import run_here
from animevid.gpu.check.sections import section_named


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--sanitized"]:
        from animevid.gpu.check.sanitizer import run_sanitized

        return run_sanitized(arguments[1])
    name, findings, options = arguments
    run_here(section_named(name), Path(findings), CheckOptions.from_json(options))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
