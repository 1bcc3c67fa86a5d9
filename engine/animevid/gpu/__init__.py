"""Everything that needs an NVIDIA GPU: driver, kernels, the slots that keep the device busy, TensorRT, NVDEC and NVENC.

Host code calls the driver through ``cuda-bindings`` (NVIDIA's own wheel), which imports without a driver. Other
packages import this one only after a GPU was requested and found.
"""
