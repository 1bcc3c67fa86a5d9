// The kernels. Each takes one struct by value; engine/animevid/gpu/kernels.py mirrors the structs.
//
// The reference of each is a *_ref function of engine/animevid/pixels; tests/gpu/test_kernels.py compares them.
// T is the tensor's element type: Half or float. In a batch, the caller selects the frame by the tensor's pointer.

#pragma once

#include "compare.cuh"
#include "norm_params.cuh"
#include "settle.cuh"
#include "surface.cuh"

namespace animevid {

// ---- packed 4:2:0 (pixels/packed.py): one thread per cell of 4x4 luma, 2x2 U and 2x2 V samples ----------------------
// Neighbouring threads hold neighbouring cells, so each of the 24 channel planes is written in whole cache lines.

struct PackParams {
    Surface surface;
    unsigned long long tensor;  // (24, padded_height / 4, padded_width / 4)
    int height, width;          // the size after resizing; the rest of the tensor is padded by reflection
    int padded_height, padded_width;
    float luma_scale, luma_offset, chroma_scale, chroma_offset;
};

template <typename T> __device__ void pack(const PackParams& p) {
    const int columns = p.padded_width / 4, rows = p.padded_height / 4;
    const int j = column_of_thread(), i = row_of_thread();
    if (i >= rows || j >= columns) return;
    T* out = at<T>(p.tensor) + static_cast<long long>(i) * columns + j;
    const long long channel = static_cast<long long>(rows) * columns;
    for (int dy = 0; dy < 4; ++dy)
        for (int dx = 0; dx < 4; ++dx) {
            const int y = reflect(4 * i + dy, p.height), x = reflect(4 * j + dx, p.width);
            const float code = sample(p.surface, 0, y, x, p.height, p.width);
            out[(4 * dy + dx) * channel] = from_float<T>(code * p.luma_scale + p.luma_offset);
        }
    const int chroma_height = (p.height + 1) / 2, chroma_width = (p.width + 1) / 2;
    for (int plane = 1; plane < 3; ++plane)
        for (int dy = 0; dy < 2; ++dy)
            for (int dx = 0; dx < 2; ++dx) {
                const int y = reflect(2 * i + dy, chroma_height), x = reflect(2 * j + dx, chroma_width);
                const float code = sample(p.surface, plane, y, x, chroma_height, chroma_width);
                out[(12 + 4 * plane + 2 * dy + dx) * channel] = from_float<T>(code * p.chroma_scale + p.chroma_offset);
            }
}

struct UnpackParams {
    unsigned long long tensor;  // (24, tensor_rows, tensor_columns)
    Surface surface;            // written; no larger than the tensor, whose top left it is
    int tensor_rows, tensor_columns;
    Codes codes;
};

template <typename T> __device__ void unpack(const UnpackParams& p) {
    const int j = column_of_thread(), i = row_of_thread();
    if (4 * i >= p.surface.height || 4 * j >= p.surface.width) return;
    const T* in = at<const T>(p.tensor) + static_cast<long long>(i) * p.tensor_columns + j;
    const long long channel = static_cast<long long>(p.tensor_rows) * p.tensor_columns;
    const Codes& c = p.codes;
    for (int dy = 0; dy < 4; ++dy)
        for (int dx = 0; dx < 4; ++dx) {
            const int y = 4 * i + dy, x = 4 * j + dx;
            if (y >= p.surface.height || x >= p.surface.width) continue;
            const float value = to_float(in[(4 * dy + dx) * channel]);
            const float half_span = c.luma_span / 2;
            store_code(p.surface, 0, y, x, to_code(value * half_span + (c.black + half_span), c.max_code));
        }
    for (int plane = 1; plane < 3; ++plane)
        for (int dy = 0; dy < 2; ++dy)
            for (int dx = 0; dx < 2; ++dx) {
                const int y = 2 * i + dy, x = 2 * j + dx;
                if (y >= plane_height(p.surface, plane) || x >= plane_width(p.surface, plane)) continue;
                const float value = to_float(in[(12 + 4 * plane + 2 * dy + dx) * channel]);
                store_code(p.surface, plane, y, x, to_code(value * (c.chroma_span / 2) + c.chroma_mid, c.max_code));
            }
}

// ---- RGB tensors (pixels/rgb.py) ------------------------------------------------------------------------------------

struct RgbLayout {
    int nhwc;           // 0: (3, H, W); 1: (H, W, 3)
    int bgr;
    float scale, low;   // white - black, and black, of the tensor's value range
    float kr, kb;       // of the matrix
};

__device__ __forceinline__ long long rgb_index(const RgbLayout& l, int channel, int y, int x, int height, int width) {
    if (l.bgr) channel = 2 - channel;
    return l.nhwc ? (static_cast<long long>(y) * width + x) * 3 + channel
                  : (static_cast<long long>(channel) * height + y) * width + x;
}

struct ToRgbParams {
    Surface surface;
    unsigned long long tensor;
    int height, width, padded_height, padded_width;
    Codes codes;
    RgbLayout layout;
};

// The resized plane's code at (row, column), as pixels/resize.py rounds it.
__device__ __forceinline__ float resized_code(const ToRgbParams& p, int plane, int row, int column) {
    const int height = plane ? (p.height + 1) / 2 : p.height, width = plane ? (p.width + 1) / 2 : p.width;
    return static_cast<float>(to_code(sample(p.surface, plane, row, column, height, width), p.codes.max_code));
}

// Chroma in the middle of its four luma samples: each luma sample takes 9, 3, 3 and 1 sixteenths of the nearest four.
__device__ __forceinline__ float chroma_at(const ToRgbParams& p, int plane, int y, int x) {
    const int height = (p.height + 1) / 2, width = (p.width + 1) / 2, i = y / 2, j = x / 2;
    int far_i = y % 2 ? i + 1 : i - 1, far_j = x % 2 ? j + 1 : j - 1;
    far_i = far_i < 0 ? 0 : far_i >= height ? height - 1 : far_i;
    far_j = far_j < 0 ? 0 : far_j >= width ? width - 1 : far_j;
    const float near_row = 0.75f * resized_code(p, plane, i, j) + 0.25f * resized_code(p, plane, i, far_j);
    const float far_row = 0.75f * resized_code(p, plane, far_i, j) + 0.25f * resized_code(p, plane, far_i, far_j);
    return (0.75f * near_row + 0.25f * far_row - p.codes.chroma_mid) / p.codes.chroma_span;
}

__device__ __forceinline__ float clamp01(float value) { return fminf(fmaxf(value, 0.0f), 1.0f); }

template <typename T> __device__ void to_rgb(const ToRgbParams& p) {
    const int column = column_of_thread(), row = row_of_thread();
    if (row >= p.padded_height || column >= p.padded_width) return;
    const int y = reflect(row, p.height), x = reflect(column, p.width);
    const RgbLayout& l = p.layout;
    const float luma = (resized_code(p, 0, y, x) - p.codes.black) / p.codes.luma_span;
    const float u = chroma_at(p, 1, y, x), v = chroma_at(p, 2, y, x);
    const float red = luma + 2 * (1 - l.kr) * v, blue = luma + 2 * (1 - l.kb) * u;
    const float green = (luma - l.kr * red - l.kb * blue) / (1 - l.kr - l.kb);
    const float rgb[3] = {red, green, blue};
    for (int channel = 0; channel < 3; ++channel)
        at<T>(p.tensor)[rgb_index(l, channel, row, column, p.padded_height, p.padded_width)] =
            from_float<T>(clamp01(rgb[channel]) * l.scale + l.low);
}

struct FromRgbParams {
    unsigned long long tensor;
    Surface surface;  // written from the tensor's top left
    int tensor_height, tensor_width;
    Codes codes;
    RgbLayout layout;
};

// One thread per chroma sample, with its (up to) four luma samples.
template <typename T> __device__ void from_rgb(const FromRgbParams& p) {
    const int j = column_of_thread(), i = row_of_thread();
    if (2 * i >= p.surface.height || 2 * j >= p.surface.width) return;
    const RgbLayout& l = p.layout;
    float u = 0, v = 0;
    for (int dy = 0; dy < 2; ++dy)
        for (int dx = 0; dx < 2; ++dx) {
            const bool inside = 2 * i + dy < p.surface.height && 2 * j + dx < p.surface.width;
            // At an odd edge the last row or column counts twice.
            const int y = 2 * i + dy < p.surface.height ? 2 * i + dy : 2 * i;
            const int x = 2 * j + dx < p.surface.width ? 2 * j + dx : 2 * j;
            float rgb[3];
            for (int channel = 0; channel < 3; ++channel) {
                const long long index = rgb_index(l, channel, y, x, p.tensor_height, p.tensor_width);
                rgb[channel] = clamp01((to_float(at<const T>(p.tensor)[index]) - l.low) / l.scale);
            }
            const float luma = l.kr * rgb[0] + (1 - l.kr - l.kb) * rgb[1] + l.kb * rgb[2];
            u += (rgb[2] - luma) / (2 * (1 - l.kb));
            v += (rgb[0] - luma) / (2 * (1 - l.kr));
            if (inside) store_code(p.surface, 0, y, x, to_code(luma * p.codes.luma_span + p.codes.black, p.codes.max_code));
        }
    store_code(p.surface, 1, i, j, to_code(u * 0.25f * p.codes.chroma_span + p.codes.chroma_mid, p.codes.max_code));
    store_code(p.surface, 2, i, j, to_code(v * 0.25f * p.codes.chroma_span + p.codes.chroma_mid, p.codes.max_code));
}

// ---- instance norm (groups of one channel) and layer norm (one group), then LeakyReLU --------------------------------
// Two passes: norm_statistics leaves (count, mean, sum of squared deviations) of chunks of each group, merged by the
// formula of Chan, Golub, LeVeque 1979; norm_apply merges the chunks and writes. All of it in float32: Welford's update
// never forms a sum of squares, so nothing cancels.

struct Moments {
    float count, mean, squares;
};

__device__ __forceinline__ Moments merge(const Moments& a, const Moments& b) {
    const float count = a.count + b.count;
    if (count == 0) return a;
    const float delta = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share};
}

