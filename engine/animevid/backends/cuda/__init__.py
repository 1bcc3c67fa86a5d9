"""What runs on an NVIDIA GPU besides the network: the driver, our kernels, and slots that keep the device busy.

Host code calls the driver through ``cuda-bindings`` (NVIDIA's own wheel), which imports without a driver.
"""
