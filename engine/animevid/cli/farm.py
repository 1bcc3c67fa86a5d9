"""``animevid farm INPUT OUTPUT``: stylizes a video on many machines."""

from __future__ import annotations

import argparse
import os
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING

from animevid.cli.config import tell_defaults
from animevid.cli.convert import add_conversion_options
from animevid.cli.options import read_options
from animevid.errors import BackendError, Cancelled, UsageError
from animevid.options import ConversionOptions
from animevid.values import parse_count

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "farm",
        prog="animevid farm",
        usage="animevid farm INPUT OUTPUT [options]",
        description="Split a video, stylize its segments on the machines of a Ray cluster, and join them. If it is "
        "killed, the same command resumes it. docs/farm.md explains how to set up a cluster.",
    )
    parser.add_argument("input", metavar="INPUT", help="a video file")
    parser.add_argument("output", metavar="OUTPUT", help="the video to write")
    group = parser.add_argument_group("cluster")
    group.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster, or auto (default: this machine alone)")
    group.add_argument(
        "--workers", type=parse_count, metavar="N", help="maximum number of workers (default: all that fit)"
    )
    group.add_argument("--worker-cpus", type=parse_count, default=1, metavar="N", help="CPUs of each (default 1)")
    group.add_argument("--worker-gpus", type=float, default=0, metavar="N", help="GPUs of each (default 0)")
    add_conversion_options(parser)


def run(args: argparse.Namespace) -> int:
    import ray

    from animevid.jobs import Job, open_conversion
    from animevid.jobs.farm import Farm

    tell_defaults(args)
    options = read_options(args, ConversionOptions)
    speaks = not args.quiet and args.progress != "json"
    started_at = time.monotonic()
    with open_conversion(args.input, args.output, options, resumable=True, restart=args.restart) as job:
        if not isinstance(job, Job):
            raise UsageError("a farm converts videos in segments: leave --no-resume out")
        _connect(ray, args.address)
        try:
            farm = Farm(job, options, cpus=args.worker_cpus, gpus=args.worker_gpus, max_workers=args.workers)
            if speaks:
                print("\n".join(job.plan.notices), file=sys.stderr)

            kept = len(job.description.segments) - sum(map(len, job.missing_runs()))

            def tell(done: int, total: int) -> None:
                if speaks:
                    took = time.monotonic() - started_at
                    left = took / (done - kept) * (total - done)
                    print(f"{done} of {total} segments, {took:.0f} s, about {left:.0f} s left", file=sys.stderr)

            farm.run(tell)
        except KeyboardInterrupt as error:
            raise Cancelled(
                "stopped before the end: finished segments are kept, and the same command resumes"
            ) from error
        finally:
            ray.shutdown()
        frames = job.join()
    if speaks:
        print(
            f"{args.output}: {frames} frames, {time.monotonic() - started_at:.1f} s; {farm.lost} workers lost, "
            f"{farm.copies} slow segments given to a second one"
        )
    return 0


def _connect(ray: ModuleType, address: str | None) -> None:
    where: dict[str, object] = {"address": address} if address else {"include_dashboard": False}
    if not address:
        # Workers on this machine find animevid where this process does.
        where["runtime_env"] = {"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}}
    try:
        ray.init(log_to_driver=False, configure_logging=False, **where)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BackendError(
            f"--address {address}: {str(error).splitlines()[0]}; start it with ray start --head"
        ) from error
