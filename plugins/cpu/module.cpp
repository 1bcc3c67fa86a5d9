// animevid._native: checks shapes and types, releases the GIL, and calls the kernels on the arrays' memory.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "axis.hpp"
#include "kernels.hpp"

namespace nb = nanobind;

namespace {

using animevid::Affine;
using animevid::AxisWeights;
using animevid::Plane;

using InPlane = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
using OutPlane = nb::ndarray<nb::ndim<2>, nb::device::cpu>;
using InTensor = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using OutTensor = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using InWeights = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutWeights = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using InBytes = nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using OutBytes = nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

template <class T, class Array>
Plane<T> plane_of(const Array& array) {
    const int height = static_cast<int>(array.shape(0)), width = static_cast<int>(array.shape(1));
    if (height < 1 || width < 1 || array.dtype() != nb::dtype<std::remove_const_t<T>>() ||
        (width > 1 && array.stride(1) != 1))
        throw nb::type_error("planes are (H, W), not empty, all uint8 or all uint16, with contiguous rows");
    return {static_cast<T*>(array.data()), static_cast<std::ptrdiff_t>(array.stride(0)), height, width};
}

template <class Array>
bool is_bytes(const Array& array) {
    return array.dtype() == nb::dtype<std::uint8_t>();
}

// Calls f with a uint8_t or uint16_t value, whose type is that of the samples.
template <class Array, class F>
auto by_depth(const Array& array, F&& f) {
    return is_bytes(array) ? f(std::uint8_t{}) : f(std::uint16_t{});
}

template <class T>
const animevid::SampleKernels<T>& kernels() {
    if constexpr (sizeof(T) == 1)
        return animevid::active_kernels().bytes;
    else
        return animevid::active_kernels().words;
}

// Per thread, so that the rows stay in that core's cache and nothing is allocated per frame.
float* scratch(std::size_t floats) {
    static thread_local std::vector<float> memory;
    if (memory.size() < floats) memory.resize(floats);
    return memory.data();
}

void require(bool condition, const char* message) {
    if (!condition) throw nb::value_error(message);
}

template <class T>
void require_chroma(const Plane<T>& y, const Plane<T>& u, const Plane<T>& v) {
    const int height = (y.height + 1) / 2, width = (y.width + 1) / 2;
    require(u.height == height && u.width == width && v.height == height && v.width == width,
            "u and v must be (ceil(H / 2), ceil(W / 2))");
}

void pack_yuv420(const InPlane& y, const InPlane& u, const InPlane& v, const OutTensor& out, int height, int width,
                 float luma_scale, float luma_offset, float chroma_scale, float chroma_offset) {
    by_depth(y, [&](auto sample) {
        using T = decltype(sample);
        const Plane<const T> planes[] = {plane_of<const T>(y), plane_of<const T>(u), plane_of<const T>(v)};
        const int padded_height = static_cast<int>(out.shape(1)) * 4, padded_width = static_cast<int>(out.shape(2)) * 4;
        require_chroma(planes[0], planes[1], planes[2]);
        require(out.shape(0) == 24 && height >= 1 && width >= 1 && padded_height >= height && padded_width >= width,
                "out must be (24, H/4, W/4) with H, W at least height, width");
        float* target = out.data();
        const nb::gil_scoped_release release;
        const std::size_t plane = static_cast<std::size_t>(out.shape(1)) * out.shape(2);
        for (int i = 0; i < 3; ++i) {
            const int half = i == 0 ? 1 : 2;
            const AxisWeights rows(planes[i].height, (height + half - 1) / half);
            const AxisWeights columns(planes[i].width, (width + half - 1) / half);
            kernels<T>().pack(planes[i], rows.get(), columns.get(), i == 0 ? 4 : 2, target, padded_height / half,
                              padded_width / half,
                              i == 0 ? Affine{luma_scale, luma_offset} : Affine{chroma_scale, chroma_offset},
                              scratch(animevid::pack_scratch(planes[i].width, padded_width)));
            target += (i == 0 ? 16 : 4) * plane;
        }
    });
}

void unpack_yuv420(const InTensor& tensor, const OutPlane& y, const OutPlane& u, const OutPlane& v, float luma_scale,
                   float luma_offset, float chroma_scale, float chroma_offset, float max_code) {
    by_depth(y, [&](auto sample) {
        using T = decltype(sample);
        const Plane<T> planes[] = {plane_of<T>(y), plane_of<T>(u), plane_of<T>(v)};
        const int padded_height = static_cast<int>(tensor.shape(1)) * 4;
        const int padded_width = static_cast<int>(tensor.shape(2)) * 4;
        require_chroma(planes[0], planes[1], planes[2]);
        require(tensor.shape(0) == 24 && padded_height >= planes[0].height && padded_width >= planes[0].width,
                "the tensor must be (24, H/4, W/4) with H, W at least the planes'");
        const float* source = tensor.data();
        const nb::gil_scoped_release release;
        const std::size_t plane = static_cast<std::size_t>(tensor.shape(1)) * tensor.shape(2);
        for (int i = 0; i < 3; ++i) {
            const int half = i == 0 ? 1 : 2;
            kernels<T>().unpack(source, padded_height / half, padded_width / half, i == 0 ? 4 : 2, planes[i],
                                i == 0 ? Affine{luma_scale, luma_offset} : Affine{chroma_scale, chroma_offset}, max_code,
                                scratch(static_cast<std::size_t>(padded_width)));
            source += (i == 0 ? 16 : 4) * plane;
        }
    });
}

void resize_plane(const InPlane& source, const OutPlane& target) {
    by_depth(source, [&](auto sample) {
        using T = decltype(sample);
        const Plane<const T> in = plane_of<const T>(source);
        const Plane<T> out = plane_of<T>(target);
        const nb::gil_scoped_release release;
        const AxisWeights rows(in.height, out.height), columns(in.width, out.width);
        kernels<T>().resize(in, rows.get(), columns.get(), out,
                            scratch(static_cast<std::size_t>(in.width) + static_cast<std::size_t>(out.width)));
    });
}

void blend_plane(const InPlane& first, const InPlane& second, const OutPlane& target, int weight) {
    by_depth(first, [&](auto sample) {
        using T = decltype(sample);
        const Plane<const T> a = plane_of<const T>(first), b = plane_of<const T>(second);
        const Plane<T> out = plane_of<T>(target);
        require(a.height == b.height && a.width == b.width && a.height == out.height && a.width == out.width,
                "the planes must have one shape");
        require(weight >= 1 && weight <= 255, "weight must be 1 .. 255");
        const nb::gil_scoped_release release;
        kernels<T>().blend(a, b, out, weight);
    });
}

std::tuple<double, double, double, double> plane_difference(const InPlane& first, const InPlane& second, double scale) {
    return by_depth(first, [&](auto sample) {
        using T = decltype(sample);
        const Plane<const T> a = plane_of<const T>(first), b = plane_of<const T>(second);
        require(a.height == b.height && a.width == b.width, "the planes must have one shape");
        const nb::gil_scoped_release release;
        const animevid::Difference d = kernels<T>().difference(a, b, scratch(3 * static_cast<std::size_t>(a.width)));
        return std::make_tuple(d.largest * scale, d.block_absolute * scale, d.block_signed * scale, d.mean * scale);
    });
}

template <class T, class Array>
void require_rgb(const Plane<T>& y, const Array& rgb, bool planar) {
    const auto height = static_cast<std::size_t>(y.height), width = static_cast<std::size_t>(y.width);
    require(planar ? rgb.shape(0) == 3 && rgb.shape(1) == height && rgb.shape(2) == width
                   : rgb.shape(0) == height && rgb.shape(1) == width && rgb.shape(2) == 3,
            "RGB must be (3, H, W) where planar, else (H, W, 3), of the luma's size");
}

std::uint8_t* bytes_of(const OutBytes& array) { return array.data(); }
std::uint8_t* bytes_of(const OutTensor&) { return nullptr; }
const std::uint8_t* bytes_of(const InBytes& array) { return array.data(); }
const std::uint8_t* bytes_of(const InTensor&) { return nullptr; }
float* floats_of(const OutTensor& array) { return array.data(); }
float* floats_of(const OutBytes&) { return nullptr; }
const float* floats_of(const InTensor& array) { return array.data(); }
const float* floats_of(const InBytes&) { return nullptr; }

template <class Array>
void yuv420_to_rgb(const InPlane& y, const InPlane& u, const InPlane& v, const Array& out, bool planar, bool reversed,
                   float kr, float kb, float black, float luma_span, float chroma_mid, float chroma_span, float span,
                   float low) {
    const animevid::RgbTransform transform{kr,          kb,          black, luma_span, chroma_mid,
                                           chroma_span, span,        low,   0.0f,      planar,
                                           reversed};
    by_depth(y, [&](auto sample) {
        using T = decltype(sample);
        const Plane<const T> luma = plane_of<const T>(y), cb = plane_of<const T>(u), cr = plane_of<const T>(v);
        require_chroma(luma, cb, cr);
        require_rgb(luma, out, planar);
        const nb::gil_scoped_release release;
        kernels<T>().to_rgb(luma, cb, cr, bytes_of(out), floats_of(out), transform,
                            scratch(7 * static_cast<std::size_t>(luma.width + 4)));
    });
}

template <class Array>
void rgb_to_yuv420(const Array& rgb, const OutPlane& y, const OutPlane& u, const OutPlane& v, bool planar,
                   bool reversed, float kr, float kb, float black, float luma_span, float chroma_mid, float chroma_span,
                   float span, float low, float max_code) {
    const animevid::RgbTransform transform{kr,          kb,   black, luma_span, chroma_mid,
                                           chroma_span, span, low,   max_code,  planar,
                                           reversed};
    by_depth(y, [&](auto sample) {
        using T = decltype(sample);
        const Plane<T> luma = plane_of<T>(y), cb = plane_of<T>(u), cr = plane_of<T>(v);
        require_chroma(luma, cb, cr);
        require_rgb(luma, rgb, planar);
        const nb::gil_scoped_release release;
        kernels<T>().from_rgb(bytes_of(rgb), floats_of(rgb), luma, cb, cr, transform,
                              scratch(8 * static_cast<std::size_t>(luma.width + 4)));
    });
}

void guided_upsample(const InPlane& full_y, const InTensor& low_in, const InTensor& low_out, const OutPlane& y,
                     const OutPlane& u, const OutPlane& v, int height, int width, float epsilon, int radius,
                     float sharpen, float black, float luma_span, float chroma_mid, float chroma_span, float max_code) {
    by_depth(full_y, [&](auto sample) {
        using T = decltype(sample);
        const Plane<const T> full = plane_of<const T>(full_y);
        const Plane<T> planes[] = {plane_of<T>(y), plane_of<T>(u), plane_of<T>(v)};
        require_chroma(planes[0], planes[1], planes[2]);
        require(full.height == planes[0].height && full.width == planes[0].width, "y must have the size of full_y");
        for (int axis = 0; axis < 3; ++axis)
            require(low_in.shape(axis) == low_out.shape(axis), "low_in and low_out must have one shape");
        const int padded_height = static_cast<int>(low_out.shape(1)) * 4;
        const int padded_width = static_cast<int>(low_out.shape(2)) * 4;
        require(low_out.shape(0) == 24 && height >= 1 && width >= 1 && height <= padded_height && width <= padded_width,
                "the tensors must be (24, h/4, w/4) with h, w at least height, width");
        require(height <= full.height && width <= full.width, "the network's frame must not be larger than the full");
        require(radius >= 1 && radius <= animevid::kMaxRadius, "radius must be 1 .. 16");
        const float* in = low_in.data();
        const float* out = low_out.data();
        const nb::gil_scoped_release release;
        const animevid::UpsampleParameters parameters{
            height, width, padded_height, padded_width, radius, epsilon, sharpen, black, luma_span, max_code};
        const AxisWeights rows(height, full.height), columns(width, full.width);
        kernels<T>().upsample_luma(full, in, out, planes[0], rows.get(), columns.get(), parameters,
                               scratch(animevid::upsample_scratch(width, radius, full.width)));
        const AxisWeights chroma_rows((height + 1) / 2, planes[1].height);
        const AxisWeights chroma_columns((width + 1) / 2, planes[1].width);
        const std::size_t plane = static_cast<std::size_t>(low_out.shape(1)) * low_out.shape(2);
        for (int i = 1; i < 3; ++i)
            kernels<T>().upsample_chroma(out + (12 + 4 * i) * plane, planes[i], chroma_rows.get(), chroma_columns.get(),
                                     padded_height / 2, padded_width / 2, Affine{chroma_span / 2, chroma_mid}, max_code,
                                     scratch(3 * static_cast<std::size_t>(chroma_columns.get().source + 4) +
                                             2 * static_cast<std::size_t>(planes[i].width)));
    });
}

float settle_input(const InTensor& before, const OutTensor& now, const InWeights& earlier, const OutWeights& weights,
                   float code, float still, float moving, float least, float fading) {
    for (int axis = 0; axis < 3; ++axis) require(before.shape(axis) == now.shape(axis), "before and now must have one shape");
    for (int axis = 0; axis < 2; ++axis)
        require(weights.shape(axis) == now.shape(axis + 1) && earlier.shape(axis) == now.shape(axis + 1),
                "weights and earlier must be (H, W) of now");
    require(now.shape(0) >= 1 && now.shape(1) >= 1 && now.shape(2) >= 1, "the tensors must not be empty");
    require(moving > still && code > 0, "moving must exceed still, and code 0");
    const float* old = before.data();
    float* target = now.data();
    const float* faded = earlier.data();
    float* out = weights.data();
    const int channels = static_cast<int>(now.shape(0)), height = static_cast<int>(now.shape(1)),
              width = static_cast<int>(now.shape(2));
    const animevid::DeflickerParameters parameters{code, still, moving, least, fading};
    const nb::gil_scoped_release release;
    return animevid::active_kernels().settle_input(old, target, faded, out, channels, height, width, parameters,
                                                   scratch(animevid::deflicker_scratch(width)));
}

void settle(const InTensor& before, const InWeights& weights, const OutTensor& now) {
    for (int axis = 0; axis < 3; ++axis) require(before.shape(axis) == now.shape(axis), "before and now must have one shape");
    require(weights.shape(0) == now.shape(1) && weights.shape(1) == now.shape(2), "weights must be (H, W) of now");
    const float* old = before.data();
    const float* in = weights.data();
    float* target = now.data();
    const int channels = static_cast<int>(now.shape(0)), height = static_cast<int>(now.shape(1)),
              width = static_cast<int>(now.shape(2));
    const nb::gil_scoped_release release;
    animevid::active_kernels().settle(old, in, target, channels, height, width);
}

std::vector<std::string> instruction_sets() {
    const char* names[8];
    const int count = animevid::available_kernels(names, 8);
    return {names, names + count};
}

std::string instruction_set() { return animevid::active_kernels().name; }

void use_instruction_set(const std::string& name) {
    require(animevid::select_kernels(name.empty() ? nullptr : name.c_str()),
            "no such instruction set on this machine; see instruction_sets()");
}

}  // namespace

