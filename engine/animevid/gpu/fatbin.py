"""Our kernels as a fatbin: one file with the code for every GPU from Turing on."""

from __future__ import annotations

import json
import os
from pathlib import Path

from animevid.errors import BackendError
from animevid.trusted_files import check_owner_only

#: The variable that names a fatbin other than the installed one.
VARIABLE = "ANIMEVID_KERNELS"
_PACKAGED = Path(__file__).with_name("animevid_kernels.fatbin")


def load_fatbin(*, driver_version: str = "") -> bytes:
    """The fatbin that ``ANIMEVID_KERNELS`` names, or the one that the package ships (``make kernels`` rebuilds it).

    Args:
        driver_version: the CUDA version of the driver that is to load it (``"12.8"``; default: not asked). A driver
            refuses machine code of a newer major CUDA's compiler.

    Raises:
        BackendError: there is none, the driver is too old for the packaged one, or other users can write the file,
        which holds code.
    """
    path = Path(os.environ.get(VARIABLE) or _PACKAGED)
    if not path.is_file():
        raise BackendError(
            f"the CUDA kernels are not installed ({str(path)!r} is missing); make kernels, "
            f"or name a fatbin in {VARIABLE}"
        )
    if path == _PACKAGED and driver_version:
        compiler = str(json.loads(_PACKAGED.with_suffix(".json").read_text())["compiler"])
        if int(driver_version.split(".")[0]) < int(compiler.split()[-1].split(".")[0]):
            raise BackendError(
                f"the CUDA kernels were built by {compiler}, and this driver is for CUDA {driver_version}; update "
                f"the driver, or build them with its nvcc and name them in {VARIABLE}"
            )
    if path != _PACKAGED:  # which is as safe as the modules beside it
        check_owner_only(path)
    return path.read_bytes()