// The moments of all threads of a block, in its first thread. The block is a whole number of warps.
__device__ __forceinline__ Moments merge_block(Moments m) {
    __shared__ float shared[3][32];
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
    const int warps = static_cast<int>(blockDim.x) / 32;
    for (int pass = 0; pass < 2; ++pass) {
        for (int distance = 16; distance > 0; distance /= 2) {
            Moments other;
            other.count = __shfl_down_sync(0xffffffffu, m.count, distance);
            other.mean = __shfl_down_sync(0xffffffffu, m.mean, distance);
            other.squares = __shfl_down_sync(0xffffffffu, m.squares, distance);
            if (lane + distance < 32) m = merge(m, other);
        }
        if (pass == 1) break;
        if (lane == 0) {
            shared[0][warp] = m.count;
            shared[1][warp] = m.mean;
            shared[2][warp] = m.squares;
        }
        __syncthreads();
        const bool held = lane < warps;
        m = {held ? shared[0][lane] : 0.0f, held ? shared[1][lane] : 0.0f, held ? shared[2][lane] : 0.0f};
    }
    return m;
}

// grid: (chunks, groups)
template <typename T> __device__ void norm_statistics(const NormParams& p) {
    const T* in = at<const T>(p.input) + static_cast<long long>(blockIdx.y) * p.group_size;
    Moments m = {0, 0, 0};
    const int stride = static_cast<int>(blockDim.x) * p.chunks;
    for (int i = column_of_thread(); i < p.group_size; i += stride) {
        const float value = to_float(in[i]), delta = value - m.mean;
        m.count += 1;
        m.mean += delta / m.count;
        m.squares += delta * (value - m.mean);
    }
    m = merge_block(m);
    if (threadIdx.x == 0) {
        float* out = at<float>(p.partials) + (static_cast<long long>(blockIdx.y) * p.chunks + blockIdx.x) * 3;
        out[0] = m.count;
        out[1] = m.mean;
        out[2] = m.squares;
    }
}