NB_MODULE(_native, m) {
    using namespace nb::literals;
    m.doc() = "Compiled kernels of animevid.pixels. Call them through that package, which checks arguments.";
    // Refuse arrays of another type or layout: a converted copy of `out` would be written and lost.
    const auto exact = nb::arg().noconvert();
    const auto number = nb::arg();
    m.def("pack_yuv420", &pack_yuv420, exact, exact, exact, exact, number, number, number, number, number, number);
    m.def("unpack_yuv420", &unpack_yuv420, exact, exact, exact, exact, number, number, number, number, number);
    m.def("resize_plane", &resize_plane, exact, exact);
    m.def("blend_plane", &blend_plane, exact, exact, exact, number);
    m.def("plane_difference", &plane_difference, exact, exact, number);
    m.def("yuv420_to_rgb", &yuv420_to_rgb<OutBytes>, exact, exact, exact, exact, number, number, number, number, number,
          number, number, number, number, number);
    m.def("yuv420_to_rgb", &yuv420_to_rgb<OutTensor>, exact, exact, exact, exact, number, number, number, number,
          number, number, number, number, number, number);
    m.def("rgb_to_yuv420", &rgb_to_yuv420<InBytes>, exact, exact, exact, exact, number, number, number, number, number,
          number, number, number, number, number, number);
    m.def("rgb_to_yuv420", &rgb_to_yuv420<InTensor>, exact, exact, exact, exact, number, number, number, number, number,
          number, number, number, number, number, number);
    m.def("guided_upsample", &guided_upsample, exact, exact, exact, exact, exact, exact, number, number, number, number,
          number, number, number, number, number, number);
    m.def("settle_input", &settle_input, exact, exact, exact, exact, number, number, number, number, number);
    m.def("settle", &settle, exact, exact, exact);
    m.def("instruction_sets", &instruction_sets, "What this machine can run, best first.");
    m.def("instruction_set", &instruction_set, "What is in use.");
    m.def("use_instruction_set", &use_instruction_set, "name"_a, "For tests and benchmarks; '' takes the best.");
}
