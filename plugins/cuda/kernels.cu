// The kernels as a fatbin. See CMakeLists.txt.

#include "../kernels/kernels.cuh"

#define AV_ENTRY(name, params, body, barriers) \
    extern "C" __global__ void __launch_bounds__(256) name(const animevid::params p) { animevid::body(p); }

using namespace animevid;
AV_ALL_KERNELS(AV_ENTRY)
