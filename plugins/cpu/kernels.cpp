// The kernels themselves, in portable C++17 that compilers vectorize: one row at a time, restrict pointers, float
// arithmetic or narrow integers, no branches in inner loops. Compiled once per instruction set (ANIMEVID_ISA names the
// table); see kernels.hpp for why only C headers are included. The readable references are animevid/pixels/*.py (`*_ref`).

#include "kernels.hpp"

#include <math.h>
#include <cstring>
#include <type_traits>

#ifndef ANIMEVID_ISA
#error "compile with -DANIMEVID_ISA=<name>"
#endif

#if defined(_MSC_VER)
#define RESTRICT __restrict
#define ANIMEVID_INLINE __forceinline
#else
#define RESTRICT __restrict__
#define ANIMEVID_INLINE inline __attribute__((always_inline))
#endif

namespace animevid {
namespace {

using std::int16_t;
using std::int32_t;
using std::ptrdiff_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;

template <class T>
ANIMEVID_INLINE T load(const void* address) {
    T value;
    std::memcpy(&value, address, sizeof value);
    return value;
}

// NaN fails the first comparison and becomes 0, so every float ends within the range of the integer type.
ANIMEVID_INLINE int32_t to_code(float value, float max_code) {
    const float zero = max_code - max_code;  // not a compile-time constant, for which compilers emit two instructions
    value = value > zero ? value : zero;
    value = value < max_code ? value : max_code;
    return static_cast<int32_t>(value + 0.5f);
}

ANIMEVID_INLINE int smaller(int a, int b) { return a < b ? a : b; }
ANIMEVID_INLINE int clamped(int value, int size) { return value < 0 ? 0 : (value < size ? value : size - 1); }

// Index i of a row of `size` samples continued by reflection (the edge sample is not repeated), for any i >= 0.
ANIMEVID_INLINE int reflected(int i, int size) {
    if (size == 1) return 0;
    const int period = 2 * (size - 1);
    i %= period;
    return i < size ? i : period - i;
}

template <class T>
void pad_row(T* row, int width, int padded_width) {
    for (int x = width; x < padded_width; ++x) row[x] = row[reflected(x, width)];
}

// ---- resize: the weighted sum of rows, then of columns -------------------------------------------------------------

template <class T>
void weighted_rows(Plane<const T> source, const Axis& rows, int row, float* RESTRICT out) {
    const int width = source.width;
    const T* first = source.data + rows.start[row] * source.stride;
    const float* weight = rows.weight + row;
    int k = 0;
    bool fresh = true;
    for (; rows.taps - k >= 3; k += 3, fresh = false) {
        const T* RESTRICT r0 = first + (k + 0) * source.stride;
        const T* RESTRICT r1 = first + (k + 1) * source.stride;
        const T* RESTRICT r2 = first + (k + 2) * source.stride;
        const float w0 = weight[(k + 0) * rows.target], w1 = weight[(k + 1) * rows.target];
        const float w2 = weight[(k + 2) * rows.target];
        if (fresh) {
            for (int x = 0; x < width; ++x) out[x] = w0 * r0[x] + w1 * r1[x] + w2 * r2[x];
        } else {
            for (int x = 0; x < width; ++x) out[x] += w0 * r0[x] + w1 * r1[x] + w2 * r2[x];
        }
    }
    for (; k < rows.taps; ++k, fresh = false) {
        const T* RESTRICT r0 = first + k * source.stride;
        const float w0 = weight[k * rows.target];
        if (fresh) {
            for (int x = 0; x < width; ++x) out[x] = w0 * r0[x];
        } else {
            for (int x = 0; x < width; ++x) out[x] += w0 * r0[x];
        }
    }
}

template <int N>
void mean_of_columns(const float* RESTRICT in, int width, float* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        float sum = in[N * x];
        for (int k = 1; k < N; ++k) sum += in[N * x + k];
        out[x] = sum * (1.0f / N);
    }
}

// Bilinear by exactly two; `in` has one valid sample before and after the row.
void doubled_columns(const float* RESTRICT in, int width, float* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        out[2 * x] = 0.25f * in[x - 1] + 0.75f * in[x];
        out[2 * x + 1] = 0.75f * in[x] + 0.25f * in[x + 1];
    }
}

// The same by exactly three: 1080p from 360p.
void tripled_columns(const float* RESTRICT in, int width, float* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        const float before = in[x - 1], here = in[x], after = in[x + 1];
        out[3 * x] = (1.0f / 3.0f) * before + (2.0f / 3.0f) * here;
        out[3 * x + 1] = here;
        out[3 * x + 2] = (2.0f / 3.0f) * here + (1.0f / 3.0f) * after;
    }
}

void weighted_columns(const float* RESTRICT in, const Axis& columns, float* RESTRICT out) {
    const int width = columns.target;
    if (columns.uniform) {
        switch (columns.taps) {
            case 1: std::memcpy(out, in, sizeof(float) * width); return;
            case 2: mean_of_columns<2>(in, width, out); return;
            case 3: mean_of_columns<3>(in, width, out); return;
            case 4: mean_of_columns<4>(in, width, out); return;
            default: break;
        }
    }
    const int32_t* RESTRICT start = columns.start;
    const float* RESTRICT weight = columns.weight;
    if (columns.taps == 2) {
        const float* RESTRICT second = weight + width;
        for (int x = 0; x < width; ++x) out[x] = weight[x] * in[start[x]] + second[x] * in[start[x] + 1];
        return;
    }
    for (int x = 0; x < width; ++x) out[x] = weight[x] * in[start[x]];
    for (int k = 1; k < columns.taps; ++k) {
        const float* RESTRICT w = weight + static_cast<ptrdiff_t>(k) * width;
        for (int x = 0; x < width; ++x) out[x] += w[x] * in[start[x] + k];
    }
}

bool is_identity(const Axis& axis) { return axis.source == axis.target; }

template <class T>
void resize(Plane<const T> source, const Axis& rows, const Axis& columns, Plane<T> target, float* scratch) {
    float* sums = scratch;
    float* row = is_identity(columns) ? sums : scratch + source.width;
    const float max_code = sizeof(T) == 1 ? 255.0f : 65535.0f;
    for (int y = 0; y < target.height; ++y) {
        weighted_rows(source, rows, y, sums);
        if (row != sums) weighted_columns(sums, columns, row);
        const float* RESTRICT in = row;
        T* RESTRICT out = target.data + y * target.stride;
        for (int x = 0; x < target.width; ++x) out[x] = static_cast<T>(to_code(in[x], max_code));
    }
}

