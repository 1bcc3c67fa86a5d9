"""All that needs an NVIDIA GPU: the driver, our kernels, slots that keep the device busy, TensorRT, NVDEC and NVENC.

Host code calls the driver through ``cuda-bindings`` (NVIDIA's own wheel), which imports without a driver. Nothing
outside imports this package before a GPU is asked for and found.
"""
