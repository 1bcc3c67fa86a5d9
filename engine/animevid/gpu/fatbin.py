"""Our kernels as a fatbin: one file with the code for every GPU from Turing on."""

from __future__ import annotations

import os
from pathlib import Path

from animevid.errors import BackendError
from animevid.trusted_files import check_owner_only

#: Where a fatbin lies that is not the installation's own.
VARIABLE = "ANIMEVID_KERNELS"
_PACKAGED = Path(__file__).with_name("animevid_kernels.fatbin")


def load_fatbin() -> bytes:
    """The fatbin that ``ANIMEVID_KERNELS`` names, or the one that the package ships (``make kernels`` rebuilds it).

    Raises:
        BackendError: there is none, or others can write it: it is code.
    """
    path = Path(os.environ.get(VARIABLE) or _PACKAGED)
    if not path.is_file():
        raise BackendError(
            f"the CUDA kernels are not installed ({str(path)!r} is missing); make kernels (needs nvcc 13), "
            f"or name a fatbin in {VARIABLE}"
        )
    check_owner_only(path)
    return path.read_bytes()