// ---- pack ----------------------------------------------------------------------------------------------------------

// One row to `Factor` channel rows, `plane` floats apart. Integers are read as words of `Factor` samples, so that the
// loop needs shifts and masks but no shuffles (little-endian; the fallback below is for everything else).
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
constexpr bool kLittleEndian = false;
#else
constexpr bool kLittleEndian = true;
#endif

template <int Factor, class T>
void space_to_depth_row(const T* RESTRICT in, int width, float* out, ptrdiff_t plane, Affine affine) {
    const float scale = affine.scale, offset = affine.offset;
    float* RESTRICT o0 = out;
    float* RESTRICT o1 = out + plane;
    float* RESTRICT o2 = out + (Factor == 4 ? 2 : 0) * plane;
    float* RESTRICT o3 = out + (Factor == 4 ? 3 : 0) * plane;
    if constexpr (kLittleEndian && sizeof(T) == 1 && Factor == 4) {
        for (int x = 0; x < width; ++x) {
            const uint32_t word = load<uint32_t>(in + 4 * x);
            o0[x] = static_cast<float>(static_cast<int32_t>(word & 255)) * scale + offset;
            o1[x] = static_cast<float>(static_cast<int32_t>(word >> 8 & 255)) * scale + offset;
            o2[x] = static_cast<float>(static_cast<int32_t>(word >> 16 & 255)) * scale + offset;
            o3[x] = static_cast<float>(static_cast<int32_t>(word >> 24)) * scale + offset;
        }
    } else if constexpr (kLittleEndian && sizeof(T) == 2 && Factor == 4) {
        for (int x = 0; x < width; ++x) {
            const uint32_t low = load<uint32_t>(in + 4 * x), high = load<uint32_t>(in + 4 * x + 2);
            o0[x] = static_cast<float>(static_cast<int32_t>(low & 65535)) * scale + offset;
            o1[x] = static_cast<float>(static_cast<int32_t>(low >> 16)) * scale + offset;
            o2[x] = static_cast<float>(static_cast<int32_t>(high & 65535)) * scale + offset;
            o3[x] = static_cast<float>(static_cast<int32_t>(high >> 16)) * scale + offset;
        }
    } else if constexpr (kLittleEndian && sizeof(T) == 1) {
        for (int x = 0; x < width; ++x) {
            const uint16_t word = load<uint16_t>(in + 2 * x);
            o0[x] = static_cast<float>(word & 255) * scale + offset;
            o1[x] = static_cast<float>(word >> 8) * scale + offset;
        }
    } else if constexpr (kLittleEndian && sizeof(T) == 2) {
        for (int x = 0; x < width; ++x) {
            const uint32_t word = load<uint32_t>(in + 2 * x);
            o0[x] = static_cast<float>(static_cast<int32_t>(word & 65535)) * scale + offset;
            o1[x] = static_cast<float>(static_cast<int32_t>(word >> 16)) * scale + offset;
        }
    } else {
        for (int x = 0; x < width; ++x) {
            o0[x] = static_cast<float>(in[Factor * x]) * scale + offset;
            o1[x] = static_cast<float>(in[Factor * x + 1]) * scale + offset;
            if constexpr (Factor == 4) {
                o2[x] = static_cast<float>(in[4 * x + 2]) * scale + offset;
                o3[x] = static_cast<float>(in[4 * x + 3]) * scale + offset;
            }
        }
    }
}

// Sums of 2x2 samples, at most 4 * 255.
void sum_2x2_row(const uint8_t* RESTRICT upper, const uint8_t* RESTRICT lower, int width, uint16_t* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        const uint16_t a = load<uint16_t>(upper + 2 * x), b = load<uint16_t>(lower + 2 * x);
        out[x] = static_cast<uint16_t>((a & 255) + (a >> 8) + (b & 255) + (b >> 8));
    }
}

template <int Factor, class T>
void pack_by(Plane<const T> source, const Axis& rows, const Axis& columns, float* target, int padded_height,
             int padded_width, Affine affine, float* scratch) {
    const int height = rows.target, width = columns.target, out_width = padded_width / Factor;
    const ptrdiff_t plane = static_cast<ptrdiff_t>(padded_height / Factor) * out_width;
    const bool same_size = is_identity(rows) && is_identity(columns);
    const bool half_size = sizeof(T) == 1 && rows.uniform && columns.uniform && rows.taps == 2 && columns.taps == 2;
    float* row = scratch + source.width;
    for (int padded_y = 0; padded_y < padded_height; ++padded_y) {
        const int y = reflected(padded_y, height);
        float* out = target + (padded_y % Factor) * Factor * plane + (padded_y / Factor) * out_width;
        if (same_size) {
            const T* in = source.data + y * source.stride;
            if (width != padded_width) {
                T* copy = reinterpret_cast<T*>(scratch);
                std::memcpy(copy, in, sizeof(T) * width);
                pad_row(copy, width, padded_width);
                in = copy;
            }
            space_to_depth_row<Factor>(in, out_width, out, plane, affine);
        } else if (half_size) {
            uint16_t* sums = reinterpret_cast<uint16_t*>(scratch);
            const T* in = source.data + 2 * y * source.stride;
            sum_2x2_row(reinterpret_cast<const uint8_t*>(in), reinterpret_cast<const uint8_t*>(in + source.stride),
                        width, sums);
            pad_row(sums, width, padded_width);
            space_to_depth_row<Factor>(sums, out_width, out, plane, Affine{affine.scale * 0.25f, affine.offset});
        } else {
            weighted_rows(source, rows, y, scratch);
            weighted_columns(scratch, columns, row);
            pad_row(row, width, padded_width);
            space_to_depth_row<Factor>(row, out_width, out, plane, affine);
        }
    }
}

template <class T>
void pack(Plane<const T> source, const Axis& rows, const Axis& columns, int factor, float* target, int padded_height,
          int padded_width, Affine affine, float* scratch) {
    if (factor == 4)
        pack_by<4>(source, rows, columns, target, padded_height, padded_width, affine, scratch);
    else
        pack_by<2>(source, rows, columns, target, padded_height, padded_width, affine, scratch);
}

// ---- unpack --------------------------------------------------------------------------------------------------------

