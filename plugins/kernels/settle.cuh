// The temporal filter (pixels/deflicker.py): where only noise changed since the last frame, the tensor stays the same.
//
// Cells are 4x4 pixels: a cell of a packed tensor, or a square of an RGB tensor, whose last cells repeat the edge. One
// thread per cell. For each frame: settle_change, settle_input and settle_noise on the network's input, then settle_output on
// its output. The state kept between frames is float32.

#pragma once

#include "surface.cuh"

namespace animevid {

constexpr int kSettleBins = 128, kSettleBinsPerCode = 8;
constexpr float kSettleLargest = 3.4e38f;
constexpr float kSettleNeighbour = 0.5f;  // how much the change of a cell beside counts
constexpr int kSettlePacked = 0, kSettlePlanar = 1;  // else (H, W, 3)

struct SettleParams {
    unsigned long long tensor;     // T: packed (24, rows, columns), (3, height, width) or (height, width, 3); filtered in place
    unsigned long long kept;       // float, like tensor: the previous filtered tensor, replaced by the new one
    unsigned long long weights;    // float (rows, columns): the weight of this frame
    unsigned long long earlier;    // float (rows, columns): the previous frame's weights, replaced by this one's
    unsigned long long change;     // float (rows, columns): root mean square over a cell, in codes
    unsigned long long histogram;  // unsigned (kSettleBins): of change; zero before and after a frame
    unsigned long long noise;      // float: the noise estimate of the earlier frames, in codes
    int rows, columns;             // of cells
    int height, width;             // in pixels
    int layout;
    int first;                     // the first frame: no earlier state
    float units_per_code;
    float least, fading;
    float still_least, still_most, still_over_noise, moving_over_still;
    float quiet_share, noise_memory;
};

__device__ __forceinline__ int settle_values(const SettleParams& p) { return p.layout == kSettlePacked ? 24 : 48; }

// The index of value k of cell (i, j); inside: false for a repeated edge.
__device__ __forceinline__ long long settle_index(const SettleParams& p, int i, int j, int k, bool& inside) {
    inside = true;
    if (p.layout == kSettlePacked) return (static_cast<long long>(k) * p.rows + i) * p.columns + j;
    int y = 4 * i + k % 16 / 4, x = 4 * j + k % 4;
    const int channel = k / 16;
    inside = y < p.height && x < p.width;
    y = y < p.height ? y : p.height - 1;
    x = x < p.width ? x : p.width - 1;
    return p.layout == kSettlePlanar ? (static_cast<long long>(channel) * p.height + y) * p.width + x
                                     : (static_cast<long long>(y) * p.width + x) * 3 + channel;
}

// The change of each cell, and the histogram of changes, counted in shared memory first.
template <typename T> __device__ void settle_change(const SettleParams& p) {
    __shared__ unsigned counts[kSettleBins];
    const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    const int threads = static_cast<int>(blockDim.x * blockDim.y);
    for (int bin = thread; bin < kSettleBins; bin += threads) counts[bin] = 0;
    __syncthreads();
    const int j = column_of_thread(), i = row_of_thread();
    if (i < p.rows && j < p.columns) {
        const T* tensor = at<const T>(p.tensor);
        const float* kept = at<const float>(p.kept);
        const int values = settle_values(p);
        float sum = 0;
        for (int k = 0; k < values; ++k) {
            bool inside;
            const long long here = settle_index(p, i, j, k, inside);
            const float difference = to_float(tensor[here]) - kept[here];
            sum += difference * difference;
        }
        const float change = sqrtf(sum / static_cast<float>(values)) / p.units_per_code;
        at<float>(p.change)[static_cast<long long>(i) * p.columns + j] = change;
        // NaN counts as the largest.
        const float bin = change * kSettleBinsPerCode;
        atomicAdd(&counts[bin < kSettleBins - 1 ? static_cast<int>(bin) : kSettleBins - 1], 1u);
    }
    __syncthreads();
    for (int bin = thread; bin < kSettleBins; bin += threads)
        if (counts[bin] != 0) atomicAdd(at<unsigned>(p.histogram) + bin, counts[bin]);
}

template <typename T> __device__ __forceinline__ void settle_cell(const SettleParams& p, int i, int j, float weight) {
    const int values = settle_values(p);
    for (int k = 0; k < values; ++k) {
        bool inside;
        const long long here = settle_index(p, i, j, k, inside);
        if (!inside) continue;
        T& value = at<T>(p.tensor)[here];
        float& kept = at<float>(p.kept)[here];
        const float now = to_float(value), before = kept;
        // An overflow in half precision must not persist.
        const bool usable = !p.first && fabsf(before) <= kSettleLargest;
        const float settled = usable ? before + weight * (now - before) : now;
        kept = settled;
        value = from_float<T>(settled);
    }
}

template <typename T> __device__ void settle_input(const SettleParams& p) {
    const int j = column_of_thread(), i = row_of_thread();
    if (i >= p.rows || j >= p.columns) return;
    const long long here = static_cast<long long>(i) * p.columns + j;
    float weight = 0;  // the first frame's weights for the next one: no motion
    if (!p.first) {
        float largest = 0;
        for (int dy = -1; dy <= 1; ++dy)
            for (int dx = -1; dx <= 1; ++dx) {
                const int y = i + dy < 0 ? 0 : i + dy >= p.rows ? p.rows - 1 : i + dy;
                const int x = j + dx < 0 ? 0 : j + dx >= p.columns ? p.columns - 1 : j + dx;
                largest = fmaxf(largest, at<const float>(p.change)[static_cast<long long>(y) * p.columns + x]);
            }
        largest = fmaxf(at<const float>(p.change)[here], kSettleNeighbour * largest);
        const float noise = *at<const float>(p.noise);
        const float still = fminf(fmaxf(p.still_over_noise * noise, p.still_least), p.still_most);
        const float share = fminf(fmaxf((largest - still) / (still * (p.moving_over_still - 1)), 0.0f), 1.0f);
        weight = p.least + (1 - p.least) * share * share * (3 - 2 * share);
        weight = fmaxf(weight, p.fading * at<const float>(p.earlier)[here]);
    }
    at<float>(p.weights)[here] = weight;
    at<float>(p.earlier)[here] = weight;
    settle_cell<T>(p, i, j, weight);
}

// Updates the noise estimate. One thread, since there are few bins.
__device__ __forceinline__ void settle_noise(const SettleParams& p) {
    unsigned* histogram = at<unsigned>(p.histogram);
    const float cells = static_cast<float>(p.rows) * static_cast<float>(p.columns);
    const unsigned quiet = static_cast<unsigned>(p.quiet_share * cells);
    unsigned seen = 0;
    int found = kSettleBins - 1;
    for (int bin = 0; bin < kSettleBins; ++bin) {
        seen += histogram[bin];
        if (seen > quiet && bin < found) found = bin;
        histogram[bin] = 0;
    }
    float& noise = *at<float>(p.noise);
    const float now = static_cast<float>(found) / kSettleBinsPerCode;
    noise = p.noise_memory * noise + (1 - p.noise_memory) * now;
}

template <typename T> __device__ void settle_output(const SettleParams& p) {
    const int j = column_of_thread(), i = row_of_thread();
    if (i >= p.rows || j >= p.columns) return;
    settle_cell<T>(p, i, j, at<const float>(p.weights)[static_cast<long long>(i) * p.columns + j]);
}

}  // namespace animevid
