// Whether a frame differs from another (pixels/change.py). One thread per block of 8x8 samples of a plane; grid.z: plane.

#pragma once

#include "surface.cuh"

namespace animevid {

constexpr int kCompareBlock = 8;

struct CompareParams {
    Surface before, now;         // of one size, depth and format
    unsigned long long changed;  // unsigned: set to 1 if any block changed by more than noise
    // Differences up to these are noise, in codes of the frames: of a sample, and for a block the mean of |a - b| and |mean|.
    float largest, block_absolute, block_signed;
};

__device__ __forceinline__ void compare(const CompareParams& p) {
    const int plane = static_cast<int>(blockIdx.z);
    const int left = kCompareBlock * column_of_thread();
    const int top = kCompareBlock * row_of_thread();
    const int height = plane_height(p.now, plane), width = plane_width(p.now, plane);
    if (top >= height || left >= width) return;
    const int bottom = top + kCompareBlock < height ? top + kCompareBlock : height;
    const int right = left + kCompareBlock < width ? left + kCompareBlock : width;
    int largest = 0, absolute = 0, sum = 0;
    for (int y = top; y < bottom; ++y)
        for (int x = left; x < right; ++x) {
            const int difference = load_code(p.before, plane, y, x) - load_code(p.now, plane, y, x);
            const int magnitude = difference < 0 ? -difference : difference;
            largest = magnitude > largest ? magnitude : largest;
            absolute += magnitude;
            sum += difference;
        }
    const float count = static_cast<float>((bottom - top) * (right - left));
    if (static_cast<float>(largest) > p.largest || static_cast<float>(absolute) > p.block_absolute * count ||
        static_cast<float>(sum < 0 ? -sum : sum) > p.block_signed * count)
        *at<unsigned>(p.changed) = 1;  // all threads write the same value
}

}  // namespace animevid