template <int Factor, class T>
void depth_to_space_row(const float* in, ptrdiff_t plane, int width, T* RESTRICT out, Affine affine, float max_code) {
    const float scale = affine.scale, offset = affine.offset;
    const float* RESTRICT i0 = in;
    const float* RESTRICT i1 = in + plane;
    const float* RESTRICT i2 = in + (Factor == 4 ? 2 : 0) * plane;
    const float* RESTRICT i3 = in + (Factor == 4 ? 3 : 0) * plane;
    if constexpr (kLittleEndian && sizeof(T) == 1 && Factor == 4) {
        for (int x = 0; x < width; ++x) {
            const int32_t word = to_code(i0[x] * scale + offset, max_code) | to_code(i1[x] * scale + offset, max_code) << 8 |
                                 to_code(i2[x] * scale + offset, max_code) << 16 |
                                 static_cast<int32_t>(static_cast<uint32_t>(to_code(i3[x] * scale + offset, max_code)) << 24);
            std::memcpy(out + 4 * x, &word, 4);
        }
    } else if constexpr (kLittleEndian && Factor == 2) {
        using Word = std::conditional_t<sizeof(T) == 1, uint16_t, uint32_t>;
        for (int x = 0; x < width; ++x) {
            const uint32_t low = static_cast<uint32_t>(to_code(i0[x] * scale + offset, max_code));
            const uint32_t high = static_cast<uint32_t>(to_code(i1[x] * scale + offset, max_code));
            const Word word = static_cast<Word>(low | high << (8 * sizeof(T)));
            std::memcpy(out + 2 * x, &word, sizeof word);
        }
    } else {
        for (int x = 0; x < width; ++x) {
            out[Factor * x] = static_cast<T>(to_code(i0[x] * scale + offset, max_code));
            out[Factor * x + 1] = static_cast<T>(to_code(i1[x] * scale + offset, max_code));
            if constexpr (Factor == 4) {
                out[4 * x + 2] = static_cast<T>(to_code(i2[x] * scale + offset, max_code));
                out[4 * x + 3] = static_cast<T>(to_code(i3[x] * scale + offset, max_code));
            }
        }
    }
}

template <int Factor, class T>
void unpack_by(const float* source, int padded_height, int padded_width, Plane<T> target, Affine affine, float max_code,
               float* scratch) {
    const int in_width = padded_width / Factor;
    const ptrdiff_t plane = static_cast<ptrdiff_t>(padded_height / Factor) * in_width;
    const bool whole = target.width % Factor == 0;
    for (int y = 0; y < target.height; ++y) {
        const float* in = source + (y % Factor) * Factor * plane + (y / Factor) * in_width;
        T* out = target.data + y * target.stride;
        if (whole) {
            depth_to_space_row<Factor>(in, plane, target.width / Factor, out, affine, max_code);
        } else {  // the last group reaches beyond the plane's row
            T* row = reinterpret_cast<T*>(scratch);
            depth_to_space_row<Factor>(in, plane, (target.width + Factor - 1) / Factor, row, affine, max_code);
            std::memcpy(out, row, sizeof(T) * target.width);
        }
    }
}

template <class T>
void unpack(const float* source, int padded_height, int padded_width, int factor, Plane<T> target, Affine affine,
            float max_code, float* scratch) {
    if (factor == 4)
        unpack_by<4>(source, padded_height, padded_width, target, affine, max_code, scratch);
    else
        unpack_by<2>(source, padded_height, padded_width, target, affine, max_code, scratch);
}

// ---- blend and difference ------------------------------------------------------------------------------------------

template <class T>
void blend(Plane<const T> first, Plane<const T> second, Plane<T> target, int weight) {
    using Wide = std::conditional_t<sizeof(T) == 1, uint16_t, uint32_t>;  // 255 * 256 + 128 fits 16 bits
    const Wide w1 = static_cast<Wide>(256 - weight), w2 = static_cast<Wide>(weight);
    for (int y = 0; y < target.height; ++y) {
        const T* RESTRICT a = first.data + y * first.stride;
        const T* RESTRICT b = second.data + y * second.stride;
        T* RESTRICT out = target.data + y * target.stride;
        for (int x = 0; x < target.width; ++x)
            out[x] = static_cast<T>(static_cast<Wide>(static_cast<Wide>(a[x] * w1) + static_cast<Wide>(b[x] * w2) + 128) >> 8);
    }
}

template <class T>
Difference difference(Plane<const T> first, Plane<const T> second, float* scratch) {
    constexpr int kBlock = 8;
    using Sum = std::conditional_t<sizeof(T) == 1, int16_t, int32_t>;  // 8 * 255 fits 16 bits
    const int width = first.width;
    Sum* RESTRICT absolute = reinterpret_cast<Sum*>(scratch);
    Sum* RESTRICT signed_ = reinterpret_cast<Sum*>(scratch + width);
    Sum* RESTRICT largest = reinterpret_cast<Sum*>(scratch + 2 * width);
    for (int x = 0; x < width; ++x) largest[x] = 0;
    double total = 0.0, max_absolute = 0.0, max_signed = 0.0;
    for (int top = 0; top < first.height; top += kBlock) {
        const int rows = smaller(kBlock, first.height - top);
        for (int y = top; y < top + rows; ++y) {
            const T* RESTRICT a = first.data + y * first.stride;
            const T* RESTRICT b = second.data + y * second.stride;
            const Sum keep = y == top ? 0 : 1;
            for (int x = 0; x < width; ++x) {
                const Sum delta = static_cast<Sum>(a[x] - b[x]);
                const Sum magnitude = static_cast<Sum>(delta < 0 ? -delta : delta);
                absolute[x] = static_cast<Sum>(absolute[x] * keep + magnitude);
                signed_[x] = static_cast<Sum>(signed_[x] * keep + delta);
                largest[x] = largest[x] > magnitude ? largest[x] : magnitude;
            }
        }
        for (int left = 0; left < width; left += kBlock) {
            const int columns = smaller(kBlock, width - left);
            int32_t sum_absolute = 0, sum_signed = 0;
            for (int x = left; x < left + columns; ++x) {
                sum_absolute += absolute[x];
                sum_signed += signed_[x];
            }
            sum_signed = sum_signed < 0 ? -sum_signed : sum_signed;
            const double count = static_cast<double>(rows * columns);
            const double block_absolute = sum_absolute / count, block_signed = sum_signed / count;
            total += sum_absolute;
            max_absolute = max_absolute > block_absolute ? max_absolute : block_absolute;
            max_signed = max_signed > block_signed ? max_signed : block_signed;
        }
    }
    Sum peak = 0;
    for (int x = 0; x < width; ++x) peak = peak > largest[x] ? peak : largest[x];
    return {static_cast<double>(peak), max_absolute, max_signed,
            total / (static_cast<double>(first.height) * static_cast<double>(width))};
}

