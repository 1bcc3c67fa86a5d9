// Rows of small frames in the layout of packed tensors: four quarters, each with every fourth sample. So reading and
// writing need no shuffles, and most loads of the neighbours of eight samples are aligned.
//
// Part of kernels.cpp, which includes it once per instruction set.

// Sample x is cell x / 4 of quarter x % 4. Each quarter has kMargin cells before its first one and at least as many after
// its last, so that one loop over four pitches, from the first margin on, covers the whole row.
constexpr int kMargin = 8;
static_assert(kQuarterRim == 2 * kMargin, "");

struct Quarters {
    int cells;
    ptrdiff_t pitch;  // from quarter to quarter

    explicit Quarters(int width) : cells((width + 3) / 4), pitch(quarter_pitch(width)) {}

    ptrdiff_t whole() const { return 4 * pitch; }

    // The samples at distance `x` to the right of quarter 0; x is at least -16.
    float* at(float* row, int x) const { return row + (x + 16) % 4 * pitch + ((x + 16) / 4 - 4); }
    const float* at(const float* row, int x) const { return row + (x + 16) % 4 * pitch + ((x + 16) / 4 - 4); }

    // Repeats the first and the last sample of a row `reach` times.
    void extend(float* row, int width, int reach) const {
        const float first = row[0], last = *at(row, width - 1);
        for (int x = 1; x <= reach; ++x) {
            *at(row, -x) = first;
            *at(row, width - 1 + x) = last;
        }
    }
};

// The first cache line boundary at or after `memory`. Skips up to 15 floats.
inline float* aligned(float* memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    return memory + (64 - address % 64) % 64 / sizeof(float);
}

// A ring buffer of the last rows of a frame; their number is a power of two.
class Ring {
public:
    Ring() = default;
    Ring(float*& memory, int rows, const Quarters& quarters)
        : memory_(memory + kQuarterRim + kMargin), mask_(rows - 1), pitch_(quartered_row(quarters)) {
        memory += rows * pitch_;
    }
    // y may be negative, but not below -64.
    float* row(int y) const { return memory_ + ((y + 64) & mask_) * pitch_; }

    static ptrdiff_t quartered_row(const Quarters& quarters) { return quarters.whole() + kQuarterRim; }

private:
    float* memory_ = nullptr;
    int mask_ = 0;
    ptrdiff_t pitch_ = 0;
};

// Stale values in the margins of rows might be subnormal numbers, which are slow.
inline void clear_margins(float* first, const float* end, const Quarters& quarters) {
    for (float* row = first; row < end; row += Ring::quartered_row(quarters)) {
        float* quarter = row + kQuarterRim + kMargin;
        std::memset(row, 0, sizeof(float) * (kQuarterRim + kMargin));
        for (int k = 0; k < 4; ++k, quarter += quarters.pitch)
            std::memset(quarter + quarters.cells, 0, sizeof(float) * (quarters.pitch - quarters.cells - (k == 3 ? kMargin : 0)));
    }
}

// Sums of `Count` rows; 0: of `rows_count` rows.
template <int Count>
void sum_rows(const float* const* rows, int rows_count, ptrdiff_t count, float* RESTRICT out) {
    if constexpr (Count != 0) {
        const float* p[Count];
        for (int k = 0; k < Count; ++k) p[k] = rows[k];
        for (ptrdiff_t x = 0; x < count; ++x) {
            float sum = p[0][x];
            for (int k = 1; k < Count; ++k) sum += p[k][x];
            out[x] = sum;
        }
    } else {
        std::memset(out, 0, sizeof(float) * count);
        for (int k = 0; k < rows_count; ++k) {
            const float* RESTRICT p = rows[k];
            for (ptrdiff_t x = 0; x < count; ++x) out[x] += p[x];
        }
    }
}

// Sums of the five samples around each one, for all four quarters at once.
void five_columns(const float* RESTRICT a, const float* RESTRICT b, const float* RESTRICT c, const float* RESTRICT d,
                  ptrdiff_t count, float* RESTRICT sum_a, float* RESTRICT sum_b, float* RESTRICT sum_c,
                  float* RESTRICT sum_d) {
    for (ptrdiff_t x = 0; x < count; ++x) {
        const float ab = a[x] + b[x], cd = c[x] + d[x], before = d[x - 1], after = a[x + 1];
        sum_a[x] = (c[x - 1] + before) + (ab + c[x]);
        sum_b[x] = before + (ab + cd);
        sum_c[x] = (ab + cd) + after;
        sum_d[x] = (b[x] + cd) + (after + b[x + 1]);
    }
}

// Sums of the 2 * Radius + 1 samples around each one; 0: use `radius`.
template <int Radius>
void box_columns(const Quarters& quarters, int radius, const float* in, float* out) {
    if constexpr (Radius == 2) {
        const float* first = in - kMargin;
        float* sums = out - kMargin;
        const ptrdiff_t pitch = quarters.pitch;
        five_columns(first, first + pitch, first + 2 * pitch, first + 3 * pitch, pitch, sums, sums + pitch,
                     sums + 2 * pitch, sums + 3 * pitch);
        return;
    }
    const int r = Radius ? Radius : radius;
    const float* shifted[2 * kMaxRadius + 1];
    for (int k = 0; k < 4; ++k) {
        for (int step = -r; step <= r; ++step) shifted[step + r] = quarters.at(in, k + step) - kMargin;
        sum_rows<Radius ? 2 * Radius + 1 : 0>(shifted, 2 * r + 1, quarters.pitch, quarters.at(out, k) - kMargin);
    }
}
