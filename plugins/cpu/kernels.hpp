// The CPU kernels' interface: plain structs and one table of functions per instruction set.
//
// kernels.cpp is compiled once per instruction set; dispatch.cpp picks a table at run time. Nothing here may be inline
// code from the standard library: the linker keeps one copy of such a function, and if that copy were the AVX-512 one,
// older machines would crash. So memory comes from the caller (`scratch`), and kernels.cpp includes C headers only.

#pragma once

#include <cstddef>
#include <cstdint>

namespace animevid {

// Samples of one plane. Only the columns are contiguous; `stride` counts elements (not bytes) from row to row.
template <class T>
struct Plane {
    T* data;
    std::ptrdiff_t stride;
    int height;
    int width;
};

// value * scale + offset
struct Affine {
    float scale;
    float offset;
};

// One axis of a separable resize: target[i] = sum over k of weight[k * target + i] * source[start[i] + k].
struct Axis {
    int source;
    int target;
    int taps;
    const std::int32_t* start;
    const float* weight;
    bool uniform;  // area average by an integer factor: start[i] = taps * i, all weights 1 / taps
};

struct Difference {
    double largest;
    double block_absolute;
    double block_signed;
    double mean;
};

// Conversion from and to R'G'B': y01 = (Y - black) / luma_span, c = (C - chroma_mid) / chroma_span, value = unit * span + low.
struct RgbTransform {
    float kr, kb;
    float black, luma_span, chroma_mid, chroma_span;
    float span, low;
    float max_code;
    bool planar;    // (3, H, W), else (H, W, 3)
    bool reversed;  // B, G, R
};

// See animevid/pixels/guided_upsample.py for the formulas.
struct UpsampleParameters {
    int height, width;                // of the low frame inside its packed tensors
    int padded_height, padded_width;  // of the packed tensors, in pixels
    int radius;                       // 1 .. kMaxRadius
    float epsilon;
    float sharpen;
    float black, luma_span, max_code;
};

constexpr int kMaxRadius = 16;

// See animevid/pixels/deflicker.py for the formulas.
struct DeflickerParameters {
    float code;           // size of one 8-bit code in the tensors
    float still, moving;  // codes
    float least;          // weight of areas where only noise changed
    float fading;         // lower bound of the weights, as a share of the previous frame's
};

constexpr int kDeflickerBins = 128;
constexpr float kDeflickerBinsPerCode = 8.0f;
constexpr float kDeflickerQuiet = 0.2f;  // share of the cells that count as still
constexpr float kDeflickerNeighbour = 0.5f;  // how much the change of a cell beside counts

template <class T>
struct SampleKernels {
    // Space-to-depth by 4 (luma) or 2 (chroma) of a plane resized to `rows.target` x `columns.target` and padded by
    // reflection to the tensor's size. scratch: pack_scratch() floats.
    void (*pack)(Plane<const T> source, const Axis& rows, const Axis& columns, int factor, float* target,
                 int padded_height, int padded_width, Affine affine, float* scratch);
    // The inverse, cropped to the plane's size. scratch: padded_width floats.
    void (*unpack)(const float* source, int padded_height, int padded_width, int factor, Plane<T> target, Affine affine,
                   float max_code, float* scratch);
    // scratch: source.width + target.width floats.
    void (*resize)(Plane<const T> source, const Axis& rows, const Axis& columns, Plane<T> target, float* scratch);
    // target = (first * (256 - weight) + second * weight + 128) >> 8
    void (*blend)(Plane<const T> first, Plane<const T> second, Plane<T> target, int weight);
    // Blocks of 8x8. scratch: 3 * width floats.
    Difference (*difference)(Plane<const T> first, Plane<const T> second, float* scratch);
    // Out: exactly one of `bytes` and `floats`. scratch: 7 * (width + 4) floats.
    void (*to_rgb)(Plane<const T> y, Plane<const T> u, Plane<const T> v, std::uint8_t* bytes, float* floats,
                   const RgbTransform& transform, float* scratch);
    // In: exactly one of `bytes` and `floats`. scratch: 8 * (width + 4) floats.
    void (*from_rgb)(const std::uint8_t* bytes, const float* floats, Plane<T> y, Plane<T> u, Plane<T> v,
                     const RgbTransform& transform, float* scratch);
    // Guided upsample of the packed luma (16 channels) that the network wrote. scratch: upsample_scratch().
    void (*upsample_luma)(Plane<const T> full, const float* low_in, const float* low_out, Plane<T> target, const Axis& rows,
                      const Axis& columns, const UpsampleParameters& parameters, float* scratch);
    // A packed chroma plane (4 channels), enlarged bilinearly. scratch: 3 * (columns.source + 4) + 2 * target.width
    // floats.
    void (*upsample_chroma)(const float* low_out, Plane<T> target, const Axis& rows, const Axis& columns, int padded_height,
                        int padded_width, Affine affine, float max_code, float* scratch);
};

struct Kernels {
    const char* name;
    SampleKernels<std::uint8_t> bytes;
    SampleKernels<std::uint16_t> words;
    // Tensors (channels, height, width). `now` is filtered in place, `weights` (height, width) are written; returns the noise in
    // codes. scratch: deflicker_scratch() floats.
    float (*settle_input)(const float* before, float* now, const float* earlier, float* weights, int channels, int height,
                          int width, const DeflickerParameters& parameters, float* scratch);
    void (*settle)(const float* before, const float* weights, float* now, int channels, int height, int width);
};

// Floats of scratch memory that a kernel needs.
constexpr std::size_t pack_scratch(int source_width, int padded_width) {
    return static_cast<std::size_t>(source_width) + static_cast<std::size_t>(padded_width) + 16;
}
// Rows in quarters, see quarters.hpp.
constexpr int kQuarterRim = 16;
constexpr std::ptrdiff_t quarter_pitch(int width) { return ((width + 3) / 4 + 15) / 16 * 16 + kQuarterRim; }

constexpr int upsample_ring(int radius) { return radius < 3 ? 8 : radius < 7 ? 16 : radius < 15 ? 32 : 64; }
constexpr std::ptrdiff_t upsample_pitch(int width) { return (width + 15) / 16 * 16 + 2 * kQuarterRim; }
constexpr std::size_t upsample_scratch(int width, int radius, int full_width) {
    return static_cast<std::size_t>(4 * upsample_ring(radius) + 4 + 8 + 4 + 4 + 2) *
               static_cast<std::size_t>(4 * quarter_pitch(width) + kQuarterRim) +
           2 * kQuarterRim + 6 * static_cast<std::size_t>(upsample_pitch(width)) + 4 * static_cast<std::size_t>(full_width);
}

constexpr std::size_t deflicker_scratch(int width) { return 4 * (static_cast<std::size_t>(width) + 2); }

// The table for this machine; `select` (nullptr: the best) chooses by name and returns false if there is none.
const Kernels& active_kernels();
bool select_kernels(const char* name);
int available_kernels(const char** names, int capacity);

}  // namespace animevid