// ---- R'G'B' --------------------------------------------------------------------------------------------------------

// Row `y` of a chroma plane at luma resolution, codes * affine; `row` is scratch with room for one sample around it.
template <class T>
void chroma_row(Plane<const T> plane, int y, Affine affine, float* row, float* out) {
    const int i = y / 2;
    const T* RESTRICT near_ = plane.data + i * plane.stride;
    const T* RESTRICT far_ = plane.data + clamped(y % 2 ? i + 1 : i - 1, plane.height) * plane.stride;
    float* RESTRICT middle = row + 1;
    for (int x = 0; x < plane.width; ++x)
        middle[x] = (0.75f * near_[x] + 0.25f * far_[x]) * affine.scale + affine.offset;
    row[0] = row[1];
    row[plane.width + 1] = row[plane.width];
    doubled_columns(middle, plane.width, out);
}

ANIMEVID_INLINE float unit(float value) {
    value = value > 0.0f ? value : 0.0f;
    return value < 1.0f ? value : 1.0f;
}

struct RgbFactors {
    explicit RgbFactors(const RgbTransform& t)
        : luma{1.0f / t.luma_span, -t.black / t.luma_span}, red_v(2.0f * (1.0f - t.kr)), blue_u(2.0f * (1.0f - t.kb)),
          green_u(-t.kb * blue_u / (1.0f - t.kr - t.kb)), green_v(-t.kr * red_v / (1.0f - t.kr - t.kb)), span(t.span),
          low(t.low) {}
    Affine luma;
    float red_v, blue_u, green_u, green_v, span, low;
};

template <class T>
void rgb_row(const T* RESTRICT luma, const float* RESTRICT u, const float* RESTRICT v, int width, const RgbFactors f,
             float* RESTRICT red, float* RESTRICT green, float* RESTRICT blue) {
    for (int x = 0; x < width; ++x) {
        const float l = luma[x] * f.luma.scale + f.luma.offset;
        red[x] = unit(l + f.red_v * v[x]) * f.span + f.low;
        green[x] = unit(l + f.green_u * u[x] + f.green_v * v[x]) * f.span + f.low;
        blue[x] = unit(l + f.blue_u * u[x]) * f.span + f.low;
    }
}

void interleave_row(const float* RESTRICT first, const float* RESTRICT second, const float* RESTRICT third, int width,
                    uint8_t* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        out[3 * x] = static_cast<uint8_t>(static_cast<int32_t>(first[x] + 0.5f));
        out[3 * x + 1] = static_cast<uint8_t>(static_cast<int32_t>(second[x] + 0.5f));
        out[3 * x + 2] = static_cast<uint8_t>(static_cast<int32_t>(third[x] + 0.5f));
    }
}

void interleave_row(const float* RESTRICT first, const float* RESTRICT second, const float* RESTRICT third, int width,
                    float* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        out[3 * x] = first[x];
        out[3 * x + 1] = second[x];
        out[3 * x + 2] = third[x];
    }
}

template <class T>
void to_rgb(Plane<const T> y, Plane<const T> u, Plane<const T> v, uint8_t* bytes, float* floats,
            const RgbTransform& transform, float* scratch) {
    const int width = y.width, room = width + 4;
    const ptrdiff_t plane = static_cast<ptrdiff_t>(y.height) * width;
    float* row_u = scratch;
    float* row_v = scratch + room;
    float* narrow = scratch + 2 * room;
    const Affine chroma{1.0f / transform.chroma_span, -transform.chroma_mid / transform.chroma_span};
    const RgbFactors factors(transform);
    for (int row = 0; row < y.height; ++row) {
        chroma_row(u, row, chroma, narrow, row_u);
        chroma_row(v, row, chroma, narrow, row_v);
        float* first = scratch + 3 * room;
        float* second = scratch + 4 * room;
        float* third = scratch + 5 * room;
        if (floats && transform.planar) {
            first = floats + static_cast<ptrdiff_t>(row) * width;
            second = first + plane;
            third = second + plane;
        }
        rgb_row(y.data + row * y.stride, row_u, row_v, width, factors, transform.reversed ? third : first, second,
                transform.reversed ? first : third);
        if (bytes)
            interleave_row(first, second, third, width, bytes + static_cast<ptrdiff_t>(row) * width * 3);
        else if (!transform.planar)
            interleave_row(first, second, third, width, floats + static_cast<ptrdiff_t>(row) * width * 3);
    }
}

// One row of (H, W, 3) or (3, H, W) as three rows in [0, 1].
template <class S>
void unit_rows(const S* RESTRICT in, ptrdiff_t step, int width, Affine affine, float* RESTRICT first,
               float* RESTRICT second, float* RESTRICT third) {
    const float scale = affine.scale, offset = affine.offset;
    if (step == 0) {
        for (int x = 0; x < width; ++x) {
            first[x] = unit(in[3 * x] * scale + offset);
            second[x] = unit(in[3 * x + 1] * scale + offset);
            third[x] = unit(in[3 * x + 2] * scale + offset);
        }
    } else {
        for (int x = 0; x < width; ++x) {
            first[x] = unit(in[x] * scale + offset);
            second[x] = unit(in[step + x] * scale + offset);
            third[x] = unit(in[2 * step + x] * scale + offset);
        }
    }
}

// Luma of one row, and its U and V added to the sums of two rows (the upper row initializes them).
template <class T>
void yuv_row(const float* RESTRICT red, const float* RESTRICT green, const float* RESTRICT blue, int width,
             const RgbTransform t, bool upper, T* RESTRICT luma, float* RESTRICT sum_u, float* RESTRICT sum_v) {
    const float kr = t.kr, kb = t.kb, kg = 1.0f - kr - kb;
    const float to_u = 1.0f / (2.0f * (1.0f - kb)), to_v = 1.0f / (2.0f * (1.0f - kr));
    const float scale = t.luma_span, offset = t.black, max_code = t.max_code;
    if (upper) {
        std::memset(sum_u, 0, sizeof(float) * width);
        std::memset(sum_v, 0, sizeof(float) * width);
    }
    for (int x = 0; x < width; ++x) {
        const float y = kr * red[x] + kg * green[x] + kb * blue[x];
        luma[x] = static_cast<T>(to_code(y * scale + offset, max_code));
        sum_u[x] += (blue[x] - y) * to_u;
        sum_v[x] += (red[x] - y) * to_v;
    }
}

