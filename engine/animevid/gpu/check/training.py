"""Training on CUDA: runs the trainer's check in a separate process, since the engine never imports the trainer."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator

from animevid.gpu.check.findings import CheckOptions, Finding, Skipped

_MODULE = "animevid_trainer.cuda_check"


def section(options: CheckOptions) -> Iterator[Finding]:
    """The findings of ``python -m animevid_trainer.cuda_check``, line by line."""
    for module in ("animevid_trainer", "torch"):
        if importlib.util.find_spec(module) is None:
            raise Skipped(f"{module} is not installed")
    command = [sys.executable, "-m", _MODULE, "--seconds", str(options.seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            said = json.loads(line)
            if said.get("skipped"):
                raise Skipped(said["skipped"])
            yield Finding(said["text"], said["agrees"])
        last = (process.stderr.read().strip().splitlines() or ["nothing said"])[-1]
    if process.returncode:
        yield Finding(f"the trainer's check ended with {process.returncode} ({last[:200]})", agrees=False)
