// IEEE 754 binary16 in software: what __half is to nvcc. Rounds to nearest even, as __float2half_rn does.

#pragma once

#include <cstdint>
#include <cstring>

namespace animevid {

struct Half {
    std::uint16_t bits;
};

inline float to_float(float value) { return value; }

inline float to_float(Half value) {
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
    std::uint32_t exponent = (value.bits >> 10) & 31u, mantissa = value.bits & 1023u, bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else if (mantissa == 0) {
        bits = sign;
    } else {  // subnormal: shift until the leading one is implicit
        exponent = 113;
        while (!(mantissa & 1024u)) {
            mantissa <<= 1;
            --exponent;
        }
        bits = sign | exponent << 23 | (mantissa & 1023u) << 13;
    }
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

template <typename T> T from_float(float value);
template <> inline float from_float<float>(float value) { return value; }
template <> inline Half from_float<Half>(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude >= 0x47800000u) {  // 65536 and above, infinity, NaN
        half = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    } else if (magnitude < 0x38800000u) {  // below 2^-14: subnormal
        // 2^-24 is the last bit. Adding 1/2 in binary32 puts it at the end of the mantissa and rounds to nearest even.
        float small, half_one = 0.5f;
        std::memcpy(&small, &magnitude, sizeof small);
        small += half_one;
        std::memcpy(&half, &small, sizeof half);
        half -= 0x3f000000u;
    } else {
        const std::uint32_t odd = (magnitude >> 13) & 1u;
        half = (magnitude - 0x38000000u + 0xfffu + odd) >> 13;
    }
    return Half{static_cast<std::uint16_t>(sign | half)};
}

}  // namespace animevid
