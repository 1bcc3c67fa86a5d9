// Weights of one axis of a separable resize: area average to shrink, bilinear to enlarge.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels.hpp"

namespace animevid {

class AxisWeights {
public:
    AxisWeights(int source, int target) {
        axis_.source = source;
        axis_.target = target;
        if (target <= source)
            area();
        else
            bilinear();
        axis_.start = start_.data();
        axis_.weight = weight_.data();
    }
    AxisWeights(const AxisWeights&) = delete;
    AxisWeights& operator=(const AxisWeights&) = delete;

    const Axis& get() const { return axis_; }

private:
    // Target sample i covers [i * source, (i + 1) * source) in units of 1 / target source samples: integers, so exact.
    void area() {
        const std::int64_t source = axis_.source, target = axis_.target;
        axis_.uniform = source % target == 0;
        int taps = 1;
        for (std::int64_t i = 0; i < target; ++i)
            taps = std::max(taps, static_cast<int>(((i + 1) * source + target - 1) / target - i * source / target));
        allocate(taps);
        for (std::int64_t i = 0; i < target; ++i) {
            const std::int64_t begin = i * source, end = begin + source;
            const std::int64_t start = std::min(begin / target, source - taps);
            start_[i] = static_cast<std::int32_t>(start);
            for (int k = 0; k < taps; ++k) {
                const std::int64_t low = std::max((start + k) * target, begin);
                const std::int64_t high = std::min((start + k + 1) * target, end);
                const std::int64_t overlap = std::max<std::int64_t>(high - low, 0);
                weight_[k * target + i] = static_cast<float>(static_cast<double>(overlap) / static_cast<double>(source));
            }
        }
    }

    // Sample centres are at i + 1/2; the edge samples are repeated beyond the edges.
    void bilinear() {
        const int taps = std::min(axis_.source, 2);
        axis_.uniform = false;
        allocate(taps);
        const double ratio = static_cast<double>(axis_.source) / axis_.target;
        for (int i = 0; i < axis_.target; ++i) {
            const double position = std::clamp((i + 0.5) * ratio - 0.5, 0.0, static_cast<double>(axis_.source - 1));
            const int start = std::min(static_cast<int>(position), axis_.source - taps);
            start_[i] = start;
            weight_[i] = taps == 1 ? 1.0f : static_cast<float>(1.0 - (position - start));
            if (taps == 2) weight_[axis_.target + i] = static_cast<float>(position - start);
        }
    }

    void allocate(int taps) {
        axis_.taps = taps;
        start_.resize(axis_.target);
        weight_.resize(static_cast<std::size_t>(taps) * axis_.target);
    }

    Axis axis_{};
    std::vector<std::int32_t> start_;
    std::vector<float> weight_;
};

}  // namespace animevid
