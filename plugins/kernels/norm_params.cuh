// Parameters and grid of the norm kernels, in plain C++ for the launching code.
// engine/animevid/gpu/kernels.py mirrors this.

#pragma once

namespace animevid {

struct NormParams {
    unsigned long long input, output;  // (groups, group_size), T; may be the same
    unsigned long long partials;       // float (groups, chunks, 3)
    unsigned long long scale, shift;   // float (channels)
    int channels, channel_size;        // a channel's samples: H * W
    int group_size;                    // samples normalized together: H * W, or C * H * W
    int chunks;                        // blocks that share a group
    float epsilon, slope;              // slope 1: no LeakyReLU
};

constexpr int kNormThreads = 256;
constexpr int kNormChunk = 16384;  // minimum number of samples per block of norm_statistics

// How many blocks share a group; the grid of both kernels is (chunks, groups), their block kNormThreads.
constexpr int norm_chunks(long long group_size) {
    const long long chunks = (group_size + kNormChunk - 1) / kNormChunk;
    return chunks < 1 ? 1 : chunks > kNormThreads ? kNormThreads : static_cast<int>(chunks);
}

}  // namespace animevid