template <class T>
void chroma_from_sums(const float* RESTRICT sums, int width, float scale, float offset, float max_code,
                      T* RESTRICT out) {
    for (int x = 0; x < width; ++x)
        out[x] = static_cast<T>(to_code((sums[2 * x] + sums[2 * x + 1]) * scale + offset, max_code));
}

template <class T>
void from_rgb(const uint8_t* bytes, const float* floats, Plane<T> y, Plane<T> u, Plane<T> v,
              const RgbTransform& transform, float* scratch) {
    const int width = y.width, room = width + 4;
    const ptrdiff_t plane = transform.planar ? static_cast<ptrdiff_t>(y.height) * width : 0;
    const ptrdiff_t pitch = transform.planar ? width : 3 * static_cast<ptrdiff_t>(width);
    const Affine affine{1.0f / transform.span, -transform.low / transform.span};
    for (int top = 0; top < y.height; top += 2) {
        const int rows = smaller(2, y.height - top);
        float* sum_u = scratch + 3 * room;
        float* sum_v = scratch + 4 * room;
        for (int row = 0; row < rows; ++row) {
            float* first = scratch;
            float* second = scratch + room;
            float* third = scratch + 2 * room;
            if (bytes)
                unit_rows(bytes + (top + row) * pitch, plane, width, affine, first, second, third);
            else
                unit_rows(floats + (top + row) * pitch, plane, width, affine, first, second, third);
            yuv_row(transform.reversed ? third : first, second, transform.reversed ? first : third, width, transform,
                    row == 0, y.data + (top + row) * y.stride, sum_u, sum_v);
        }
        if (width % 2) {  // a single last column counts twice
            sum_u[width] = sum_u[width - 1];
            sum_v[width] = sum_v[width - 1];
        }
        const float scale = transform.chroma_span / (2.0f * static_cast<float>(rows)), mid = transform.chroma_mid;
        chroma_from_sums(sum_u, u.width, scale, mid, transform.max_code, u.data + (top / 2) * u.stride);
        chroma_from_sums(sum_v, v.width, scale, mid, transform.max_code, v.data + (top / 2) * v.stride);
    }
}

#include "quarters.hpp"

// ---- guided upsample -----------------------------------------------------------------------------------------------

// `Factor` channel rows to one row, values * affine.
template <int Factor>
void interleave_channels(const float* in, ptrdiff_t plane, int groups, Affine affine, float* RESTRICT out) {
    const float scale = affine.scale, offset = affine.offset;
    const float* RESTRICT i0 = in;
    const float* RESTRICT i1 = in + plane;
    const float* RESTRICT i2 = in + (Factor == 4 ? 2 : 0) * plane;
    const float* RESTRICT i3 = in + (Factor == 4 ? 3 : 0) * plane;
    for (int x = 0; x < groups; ++x) {
        out[Factor * x] = i0[x] * scale + offset;
        out[Factor * x + 1] = i1[x] * scale + offset;
        if constexpr (Factor == 4) {
            out[4 * x + 2] = i2[x] * scale + offset;
            out[4 * x + 3] = i3[x] * scale + offset;
        }
    }
}

// Row y of a packed plane (Factor^2 channels of padded_height x padded_width) at `out`, `pad` edge samples around it.
template <int Factor>
void unpacked_row(const float* packed, int y, int width, int padded_height, int padded_width, int pad, Affine affine,
                  float* out) {
    const int groups = padded_width / Factor;
    const ptrdiff_t plane = static_cast<ptrdiff_t>(padded_height / Factor) * groups;
    interleave_channels<Factor>(packed + (y % Factor) * Factor * plane + static_cast<ptrdiff_t>(y / Factor) * groups,
                                plane, (width + Factor - 1) / Factor, affine, out);
    for (int i = 1; i <= pad; ++i) {
        out[-i] = out[0];
        out[width - 1 + i] = out[width - 1];
    }
}

ANIMEVID_INLINE float least(float a, float b) { return a < b ? a : b; }
ANIMEVID_INLINE float most(float a, float b) { return a > b ? a : b; }

void padded_edges(float* row, int width, int pad) {
    for (int i = 1; i <= pad; ++i) {
        row[-i] = row[0];
        row[width - 1 + i] = row[width - 1];
    }
}

// [-1, 1] -> [0, 1]
void half_and_half(const float* RESTRICT in, int count, float* RESTRICT out) {
    for (int x = 0; x < count; ++x) out[x] = in[x] * 0.5f + 0.5f;
}

// Columns of three: weighted sum [side, centre, side], minimum, maximum.
void three_rows(const float* RESTRICT upper, const float* RESTRICT middle, const float* RESTRICT lower, float side,
                ptrdiff_t count, float* RESTRICT sum, float* RESTRICT low, float* RESTRICT high) {
    const float centre = 1.0f - 2.0f * side;
    for (ptrdiff_t x = 0; x < count; ++x) {
        const float a = upper[x], b = middle[x], c = lower[x];
        sum[x] = side * (a + c) + centre * b;
        low[x] = least(b, least(a, c));
        high[x] = most(b, most(a, c));
    }
}

// One quarter of three_rows' results and their neighbours on the left and on the right.
struct Neighbours {
    Neighbours(const Quarters& quarters, const float* row, int k)
        : left(quarters.at(row, k - 1) - kMargin), here(quarters.at(row, k) - kMargin),
          right(quarters.at(row, k + 1) - kMargin) {}
    const float *left, *here, *right;
};

// middle + amount * (middle - its [1 2 1] x [1 2 1] / 16 mean), clamped to the range of its 3x3 neighbourhood.
void sharpened_quarter(const Neighbours sum, const Neighbours low, const Neighbours high, const float* RESTRICT middle,
                       ptrdiff_t count, float amount, float* RESTRICT out) {
    for (ptrdiff_t x = 0; x < count; ++x) {
        const float mean = 0.25f * (sum.left[x] + sum.right[x]) + 0.5f * sum.here[x];
        const float lowest = least(low.here[x], least(low.left[x], low.right[x]));
        const float highest = most(high.here[x], most(high.left[x], high.right[x]));
        out[x] = least(most(middle[x] + amount * (middle[x] - mean), lowest), highest);
    }
}

