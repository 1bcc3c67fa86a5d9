// What the kernels need from the compiler: nvcc, or any C++17 compiler with the block runner of cpu/block.hpp.
//
// Kernels are written once. Under nvcc they are CUDA; under g++ the same names (__global__, threadIdx, __syncthreads,
// __shfl_down_sync, __shared__) come from cpu/block.hpp, which runs the threads of a block on the CPU.

#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#define AV_CONSTANT __constant__ const
namespace animevid {
using Half = __half;
__device__ __forceinline__ float to_float(Half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(float value) { return value; }
template <typename T> __device__ __forceinline__ T from_float(float value);
template <> __device__ __forceinline__ Half from_float<Half>(float value) { return __float2half_rn(value); }
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
}  // namespace animevid
#else
#include "cpu/block.hpp"
#include "cpu/half.hpp"
#endif

namespace animevid {

template <typename T> __device__ __forceinline__ T* at(unsigned long long address) {
    return reinterpret_cast<T*>(address);
}
__device__ __forceinline__ int column_of_thread() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }
__device__ __forceinline__ int row_of_thread() { return static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); }

}  // namespace animevid