// grid: (any number of blocks, groups); chunks is at most the threads of a block
template <typename T> __device__ void norm_apply(const NormParams& p) {
    __shared__ float mean, deviation;
    Moments m = {0, 0, 0};
    if (static_cast<int>(threadIdx.x) < p.chunks) {
        const float* part = at<const float>(p.partials) + (static_cast<long long>(blockIdx.y) * p.chunks + threadIdx.x) * 3;
        m = {part[0], part[1], part[2]};
    }
    m = merge_block(m);
    if (threadIdx.x == 0) {
        mean = m.mean;
        deviation = sqrtf(m.squares / m.count + p.epsilon);
    }
    __syncthreads();
    const long long group = static_cast<long long>(blockIdx.y) * p.group_size;
    for (int i = column_of_thread(); i < p.group_size; i += static_cast<int>(blockDim.x * gridDim.x)) {
        const int channel = static_cast<int>((group + i) / p.channel_size % p.channels);
        const float normal = (to_float(at<const T>(p.input)[group + i]) - mean) / deviation;
        const float value = normal * at<const float>(p.scale)[channel] + at<const float>(p.shift)[channel];
        at<T>(p.output)[group + i] = from_float<T>(value >= 0 ? value : value * p.slope);
    }
}

// ---- guided upsample (pixels/guided_upsample.py) --------------------------------------------------------------------
// upsample_target: guide and sharpened target luma; upsample_lines: the local line's slope and offset; upsample_slopes:
// their means; upsample_apply: the full frame. Small planes are float (height, width).

