// deflicker: cells that only noise changed follow the input slowly (animevid/pixels/deflicker.py has the formulas and
// the readable references). Part of kernels.cpp, which includes it once per instruction set.

// now = before + weight * (now - before), a row of cells of one channel.
ANIMEVID_INLINE void settle_row(const float* RESTRICT before, const float* RESTRICT weight, int width,
                                float* RESTRICT now) {
    for (int x = 0; x < width; ++x) now[x] = before[x] + weight[x] * (now[x] - before[x]);
}

void settle(const float* before, const float* weights, float* now, int channels, int height, int width) {
    const ptrdiff_t plane = static_cast<ptrdiff_t>(height) * width;
    for (int c = 0; c < channels; ++c)
        for (int y = 0; y < height; ++y)
            settle_row(before + c * plane + y * width, weights + y * width, width, now + c * plane + y * width);
}

// Root mean square over the channels of the change of row y, in codes.
void change_row(const float* before, const float* now, int y, int channels, int height, int width, float code,
                float* RESTRICT change) {
    const ptrdiff_t plane = static_cast<ptrdiff_t>(height) * width;
    std::memset(change, 0, sizeof(float) * static_cast<std::size_t>(width));
    for (int c = 0; c < channels; ++c) {
        const float* RESTRICT a = before + c * plane + static_cast<ptrdiff_t>(y) * width;
        const float* RESTRICT b = now + c * plane + static_cast<ptrdiff_t>(y) * width;
        for (int x = 0; x < width; ++x) change[x] += (b[x] - a[x]) * (b[x] - a[x]);
    }
    const float factor = 1.0f / (static_cast<float>(channels) * code * code);
    for (int x = 0; x < width; ++x) change[x] = sqrtf(change[x] * factor);
}

float settle_input(const float* before, float* now, const float* earlier, float* weights, int channels, int height, int width,
                   const DeflickerParameters& q, float* scratch) {
    const ptrdiff_t plane = static_cast<ptrdiff_t>(height) * width;
    float* changes[3];  // of three rows, with a margin of one cell at both ends; then a scratch row
    for (int k = 0; k < 3; ++k) changes[k] = scratch + k * (width + 2) + 1;
    float* RESTRICT largest = scratch + 3 * (width + 2) + 1;
    int histogram[kDeflickerBins] = {};
    const auto measure = [&](int y) {
        float* row = changes[y % 3];
        change_row(before, now, y, channels, height, width, q.code, row);
        for (int x = 0; x < width; ++x) {
            const float bin = row[x] * kDeflickerBinsPerCode;
            ++histogram[bin < kDeflickerBins - 1 ? static_cast<int>(bin) : kDeflickerBins - 1];
        }
        row[-1] = row[0];
        row[width] = row[width - 1];
    };
    measure(0);
    for (int y = 0; y < height; ++y) {
        if (y + 1 < height) measure(y + 1);
        const float* RESTRICT above = changes[clamped(y - 1, height) % 3];
        const float* RESTRICT here = changes[y % 3];
        const float* RESTRICT below = changes[clamped(y + 1, height) % 3];
        for (int x = -1; x <= width; ++x) {
            const float most = above[x] > here[x] ? above[x] : here[x];
            largest[x] = below[x] > most ? below[x] : most;
        }
        float* RESTRICT weight = weights + static_cast<ptrdiff_t>(y) * width;
        const float* RESTRICT was = earlier + static_cast<ptrdiff_t>(y) * width;
        const float scale = 1.0f / (q.moving - q.still), least = q.least, fading = q.fading;
        for (int x = 0; x < width; ++x) {
            float most = largest[x - 1] > largest[x] ? largest[x - 1] : largest[x];
            most = kDeflickerNeighbour * (largest[x + 1] > most ? largest[x + 1] : most);
            most = here[x] > most ? here[x] : most;
            float share = (most - q.still) * scale;
            share = share > 0.0f ? share : 0.0f;
            share = share < 1.0f ? share : 1.0f;
            share = least + (1.0f - least) * (share * share * (3.0f - 2.0f * share));
            const float faded = was[x] * fading;
            weight[x] = faded > share ? faded : share;
        }
        for (int c = 0; c < channels; ++c) {
            const ptrdiff_t row = c * plane + static_cast<ptrdiff_t>(y) * width;
            settle_row(before + row, weight, width, now + row);
        }
    }
    // Row y + 1 is measured before row y is filtered, so that changes are those of the unfiltered frame.
    const ptrdiff_t quiet = static_cast<ptrdiff_t>(kDeflickerQuiet * static_cast<float>(plane));
    ptrdiff_t seen = 0;
    int bin = 0;
    for (; bin < kDeflickerBins - 1; ++bin) {
        seen += histogram[bin];
        if (seen > quiet) break;
    }
    return static_cast<float>(bin) / kDeflickerBinsPerCode;
}
