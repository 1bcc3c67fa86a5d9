// Rows of small pictures, kept as packed tensors have them: four quarters, each of every fourth sample. Nothing is
// shuffled on the way in or out, and the neighbours of eight samples are loads that lie aligned, most of them.
//
// Part of kernels.cpp, which includes it once per instruction set.

// Sample x is cell x / 4 of quarter x % 4. Each quarter has kMargin cells before its first one and at least as many after
// its last, so that one loop of four pitches, from the first margin on, takes the whole row.
constexpr int kMargin = 8;
static_assert(kQuarterRim == 2 * kMargin, "");

struct Quarters {
    int cells;
    ptrdiff_t pitch;  // from quarter to quarter

    explicit Quarters(int width) : cells((width + 3) / 4), pitch(quarter_pitch(width)) {}

    ptrdiff_t whole() const { return 4 * pitch; }

    // Where the samples `x` to the right of quarter 0 begin; x at least -16.
    float* at(float* row, int x) const { return row + (x + 16) % 4 * pitch + ((x + 16) / 4 - 4); }
    const float* at(const float* row, int x) const { return row + (x + 16) % 4 * pitch + ((x + 16) / 4 - 4); }

    // Repeats the first and the last sample of a row of whole cells, two cells wide.
    void extend(float* row) const {
        const float first = row[0], last = row[3 * pitch + cells - 1];
        for (int k = 0; k < 4; ++k) {
            float* quarter = row + k * pitch;
            quarter[-2] = quarter[-1] = first;
            quarter[cells] = quarter[cells + 1] = last;
        }
    }
};

// The first address from `memory` on where a cache line begins. Takes up to 15 floats.
inline float* aligned(float* memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    return memory + (64 - address % 64) % 64 / sizeof(float);
}

// The last rows of a picture; as many as a power of two.
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