struct UpsampleParams {
    Surface full;                        // the frame, read
    Surface result;                      // of the same size and format, written
    unsigned long long low_in, low_out;  // packed (24, tensor_rows, tensor_columns)
    unsigned long long guide, target, line, line_offset, slope, offset;
    int height, width;                   // of the small frame
    int tensor_rows, tensor_columns;
    int radius;
    float epsilon, sharpen;
    Codes codes;
};

template <typename T> __device__ __forceinline__ float packed_luma(const UpsampleParams& p, unsigned long long tensor, int y, int x) {
    y = y < 0 ? 0 : y >= p.height ? p.height - 1 : y;
    x = x < 0 ? 0 : x >= p.width ? p.width - 1 : x;
    const long long channel = 4 * (y % 4) + x % 4;
    const long long index = (channel * p.tensor_rows + y / 4) * p.tensor_columns + x / 4;
    return to_float(at<const T>(tensor)[index]) * 0.5f + 0.5f;
}

template <typename T> __device__ void upsample_target(const UpsampleParams& p) {
    const int x = column_of_thread(), y = row_of_thread();
    if (y >= p.height || x >= p.width) return;
    const long long here = static_cast<long long>(y) * p.width + x;
    at<float>(p.guide)[here] = packed_luma<T>(p, p.low_in, y, x);
    const float value = packed_luma<T>(p, p.low_out, y, x);
    float result = value;
    if (p.sharpen > 0) {
        const float centre = 0.5f, side = 0.25f;
        float low = value, high = value, mean = 0;
        for (int dy = -1; dy <= 1; ++dy)
            for (int dx = -1; dx <= 1; ++dx) {
                const float other = packed_luma<T>(p, p.low_out, y + dy, x + dx);
                low = fminf(low, other);
                high = fmaxf(high, other);
                mean += other * (dy ? side : centre) * (dx ? side : centre);
            }
        result = fminf(fmaxf(value + p.sharpen * (value - mean), low), high);
    }
    at<float>(p.target)[here] = result;
}

__device__ __forceinline__ long long clamped(const UpsampleParams& p, int y, int x) {
    y = y < 0 ? 0 : y >= p.height ? p.height - 1 : y;
    x = x < 0 ? 0 : x >= p.width ? p.width - 1 : x;
    return static_cast<long long>(y) * p.width + x;
}