// Sums over 2 * Radius + 1 rows around each of two neighbouring rows, which share all but one: `rows` has 2 * Radius + 2.
// `Radius` 0: use the argument.
template <int Radius>
void sum_two(const float* const* rows, int radius, ptrdiff_t count, float* RESTRICT upper, float* RESTRICT lower) {
    if constexpr (Radius != 0) {
        const float* p[2 * Radius + 2];
        for (int k = 0; k < 2 * Radius + 2; ++k) p[k] = rows[k];
        for (ptrdiff_t x = 0; x < count; ++x) {
            float shared = p[1][x];
            for (int k = 2; k < 2 * Radius + 1; ++k) shared += p[k][x];
            upper[x] = p[0][x] + shared;
            lower[x] = shared + p[2 * Radius + 1][x];
        }
    } else {
        sum_rows<0>(rows, 2 * radius + 1, count, upper);
        sum_rows<0>(rows + 1, 2 * radius + 1, count, lower);
    }
}

// The same for products.
template <int Radius>
void multiply_two(const float* const* first, const float* const* second, int radius, ptrdiff_t count,
                  float* RESTRICT upper, float* RESTRICT lower) {
    if constexpr (Radius != 0) {
        const float* p[2 * Radius + 2];
        const float* q[2 * Radius + 2];
        for (int k = 0; k < 2 * Radius + 2; ++k) p[k] = first[k], q[k] = second[k];
        for (ptrdiff_t x = 0; x < count; ++x) {
            float shared = p[1][x] * q[1][x];
            for (int k = 2; k < 2 * Radius + 1; ++k) shared += p[k][x] * q[k][x];
            upper[x] = p[0][x] * q[0][x] + shared;
            lower[x] = shared + p[2 * Radius + 1][x] * q[2 * Radius + 1][x];
        }
    } else {
        std::memset(upper, 0, sizeof(float) * count);
        std::memset(lower, 0, sizeof(float) * count);
        for (int k = 0; k < 2 * radius + 1; ++k) {
            const float* RESTRICT a = first[k];
            const float* RESTRICT b = second[k];
            const float* RESTRICT c = first[k + 1];
            const float* RESTRICT d = second[k + 1];
            for (ptrdiff_t x = 0; x < count; ++x) {
                upper[x] += a[x] * b[x];
                lower[x] += c[x] * d[x];
            }
        }
    }
}

// Both for one field: its sums and those of its squares.
template <int Radius>
void square_two(const float* const* rows, int radius, ptrdiff_t count, float* RESTRICT upper, float* RESTRICT lower,
                float* RESTRICT upper_squares, float* RESTRICT lower_squares) {
    if constexpr (Radius != 0) {
        const float* p[2 * Radius + 2];
        for (int k = 0; k < 2 * Radius + 2; ++k) p[k] = rows[k];
        for (ptrdiff_t x = 0; x < count; ++x) {
            const float a = p[0][x], z = p[2 * Radius + 1][x];
            float shared = 0.0f, squares = 0.0f;
            for (int k = 1; k < 2 * Radius + 1; ++k) {
                const float b = p[k][x];
                shared += b;
                squares += b * b;
            }
            upper[x] = a + shared;
            lower[x] = shared + z;
            upper_squares[x] = a * a + squares;
            lower_squares[x] = squares + z * z;
        }
    } else {
        sum_two<0>(rows, radius, count, upper, lower);
        multiply_two<0>(rows, rows, radius, count, upper_squares, lower_squares);
    }
}

// Slope and offset of the local line P = slope * I + offset, from the moments' sums over a window.
void line_row(const float* RESTRICT sum_i, const float* RESTRICT sum_p, const float* RESTRICT sum_ii,
              const float* RESTRICT sum_ip, float weight, ptrdiff_t count, float epsilon, float* RESTRICT slope,
              float* RESTRICT offset) {
    for (ptrdiff_t x = 0; x < count; ++x) {
        const float i = sum_i[x] * weight, p = sum_p[x] * weight;
        const float a = (sum_ip[x] * weight - i * p) / (sum_ii[x] * weight - i * i + epsilon);
        slope[x] = a;
        offset[x] = p - a * i;
    }
}

// Slope and offset of slope * code + offset, from sums over windows.
void guided_row(const float* RESTRICT slopes, const float* RESTRICT offsets, float weight, ptrdiff_t count, float span,
                float black, float* RESTRICT slope, float* RESTRICT offset) {
    for (ptrdiff_t x = 0; x < count; ++x) {
        const float a = slopes[x] * weight;
        slope[x] = a;
        offset[x] = offsets[x] * (weight * span) + black - a * black;
    }
}

// A row, with one edge sample on each side, enlarged to the width of `columns`.
void enlarged_columns(const float* in, const Axis& columns, float* out) {
    if (is_identity(columns))
        std::memcpy(out, in, sizeof(float) * columns.target);
    else if (columns.target == 2 * columns.source)
        doubled_columns(in, columns.source, out);
    else if (columns.target == 3 * columns.source)
        tripled_columns(in, columns.source, out);
    else
        weighted_columns(in, columns, out);
}

// One row of the result between two small rows that are already enlarged: slopes, then offsets.
template <class T>
void upsampled_row(const T* RESTRICT full, const float* RESTRICT upper, const float* RESTRICT lower, float w0, float w1,
                   int width, float max_code, T* RESTRICT out) {
    const ptrdiff_t b = width;
    for (int x = 0; x < width; ++x) {
        const float value = (w0 * upper[x] + w1 * lower[x]) * full[x] + (w0 * upper[b + x] + w1 * lower[b + x]);
        out[x] = static_cast<T>(to_code(value, max_code));
    }
}

// The same at exactly twice the width, from one quarter of each small row, with a sample on each side. Two samples are
// read and written as one word, which avoids shuffles.
template <class T>
struct Pairs {
    using Word = std::conditional_t<sizeof(T) == 1, uint16_t, uint32_t>;
    static constexpr int kBits = 8 * sizeof(T), kFirst = kLittleEndian ? 0 : kBits, kSecond = kBits - kFirst;
    static constexpr int32_t kMask = (1 << kBits) - 1;

    static ANIMEVID_INLINE void read(const T* at, float& first, float& second) {
        const int32_t word = static_cast<int32_t>(load<Word>(at));
        first = static_cast<float>(word >> kFirst & kMask);
        second = static_cast<float>(word >> kSecond & kMask);
    }

