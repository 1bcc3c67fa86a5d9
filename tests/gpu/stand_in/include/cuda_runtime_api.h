// Stands in for CUDA's header of this name, as far as TensorRT's plugin interface needs it.
#pragma once
typedef struct CUstream_st* cudaStream_t;