__device__ __forceinline__ void upsample_lines(const UpsampleParams& p) {
    const int x = column_of_thread(), y = row_of_thread();
    if (y >= p.height || x >= p.width) return;
    const float* guide = at<const float>(p.guide);
    const float* target = at<const float>(p.target);
    // Moments around the window's own centre: E[g^2] - E[g]^2 would cancel in float32 where a window is flat.
    const float g0 = guide[clamped(p, y, x)], t0 = target[clamped(p, y, x)];
    float g = 0, t = 0, gg = 0, gt = 0;
    for (int dy = -p.radius; dy <= p.radius; ++dy)
        for (int dx = -p.radius; dx <= p.radius; ++dx) {
            const long long there = clamped(p, y + dy, x + dx);
            const float dg = guide[there] - g0, dt = target[there] - t0;
            g += dg;
            t += dt;
            gg += dg * dg;
            gt += dg * dt;
        }
    const float side = static_cast<float>(2 * p.radius + 1), share = 1 / (side * side);
    g *= share;
    t *= share;
    const long long here = clamped(p, y, x);
    const float covariance = gt * share - g * t, variance = gg * share - g * g;
    const float line = covariance / (variance + p.epsilon);
    at<float>(p.line)[here] = line;
    at<float>(p.line_offset)[here] = t0 + t - line * (g0 + g);
}

__device__ __forceinline__ void upsample_slopes(const UpsampleParams& p) {
    const int x = column_of_thread(), y = row_of_thread();
    if (y >= p.height || x >= p.width) return;
    float slope = 0, offset = 0;
    for (int dy = -p.radius; dy <= p.radius; ++dy)
        for (int dx = -p.radius; dx <= p.radius; ++dx) {
            const long long there = clamped(p, y + dy, x + dx);
            slope += at<const float>(p.line)[there];
            offset += at<const float>(p.line_offset)[there];
        }
    const float side = static_cast<float>(2 * p.radius + 1), share = 1 / (side * side);
    const long long here = clamped(p, y, x);
    at<float>(p.slope)[here] = slope * share;
    at<float>(p.offset)[here] = offset * share;
}

// One sample of a packed chroma plane (plane 1 or 2) enlarged to (height, width).
template <typename T>
__device__ __forceinline__ float enlarge_chroma(const UpsampleParams& p, int plane, int row, int column, int height, int width) {
    const int h = (p.height + 1) / 2, w = (p.width + 1) / 2;
    const Taps vertical = taps_of(row, h, height), horizontal = taps_of(column, w, width);
    float sum = 0;
    for (int j = 0; j < vertical.count; ++j) {
        float across = 0;
        for (int i = 0; i < horizontal.count; ++i) {
            const int y = vertical.first + j, x = horizontal.first + i;
            const long long channel = 12 + 4 * plane + 2 * (y % 2) + x % 2;
            const long long index = (channel * p.tensor_rows + y / 2) * p.tensor_columns + x / 2;
            across += tap_weight(horizontal, i, w) * to_float(at<const T>(p.low_out)[index]);
        }
        sum += tap_weight(vertical, j, h) * across;
    }
    return sum;
}

// One thread per chroma sample of the full frame, with its (up to) four luma samples.
template <typename T> __device__ void upsample_apply(const UpsampleParams& p) {
    const int j = column_of_thread(), i = row_of_thread();
    const int height = p.full.height, width = p.full.width;
    if (2 * i >= height || 2 * j >= width) return;
    const Codes& c = p.codes;
    for (int dy = 0; dy < 2; ++dy)
        for (int dx = 0; dx < 2; ++dx) {
            const int y = 2 * i + dy, x = 2 * j + dx;
            if (y >= height || x >= width) continue;
            const float guide = (static_cast<float>(load_code(p.full, 0, y, x)) - c.black) / c.luma_span;
            const float slope = enlarge(at<const float>(p.slope), p.height, p.width, y, x, height, width);
            const float offset = enlarge(at<const float>(p.offset), p.height, p.width, y, x, height, width);
            const float luma = slope * guide + offset;
            store_code(p.result, 0, y, x, to_code(luma * c.luma_span + c.black, c.max_code));
        }
    for (int plane = 1; plane < 3; ++plane) {
        const float value = enlarge_chroma<T>(p, plane, i, j, plane_height(p.full, plane), plane_width(p.full, plane));
        store_code(p.result, plane, i, j, to_code(value * (c.chroma_span / 2) + c.chroma_mid, c.max_code));
    }
}

// ---- blend (pixels/blend.py) ----------------------------------------------------------------------------------------