    static ANIMEVID_INLINE void write(T* at, int32_t first, int32_t second) {
        const Word both =
            static_cast<Word>(static_cast<uint32_t>(first) << kFirst | static_cast<uint32_t>(second) << kSecond);
        std::memcpy(at, &both, sizeof both);
    }
};

ANIMEVID_INLINE float left_of(const float* row, int x) { return row[x - 1] + 3.0f * row[x]; }
ANIMEVID_INLINE float right_of(const float* row, int x) { return 3.0f * row[x] + row[x + 1]; }

template <class T>
void doubled_row(const T* RESTRICT full, const float* RESTRICT slope, const float* RESTRICT offset, int width,
                 float max_code, T* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        float first, second;
        Pairs<T>::read(full + 2 * x, first, second);
        Pairs<T>::write(out + 2 * x, to_code(left_of(slope, x) * first + left_of(offset, x), max_code),
                        to_code(right_of(slope, x) * second + right_of(offset, x), max_code));
    }
}

template <class T>
void doubled_row(const float* RESTRICT offset, int width, float max_code, T* RESTRICT out) {
    for (int x = 0; x < width; ++x)
        Pairs<T>::write(out + 2 * x, to_code(left_of(offset, x), max_code), to_code(right_of(offset, x), max_code));
}

void mixed_rows(const float* RESTRICT upper, const float* RESTRICT lower, float w0, float w1, ptrdiff_t count,
                float* RESTRICT out) {
    for (ptrdiff_t x = 0; x < count; ++x) out[x] = w0 * upper[x] + w1 * lower[x];
}

template <class T>
void mixed_row(const float* RESTRICT b0, const float* RESTRICT b1, float w0, float w1, int width, float max_code,
               T* RESTRICT out) {
    for (int x = 0; x < width; ++x) out[x] = static_cast<T>(to_code(w0 * b0[x] + w1 * b1[x], max_code));
}

template <int Radius, class T>
void upsample_luma_by(Plane<const T> full, const float* low_in, const float* low_out, Plane<T> target, const Axis& rows,
                  const Axis& columns, const UpsampleParameters& q, float* scratch) {
    const int height = q.height, width = q.width, r = q.radius, window = 2 * r + 1;
    const float weight = 1.0f / static_cast<float>(window * window);
    const Quarters quarters(width);
    const ptrdiff_t whole = quarters.whole(), quarter = quarters.pitch;
    float* memory = aligned(scratch);
    float* const first_row = memory;
    const Ring guide(memory, upsample_ring(r), quarters), net(memory, upsample_ring(r), quarters), raw(memory, 4, quarters);
    const Ring slopes(memory, upsample_ring(r), quarters), offsets(memory, upsample_ring(r), quarters);
    const Ring sums(memory, 8, quarters), windows(memory, 4, quarters), boxes(memory, 4, quarters);
    const Ring results(memory, 2, quarters);
    clear_margins(first_row, memory, quarters);
    std::memset(memory, 0, sizeof(float) * kQuarterRim);
    memory += kQuarterRim;
    // Slope and offset of the last two small rows, then a mean of the two.
    const ptrdiff_t pitch = upsample_pitch(width), wide_pitch = 2 * static_cast<ptrdiff_t>(target.width);
    float* fields = memory;
    std::memset(fields, 0, sizeof(float) * 6 * pitch);  // as margins
    float* wide = memory + 6 * pitch;  // the same at full width
    const bool doubled = columns.target == 2 * columns.source;

    // Row y of a packed frame on [0, 1], with as many margin samples as the steps need.
    const auto read = [&](const float* packed, int y, float* out) {
        const int groups = q.padded_width / 4;
        const ptrdiff_t plane = static_cast<ptrdiff_t>(q.padded_height / 4) * groups;
        const float* in = packed + y % 4 * 4 * plane + static_cast<ptrdiff_t>(y / 4) * groups;
        for (int k = 0; k < 4; ++k) half_and_half(in + k * plane, quarters.cells, quarters.at(out, k));
        quarters.extend(out, width, r);
    };
    int drawn = 0;     // finished rows of the guide and of the network's output
    int read_raw = 0;  // one row ahead of them
    const auto draw = [&](int y) {
        read(low_in, y, guide.row(y));
        if (q.sharpen <= 0.0f) return read(low_out, y, net.row(y));
        for (; read_raw < height && read_raw <= y + 1; ++read_raw) read(low_out, read_raw, raw.row(read_raw));
        float* sum = sums.row(0);
        float* low = sums.row(1);
        float* high = sums.row(2);
        const float* middle = raw.row(y);
        three_rows(raw.row(clamped(y - 1, height)) - kMargin, middle - kMargin, raw.row(clamped(y + 1, height)) - kMargin,
                   0.25f, whole, sum - kMargin, low - kMargin, high - kMargin);
        for (int k = 0; k < 4; ++k) {
            const Neighbours s(quarters, sum, k), l(quarters, low, k), h(quarters, high, k);
            sharpened_quarter(s, l, h, quarters.at(middle, k) - kMargin, quarter, q.sharpen,
                              quarters.at(net.row(y), k) - kMargin);
        }
        quarters.extend(net.row(y), width, r);
    };

    const float* rows_a[2 * kMaxRadius + 2];
    const float* rows_b[2 * kMaxRadius + 2];
    // Lines of rows y and, if it is in the frame, y + 1.
    const auto draw_lines = [&](int y) {
        for (int k = 0; k < window + 1; ++k) {
            const int row = clamped(y - r + k, height);
            rows_a[k] = guide.row(row) - kMargin;
            rows_b[k] = net.row(row) - kMargin;
        }
        float* sum[8];  // of I, P, I * I and I * P: of row y, then of y + 1
        for (int k = 0; k < 8; ++k) sum[k] = sums.row(k) - kMargin;
        square_two<Radius>(rows_a, r, whole, sum[0], sum[4], sum[2], sum[6]);
        multiply_two<Radius>(rows_a, rows_b, r, whole, sum[3], sum[7]);
        sum_two<Radius>(rows_b, r, whole, sum[1], sum[5]);
        for (int i = 0; i < smaller(2, height - y); ++i) {
            const float* in[4];
            for (int k = 0; k < 4; ++k) {
                box_columns<Radius>(quarters, r, sums.row(4 * i + k), windows.row(k));
                in[k] = windows.row(k) - kMargin;
            }
            float* a = slopes.row(y + i);
            float* b = offsets.row(y + i);
            line_row(in[0], in[1], in[2], in[3], weight, whole, q.epsilon, a - kMargin, b - kMargin);
            quarters.extend(a, width, r);
            quarters.extend(b, width, r);
        }
    };
    const Ring* const lines[] = {&slopes, &offsets};
    int done = 0;     // lines of rows below this one are finished
    int written = 0;  // rows of the target
    for (int y = 0; y < height; ++y) {
        if (y % 2 == 0) {
            for (; done < height && done <= y + 1 + r; done += 2) {
                for (; drawn <= clamped(done + 1 + r, height); ++drawn) draw(drawn);
                draw_lines(done);
            }
            for (int i = 0; i < 2; ++i) {
                for (int k = 0; k < window + 1; ++k) rows_a[k] = lines[i]->row(clamped(y - r + k, height)) - kMargin;
                sum_two<Radius>(rows_a, r, whole, boxes.row(i) - kMargin, boxes.row(2 + i) - kMargin);
            }
        }
        for (int i = 0; i < 2; ++i) box_columns<Radius>(quarters, r, boxes.row(y % 2 * 2 + i), windows.row(i));
        float* slope = results.row(0);
        float* offset = results.row(1);
        guided_row(windows.row(0) - kMargin, windows.row(1) - kMargin, weight, whole, q.luma_span, q.black,
                   slope - kMargin, offset - kMargin);
        const float* quartered[] = {slope, offset};
        for (int k = 0; k < 2; ++k) {
            float* row = fields + (y % 2 * 2 + k) * pitch + kQuarterRim;
            interleave_channels<4>(quartered[k], quarter, quarters.cells, Affine{1.0f, 0.0f}, row);
            padded_edges(row, width, 1);
            if (!doubled)
                enlarged_columns(row, columns, wide + y % 2 * wide_pitch + k * static_cast<ptrdiff_t>(target.width));
        }
        for (; written < target.height && rows.start[written] + rows.taps - 1 <= y; ++written) {
            const int upper = rows.start[written] % 2, lower = (rows.start[written] + rows.taps - 1) % 2;
            const float w0 = rows.weight[written], w1 = rows.taps == 2 ? rows.weight[rows.target + written] : 0.0f;
            const T* source = full.data + written * full.stride;
            T* out = target.data + written * target.stride;
            if (doubled) {
                float* mixed = fields + 4 * pitch;
                mixed_rows(fields + upper * 2 * pitch, fields + lower * 2 * pitch, 0.25f * w0, 0.25f * w1, 2 * pitch,
                           mixed);
                mixed += kQuarterRim;
                doubled_row(source, mixed, mixed + pitch, width, q.max_code, out);
            } else {
                upsampled_row(source, wide + upper * wide_pitch, wide + lower * wide_pitch, w0, w1, target.width,
                              q.max_code, out);
            }
        }
    }
}

