// A frame in memory as decoders and encoders store it, and reading one sample of it at another size.
//
// YUV420P, YUV420P10, NV12 and P010 differ in three numbers: bytes per sample, the distance between neighbouring chroma
// samples, and by how many bits a code is shifted up. Everything here is exact in integers up to the last product, so
// that all compilers agree (the reference is engine/animevid/pixels/resize.py).

#pragma once

#include "platform.cuh"

namespace animevid {

// One plane. pitch: bytes from row to row. step: samples from one to its right neighbour (2 for the halves of NV12).
struct Plane {
    unsigned long long data;
    int pitch, step;
};

struct Surface {
    Plane planes[3];  // Y, U, V
    int height, width;
    int sample_bytes;  // 1 or 2
    int shift;         // 6 for P010, with the codes in the high bits
};

// Codes <-> numbers: see engine/animevid/pixels/codes.py. max_code clamps.
struct Codes {
    float black, luma_span, chroma_mid, chroma_span;
    int max_code;
};

__device__ __forceinline__ int plane_height(const Surface& s, int p) { return p == 0 ? s.height : (s.height + 1) / 2; }
__device__ __forceinline__ int plane_width(const Surface& s, int p) { return p == 0 ? s.width : (s.width + 1) / 2; }

__device__ __forceinline__ int load_code(const Surface& s, int p, int row, int column) {
    const Plane& plane = s.planes[p];
    const char* line = reinterpret_cast<const char*>(plane.data) + static_cast<long long>(row) * plane.pitch;
    const int at = column * plane.step;
    return s.sample_bytes == 1 ? reinterpret_cast<const std::uint8_t*>(line)[at]
                               : reinterpret_cast<const std::uint16_t*>(line)[at] >> s.shift;
}

__device__ __forceinline__ void store_code(const Surface& s, int p, int row, int column, int code) {
    const Plane& plane = s.planes[p];
    char* line = reinterpret_cast<char*>(plane.data) + static_cast<long long>(row) * plane.pitch;
    const int at = column * plane.step;
    if (s.sample_bytes == 1)
        reinterpret_cast<std::uint8_t*>(line)[at] = static_cast<std::uint8_t>(code);
    else
        reinterpret_cast<std::uint16_t*>(line)[at] = static_cast<std::uint16_t>(code << s.shift);
}

// Nearest code, clamped; NaN becomes 0 (fmaxf gives the number where one side is NaN).
__device__ __forceinline__ int to_code(float value, int max_code) {
    return static_cast<int>(fminf(fmaxf(value, 0.0f), static_cast<float>(max_code)) + 0.5f);
}

// np.pad's "reflect" at the far end of an axis of n samples, for any distance.
__device__ __forceinline__ int reflect(int i, int n) {
    if (i < n) return i;
    if (n == 1) return 0;
    const int period = 2 * (n - 1), at = i % period;
    return at < n ? at : period - at;
}

// The source samples for target sample i of an axis: area average to shrink, bilinear to enlarge.
// Target sample i covers [i * source, (i + 1) * source) in units of 1 / target source samples.
struct Taps {
    int first, count;
    long long begin, end;  // area, in those units
    float far_weight;      // bilinear: the weight of the second sample
    int target;
    bool area;
};

__device__ __forceinline__ Taps taps_of(int i, int source, int target) {
    Taps t;
    t.target = target;
    t.area = target <= source;
    if (t.area) {
        t.begin = static_cast<long long>(i) * source;
        t.end = t.begin + source;
        t.first = static_cast<int>(t.begin / target);
        t.count = static_cast<int>((t.end + target - 1) / target) - t.first;
        t.far_weight = 0;
    } else {
        // centre (i + 1/2) * source / target - 1/2 = numerator / (2 * target), clamped to the plane
        long long numerator = (2LL * i + 1) * source - target;
        const long long last = 2LL * target * (source - 1);
        numerator = numerator < 0 ? 0 : numerator > last ? last : numerator;
        t.first = static_cast<int>(numerator / (2LL * target));
        t.far_weight = static_cast<float>(numerator % (2LL * target)) / static_cast<float>(2LL * target);
        t.count = t.far_weight > 0 ? 2 : 1;
        t.begin = t.end = 0;
    }
    return t;
}

__device__ __forceinline__ float tap_weight(const Taps& t, int k, int source) {
    if (!t.area) return k == 0 ? 1.0f - t.far_weight : t.far_weight;
    const long long low = static_cast<long long>(t.first + k) * t.target, high = low + t.target;
    const long long overlap = (high < t.end ? high : t.end) - (low > t.begin ? low : t.begin);
    return static_cast<float>(overlap) / static_cast<float>(source);
}

// Sample (row, column) of plane p resized to (height, width), in code values, not rounded.
__device__ __forceinline__ float sample(const Surface& s, int p, int row, int column, int height, int width) {
    const int h = plane_height(s, p), w = plane_width(s, p);
    if (h == height && w == width) return static_cast<float>(load_code(s, p, row, column));
    const Taps vertical = taps_of(row, h, height), horizontal = taps_of(column, w, width);
    float sum = 0;
    for (int j = 0; j < vertical.count; ++j) {
        float line = 0;
        for (int i = 0; i < horizontal.count; ++i)
            line += tap_weight(horizontal, i, w) *
                    static_cast<float>(load_code(s, p, vertical.first + j, horizontal.first + i));
        sum += tap_weight(vertical, j, h) * line;
    }
    return sum;
}

// Bilinear enlargement of a float plane of (h, w) to (height, width), at (row, column).
__device__ __forceinline__ float enlarge(const float* plane, int h, int w, int row, int column, int height, int width) {
    const Taps vertical = taps_of(row, h, height), horizontal = taps_of(column, w, width);
    float sum = 0;
    for (int j = 0; j < vertical.count; ++j) {
        const float* line = plane + static_cast<long long>(vertical.first + j) * w + horizontal.first;
        float across = 0;
        for (int i = 0; i < horizontal.count; ++i) across += tap_weight(horizontal, i, w) * line[i];
        sum += tap_weight(vertical, j, h) * across;
    }
    return sum;
}

}  // namespace animevid