struct BlendParams {
    Surface original, stylized;  // of one size and format; stylized is read and written
    int weight;                  // of 256
};

__device__ __forceinline__ int mix(int original, int stylized, int weight) {
    return (original * (256 - weight) + stylized * weight + 128) >> 8;
}

// One thread per chroma sample, with its (up to) four luma samples.
__device__ __forceinline__ void blend(const BlendParams& p) {
    const int j = column_of_thread(), i = row_of_thread();
    if (2 * i >= p.stylized.height || 2 * j >= p.stylized.width) return;
    for (int plane = 0; plane < 3; ++plane) {
        const int side = plane == 0 ? 2 : 1;
        for (int y = side * i; y < side * (i + 1); ++y)
            for (int x = side * j; x < side * (j + 1); ++x) {
                if (y >= plane_height(p.stylized, plane) || x >= plane_width(p.stylized, plane)) continue;
                const int code = mix(load_code(p.original, plane, y, x), load_code(p.stylized, plane, y, x), p.weight);
                store_code(p.stylized, plane, y, x, code);
            }
    }
}

}  // namespace animevid

// ---- entry points: AV_KERNEL(name, params, body, has barriers) ------------------------------------------------------

#define AV_ALL_KERNELS(AV_KERNEL)                                                                \
    AV_KERNEL(animevid_pack_f16, PackParams, pack<Half>, false)                                  \
    AV_KERNEL(animevid_pack_f32, PackParams, pack<float>, false)                                 \
    AV_KERNEL(animevid_unpack_f16, UnpackParams, unpack<Half>, false)                            \
    AV_KERNEL(animevid_unpack_f32, UnpackParams, unpack<float>, false)                           \
    AV_KERNEL(animevid_to_rgb_f16, ToRgbParams, to_rgb<Half>, false)                             \
    AV_KERNEL(animevid_to_rgb_f32, ToRgbParams, to_rgb<float>, false)                            \
    AV_KERNEL(animevid_from_rgb_f16, FromRgbParams, from_rgb<Half>, false)                       \
    AV_KERNEL(animevid_from_rgb_f32, FromRgbParams, from_rgb<float>, false)                      \
    AV_KERNEL(animevid_norm_statistics_f16, NormParams, norm_statistics<Half>, true)             \
    AV_KERNEL(animevid_norm_statistics_f32, NormParams, norm_statistics<float>, true)            \
    AV_KERNEL(animevid_norm_apply_f16, NormParams, norm_apply<Half>, true)                       \
    AV_KERNEL(animevid_norm_apply_f32, NormParams, norm_apply<float>, true)                      \
    AV_KERNEL(animevid_upsample_target_f16, UpsampleParams, upsample_target<Half>, false)            \
    AV_KERNEL(animevid_upsample_target_f32, UpsampleParams, upsample_target<float>, false)                   \
    AV_KERNEL(animevid_upsample_lines, UpsampleParams, upsample_lines, false)                                \
    AV_KERNEL(animevid_upsample_slopes, UpsampleParams, upsample_slopes, false)                              \
    AV_KERNEL(animevid_upsample_apply_f16, UpsampleParams, upsample_apply<Half>, false)                      \
    AV_KERNEL(animevid_upsample_apply_f32, UpsampleParams, upsample_apply<float>, false)                     \
    AV_KERNEL(animevid_blend, BlendParams, blend, false)                                         \
    AV_KERNEL(animevid_settle_change_f16, SettleParams, settle_change<Half>, true)               \
    AV_KERNEL(animevid_settle_change_f32, SettleParams, settle_change<float>, true)              \
    AV_KERNEL(animevid_settle_input_f16, SettleParams, settle_input<Half>, false)                \
    AV_KERNEL(animevid_settle_input_f32, SettleParams, settle_input<float>, false)               \
    AV_KERNEL(animevid_settle_noise, SettleParams, settle_noise, false)                          \
    AV_KERNEL(animevid_settle_output_f16, SettleParams, settle_output<Half>, false)              \
    AV_KERNEL(animevid_settle_output_f32, SettleParams, settle_output<float>, false)             \
    AV_KERNEL(animevid_compare, CompareParams, compare, false)