template <class T>
void upsample_luma(Plane<const T> full, const float* low_in, const float* low_out, Plane<T> target, const Axis& rows,
               const Axis& columns, const UpsampleParameters& parameters, float* scratch) {
    switch (parameters.radius) {
        case 1: upsample_luma_by<1>(full, low_in, low_out, target, rows, columns, parameters, scratch); break;
        case 2: upsample_luma_by<2>(full, low_in, low_out, target, rows, columns, parameters, scratch); break;
        case 3: upsample_luma_by<3>(full, low_in, low_out, target, rows, columns, parameters, scratch); break;
        case 4: upsample_luma_by<4>(full, low_in, low_out, target, rows, columns, parameters, scratch); break;
        default: upsample_luma_by<0>(full, low_in, low_out, target, rows, columns, parameters, scratch); break;
    }
}

template <class T>
void upsample_chroma(const float* low_out, Plane<T> target, const Axis& rows, const Axis& columns, int padded_height,
                 int padded_width, Affine affine, float max_code, float* scratch) {
    const int width = columns.source;
    const ptrdiff_t pitch = width + 4;
    float* low = scratch + 1;  // the last two rows, and a mean of them
    float* wide = scratch + 3 * pitch;
    const bool doubled = columns.target == 2 * columns.source;
    int written = 0;
    for (int y = 0; y < rows.source; ++y) {
        unpacked_row<2>(low_out, y, width, padded_height, padded_width, 1, affine, low + y % 2 * pitch);
        if (!doubled)
            enlarged_columns(low + y % 2 * pitch, columns, wide + y % 2 * static_cast<ptrdiff_t>(target.width));
        for (; written < target.height && rows.start[written] + rows.taps - 1 <= y; ++written) {
            const int upper = rows.start[written] % 2, lower = (rows.start[written] + rows.taps - 1) % 2;
            const float w0 = rows.weight[written], w1 = rows.taps == 2 ? rows.weight[rows.target + written] : 0.0f;
            T* out = target.data + written * target.stride;
            if (doubled) {
                mixed_rows(low + upper * pitch - 1, low + lower * pitch - 1, 0.25f * w0, 0.25f * w1, width + 2,
                           low + 2 * pitch - 1);
                doubled_row(low + 2 * pitch, width, max_code, out);
            } else {
                mixed_row(wide + upper * static_cast<ptrdiff_t>(target.width),
                          wide + lower * static_cast<ptrdiff_t>(target.width), w0, w1, target.width, max_code, out);
            }
        }
    }
}

// ---- deflicker -----------------------------------------------------------------------------------------------------

#include "deflicker.hpp"

template <class T>
constexpr SampleKernels<T> table() {
    return {pack<T>, unpack<T>, resize<T>, blend<T>, difference<T>, to_rgb<T>, from_rgb<T>, upsample_luma<T>, upsample_chroma<T>};
}

}  // namespace

#define ANIMEVID_JOIN(a, b) a##b
#define ANIMEVID_TABLE(isa) ANIMEVID_JOIN(kernels_, isa)
#define ANIMEVID_TEXT_(isa) #isa
#define ANIMEVID_TEXT(isa) ANIMEVID_TEXT_(isa)

extern const Kernels ANIMEVID_TABLE(ANIMEVID_ISA);
const Kernels ANIMEVID_TABLE(ANIMEVID_ISA) = {ANIMEVID_TEXT(ANIMEVID_ISA), table<uint8_t>(), table<uint16_t>(), settle_input,
                                               settle};

}  // namespace animevid
