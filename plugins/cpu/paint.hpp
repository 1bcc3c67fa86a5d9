// paint: the filters of the `painted` generators (flat areas, inked outlines) on what the network left under them, in one
// walk down the picture. ONNX Runtime takes some sixty passes over memory for the same operators.
//
// Part of kernels.cpp, which includes it once per instruction set. The readable twin is animevid/pixels/paint.py.
//
// Every stage keeps the last rows that it made in a ring and makes a row when a later stage asks for it, so that all of
// it stays in a core's second-level cache. Rows are in quarters (quarters.hpp); what is computed in their margins beyond
// the rim is never read for a pixel.

// Sums of 15 samples: three whole cells and three samples more.
void busy_quarters(const float* RESTRICT a, const float* RESTRICT b, const float* RESTRICT c, const float* RESTRICT d,
                   const float* RESTRICT whole, int cells, float* RESTRICT sum_a, float* RESTRICT sum_b,
                   float* RESTRICT sum_c, float* RESTRICT sum_d) {
    for (int x = 0; x < cells; ++x) {
        const float middle = whole[x - 1] + whole[x] + whole[x + 1];
        const float one_before = d[x - 2], two_before = c[x - 2] + one_before;
        const float one_after = a[x + 2], two_after = one_after + b[x + 2];
        sum_a[x] = middle + (b[x - 2] + two_before);
        sum_b[x] = middle + (two_before + one_after);
        sum_c[x] = middle + (one_before + two_after);
        sum_d[x] = middle + (two_after + c[x + 2]);
    }
}

void sum_of_four(const float* RESTRICT a, const float* RESTRICT b, const float* RESTRICT c, const float* RESTRICT d,
                 ptrdiff_t count, float* RESTRICT out) {
    for (ptrdiff_t x = 0; x < count; ++x) out[x] = (a[x] + b[x]) + (c[x] + d[x]);
}

constexpr int kPaintRim = 8;  // samples around a row: at least kPaintBusyRadius and kPaintDistance + 4

// As box_columns for a radius of seven. scratch: a quarter.
void busy_columns(const Quarters& quarters, const float* in, float* scratch, float* out) {
    static_assert(kPaintBusyRadius == 7, "");
    const ptrdiff_t pitch = quarters.pitch;
    sum_of_four(in - kMargin, in + pitch - kMargin, in + 2 * pitch - kMargin, in + 3 * pitch - kMargin, pitch,
                scratch - kMargin);
    busy_quarters(in, in + pitch, in + 2 * pitch, in + 3 * pitch, scratch, quarters.cells, out, out + pitch,
                  out + 2 * pitch, out + 3 * pitch);
}

// Patches are a mean of means, 5 pixels wide: weights 1 2 3 2 1 over 9.
ANIMEVID_INLINE float patch(float a, float b, float c, float d, float e) {
    return (a + e) + 2.0f * (b + d) + 3.0f * c;
}

void patch_rows(const float* RESTRICT a, const float* RESTRICT b, const float* RESTRICT c, const float* RESTRICT d,
                const float* RESTRICT e, ptrdiff_t count, float* RESTRICT sums, float* RESTRICT squares) {
    for (ptrdiff_t x = 0; x < count; ++x) {
        sums[x] = patch(a[x], b[x], c[x], d[x], e[x]);
        squares[x] = patch(a[x] * a[x], b[x] * b[x], c[x] * c[x], d[x] * d[x], e[x] * e[x]);
    }
}

// Column sums of patches -> (weight * mean, weight)
void weigh_quarter(const float* const* RESTRICT sums, const float* const* RESTRICT squares, ptrdiff_t count,
                   float* RESTRICT weighted, float* RESTRICT weight) {
    const float* RESTRICT s0 = sums[0];
    const float* RESTRICT s1 = sums[1];
    const float* RESTRICT s2 = sums[2];
    const float* RESTRICT s3 = sums[3];
    const float* RESTRICT s4 = sums[4];
    const float* RESTRICT q0 = squares[0];
    const float* RESTRICT q1 = squares[1];
    const float* RESTRICT q2 = squares[2];
    const float* RESTRICT q3 = squares[3];
    const float* RESTRICT q4 = squares[4];
    constexpr float kFloor = 81.0f * kPaintFloor;
    for (ptrdiff_t x = 0; x < count; ++x) {
        const float sum = patch(s0[x], s1[x], s2[x], s3[x], s4[x]), mean = sum * (1.0f / 81.0f);
        float variance = patch(q0[x], q1[x], q2[x], q3[x], q4[x]) - sum * mean;  // 81 times that
        variance = variance > 0.0f ? variance : 0.0f;
        float evenness = kFloor / (variance + kFloor);
        evenness *= evenness;
        evenness *= evenness;
        weight[x] = evenness;
        weighted[x] = mean * evenness;
    }
}

// Sums of four weighted means over sums of their weights.
void mixed_quarter(const float* const* RESTRICT weighted, const float* const* RESTRICT weights, ptrdiff_t count,
                   float* RESTRICT out) {
    const float* RESTRICT a = weighted[0];
    const float* RESTRICT b = weighted[1];
    const float* RESTRICT c = weighted[2];
    const float* RESTRICT d = weighted[3];
    const float* RESTRICT wa = weights[0];
    const float* RESTRICT wb = weights[1];
    const float* RESTRICT wc = weights[2];
    const float* RESTRICT wd = weights[3];
    for (ptrdiff_t x = 0; x < count; ++x)
        out[x] = ((a[x] + b[x]) + (c[x] + d[x])) / ((wa[x] + wb[x]) + (wc[x] + wd[x]));
}

// One flattening (see _flattened_ref in animevid/pixels/paint.py): rows of `in` -> rows of `out`.
struct Flattening {
    Ring weighted, weight;
    int distance = 0;
    bool diagonal = false;
    int weighed = -kPaintDistance, made = 0;

    Flattening() = default;
    Flattening(float*& memory, const Quarters& quarters, int distance_px, bool diagonal_)
        : weighted(memory, 8, quarters), weight(memory, 8, quarters), distance(distance_px), diagonal(diagonal_) {}

    // scratch: two rows.
    void weigh(const Ring& in, int height, const Quarters& quarters, const Ring& scratch) {
        const float* rows[5];
        for (int k = 0; k < 5; ++k) rows[k] = in.row(clamped(weighed + k - 2, height)) - kMargin;
        float* sums = scratch.row(0);
        float* squares = scratch.row(1);
        patch_rows(rows[0], rows[1], rows[2], rows[3], rows[4], quarters.whole(), sums - kMargin, squares - kMargin);
        for (int k = 0; k < 4; ++k) {
            const float* s[5];
            const float* q[5];
            for (int step = 0; step < 5; ++step) {
                s[step] = quarters.at(sums, k + step - 2) - kMargin;
                q[step] = quarters.at(squares, k + step - 2) - kMargin;
            }
            weigh_quarter(s, q, quarters.pitch, quarters.at(weighted.row(weighed), k) - kMargin,
                          quarters.at(weight.row(weighed), k) - kMargin);
        }
        ++weighed;
    }

    void make(const Quarters& quarters, float* out) {
        const int d = distance;
        for (int k = 0; k < 4; ++k) {
            const float* means[4];
            const float* weights[4];
            for (int i = 0; i < 4; ++i) {
                const int sign = i % 2 ? d : -d, dx = diagonal || i < 2 ? sign : 0;
                const int dy = diagonal ? (i < 2 ? -d : d) : (i < 2 ? 0 : sign);
                means[i] = quarters.at(weighted.row(made + dy), k + dx);
                weights[i] = quarters.at(weight.row(made + dy), k + dx);
            }
            mixed_quarter(means, weights, quarters.cells, quarters.at(out, k));
        }
        quarters.extend(out, 4 * quarters.cells, kPaintRim);
        ++made;
    }
};

// How much darker a row is than the mean of (2 * Radius + 1)^2 samples around, and the size of that.
template <int Radius>
void compared_row(const float* const* rows, const float* RESTRICT luma, ptrdiff_t count, float* RESTRICT darker,
                  float* RESTRICT magnitude) {
    constexpr int kSide = 2 * Radius + 1;
    constexpr float kFactor = 1.0f / (kSide * kSide);
    const float* p[kSide];
    for (int k = 0; k < kSide; ++k) p[k] = rows[k];
    for (ptrdiff_t x = 0; x < count; ++x) {
        float sum = p[0][x];
        for (int k = 1; k < kSide; ++k) sum += p[k][x];
        const float difference = sum * kFactor - luma[x];
        darker[x] = difference;
        magnitude[x] = difference < 0.0f ? -difference : difference;
    }
}

// What is left of the paper: 1 - slope * (darker - threshold - calm * busy), not yet held in [0, 1].
ANIMEVID_INLINE float bare_of(float darker, float busy, const InkParameters& q) {
    return (1.0f + q.slope * q.threshold) - q.slope * darker + (q.slope * q.calm) * busy;
}

void bare_row(const float* RESTRICT darker, InkParameters q, ptrdiff_t count, float* RESTRICT out) {
    for (ptrdiff_t x = 0; x < count; ++x) out[x] = bare_of(darker[x], 0.0f, q);
}

// `busy`: six rows that add up to the 15 x 15 samples around.
void busy_bare_row(const float* RESTRICT darker, const float* const* RESTRICT busy, InkParameters q, ptrdiff_t count,
                   float* RESTRICT out) {
    const float* RESTRICT a = busy[0];
    const float* RESTRICT b = busy[1];
    const float* RESTRICT c = busy[2];
    const float* RESTRICT d = busy[3];
    const float* RESTRICT e = busy[4];
    const float* RESTRICT f = busy[5];
    q.calm *= 1.0f / ((2 * kPaintBusyRadius + 1) * (2 * kPaintBusyRadius + 1));
    for (ptrdiff_t x = 0; x < count; ++x)
        out[x] = bare_of(darker[x], ((a[x] + b[x]) + (c[x] + d[x])) + (e[x] + f[x]), q);
}

// Luma under both inks, whichever is more; and what both leave, in place of what the first does. `least` and
// `other_least` are what each leaves at the least, 1 - opacity.
void inked_quarter(const float* RESTRICT luma, const float* RESTRICT other, float least, float other_least, int cells,
                   float* RESTRICT bare, float* RESTRICT out) {
    for (int x = 0; x < cells; ++x) {
        const float one = bare[x] > least ? bare[x] : least, two = other[x] > other_least ? other[x] : other_least;
        float left = one < two ? one : two;
        left = left < 1.0f ? left : 1.0f;
        bare[x] = left;
        out[x] = (luma[x] + 1.0f) * left - 1.0f;
    }
}

void faded_quarter(const float* RESTRICT a, const float* RESTRICT b, const float* RESTRICT c, const float* RESTRICT d,
                   const float* RESTRICT in, int cells, float* RESTRICT out) {
    for (int x = 0; x < cells; ++x) out[x] = in[x] * (((a[x] + b[x]) + (c[x] + d[x])) * 0.25f);
}

// Where ink goes (see _ink_ref in animevid/pixels/paint.py).
template <int InkRadius>
struct Inking {
    Ring across, darker, busy_across, busy_groups;
    InkParameters parameters;
    int crossed = 0, compared = 0, grouped = 0, made = 0;

    Inking(float*& memory, const Quarters& quarters, const InkParameters& parameters_)
        : across(memory, 8, quarters), darker(memory, 8, quarters), busy_across(memory, 16, quarters),
          busy_groups(memory, 4, quarters), parameters(parameters_) {}

    bool minds_busy() const { return parameters.calm != 0.0f; }

    void cross(const Quarters& quarters, const float* luma) {
        box_columns<InkRadius>(quarters, InkRadius, luma, across.row(crossed++));
    }

    // scratch: two rows.
    void compare(const Quarters& quarters, const float* luma, int height, const Ring& scratch) {
        const float* rows[2 * InkRadius + 1];
        for (int k = -InkRadius; k <= InkRadius; ++k)
            rows[k + InkRadius] = across.row(clamped(compared + k, height)) - kMargin;
        compared_row<InkRadius>(rows, luma - kMargin, quarters.whole(), darker.row(compared) - kMargin,
                                scratch.row(0) - kMargin);
        if (minds_busy()) {
            quarters.extend(scratch.row(0), 4 * quarters.cells, kPaintRim);
            busy_columns(quarters, scratch.row(0), scratch.row(1), busy_across.row(compared));
        }
        ++compared;
    }

    void make(int height, const Quarters& quarters, float* bare) {
        const ptrdiff_t count = quarters.whole();
        const float* dark = darker.row(made) - kMargin;
        if (!minds_busy()) {
            bare_row(dark, parameters, count, bare - kMargin);
            ++made;
            return;
        }
        // 15 rows are three groups of four and three rows more, counted from row -8 on; beyond the edges they repeat.
        const int top = made + 8 - kPaintBusyRadius, group = (top + 3) / 4;
        const auto at = [&](int row) { return busy_across.row(clamped(row - 8, height)) - kMargin; };
        for (; grouped < group + 3; ++grouped)
            sum_of_four(at(4 * grouped), at(4 * grouped + 1), at(4 * grouped + 2), at(4 * grouped + 3), count,
                        busy_groups.row(grouped) - kMargin);
        const float* busy[6];
        for (int k = 0; k < 3; ++k) {
            busy[k] = busy_groups.row(group + k) - kMargin;
            busy[3 + k] = at(top + k < 4 * group ? top + k : top + k + 12);
        }
        busy_bare_row(dark, busy, parameters, count, bare - kMargin);
        ++made;
    }
};

template <int InkRadius>
struct Painting {
    const float* photo;
    const float* ground;
    const PaintParameters& q;
    Quarters quarters;
    float* memory;
    Ring scratch;  // two rows
    Ring bare;     // 1 - ink of the last two rows
    Ring photo_luma;
    Ring lumas[kPaintMaxRounds + 1];  // before and after each flattening
    Flattening flattenings[kPaintMaxRounds];
    Inking<InkRadius> outline, thin;
    int read = 0, read_photo = 0;

    Painting(const float* photo_, const float* ground_, const PaintParameters& q_, float* memory_)
        : photo(photo_), ground(ground_), q(q_), quarters(q_.width), memory(aligned(memory_)),
          scratch(memory, 2, quarters), bare(memory, 2, quarters), photo_luma(memory, 8, quarters),
          outline(memory, quarters, q.outline), thin(memory, quarters, q.thin) {
        for (int k = 0; k <= q.rounds; ++k) lumas[k] = Ring(memory, k < q.rounds ? 8 : 16, quarters);
        for (int k = 0; k < q.rounds; ++k) flattenings[k] = Flattening(memory, quarters, q.distance, k % 2 == 0);
        clear_margins(aligned(memory_), memory, quarters);
        std::memset(memory, 0, sizeof(float) * kQuarterRim);
    }

    // Quarter k of row y of a packed tensor.
    ptrdiff_t packed(int y, int k) const {
        const ptrdiff_t plane = static_cast<ptrdiff_t>(q.height / 4) * quarters.cells;
        return (y % 4 * 4 + k) * plane + static_cast<ptrdiff_t>(y / 4) * quarters.cells;
    }

    // Makes the luma of rows up to y after `rounds` flattenings; y within the picture.
    void make_luma(int rounds, int y) {
        if (rounds == 0) {
            for (; read <= y; ++read) {
                float* row = lumas[0].row(read);
                const float lift = q.lift;
                for (int k = 0; k < 4; ++k) {
                    const float* RESTRICT in = ground + packed(read, k);
                    float* RESTRICT out = quarters.at(row, k);
                    for (int x = 0; x < quarters.cells; ++x) {
                        float value = in[x];
                        value = value > -1.0f ? value : -1.0f;
                        value = value < 1.0f ? value : 1.0f;
                        out[x] = value + lift * (1.0f - value * value);
                    }
                }
                quarters.extend(row, q.width, kPaintRim);
            }
            return;
        }
        Flattening& f = flattenings[rounds - 1];
        while (f.made <= y) {
            while (f.weighed <= f.made + f.distance) {
                make_luma(rounds - 1, clamped(f.weighed + 2, q.height));
                f.weigh(lumas[rounds - 1], q.height, quarters, scratch);
            }
            f.make(quarters, lumas[rounds].row(f.made));
        }
    }

    const float* luma(int y) {
        make_luma(q.rounds, y);
        return lumas[q.rounds].row(y);
    }

    const float* photo_row(int y) {
        for (; read_photo <= y; ++read_photo) {
            float* row = photo_luma.row(read_photo);
            for (int k = 0; k < 4; ++k)
                std::memcpy(quarters.at(row, k), photo + packed(read_photo, k), sizeof(float) * quarters.cells);
            quarters.extend(row, q.width, kPaintRim);
        }
        return photo_luma.row(y);
    }

    template <class Source>
    void ink_row(Inking<InkRadius>& inking, int y, Source&& source, float* left) {
        const int ahead = inking.minds_busy() ? kPaintBusyRadius : 0;
        while (inking.compared <= clamped(y + ahead, q.height)) {
            while (inking.crossed <= clamped(inking.compared + InkRadius, q.height))
                inking.cross(quarters, source(inking.crossed));
            inking.compare(quarters, source(inking.compared), q.height, scratch);
        }
        inking.make(q.height, quarters, left);
    }

    void luma_row(int y, float* out) {
        float* row = bare.row(y);
        float* other = scratch.row(0);
        ink_row(outline, y, [&](int at) { return luma(at); }, row);
        ink_row(thin, y, [&](int at) { return photo_row(at); }, other);
        for (int k = 0; k < 4; ++k)
            inked_quarter(quarters.at(luma(y), k), quarters.at(other, k), 1.0f - q.outline.opacity,
                          1.0f - q.thin.opacity, quarters.cells, quarters.at(row, k), out + packed(y, k));
    }

    // Chroma (2x2 cells of 2x2 pixels) fades under ink as its four pixels do on average. y is odd.
    void chroma_row(int y, float* out) const {
        const ptrdiff_t plane = static_cast<ptrdiff_t>(q.height / 4) * quarters.cells;
        for (int k = 0; k < 2; ++k) {
            const float* a = quarters.at(bare.row(y - 1), 2 * k);
            const float* b = quarters.at(bare.row(y - 1), 2 * k + 1);
            const float* c = quarters.at(bare.row(y), 2 * k);
            const float* d = quarters.at(bare.row(y), 2 * k + 1);
            const ptrdiff_t u = (16 + y / 2 % 2 * 2 + k) * plane + static_cast<ptrdiff_t>(y / 4) * quarters.cells;
            const ptrdiff_t v = u + 4 * plane;
            faded_quarter(a, b, c, d, ground + u, quarters.cells, out + u);
            faded_quarter(a, b, c, d, ground + v, quarters.cells, out + v);
        }
    }
};

template <int InkRadius>
void paint_by(const float* photo, const float* ground, float* out, const PaintParameters& q, float* scratch) {
    Painting<InkRadius> painting(photo, ground, q, scratch);
    for (int y = 0; y < q.height; ++y) {
        painting.luma_row(y, out);
        if (y % 2 == 1) painting.chroma_row(y, out);
    }
}

void paint(const float* photo, const float* ground, float* out, const PaintParameters& parameters, float* scratch) {
    switch (parameters.ink_radius) {
        case 1: paint_by<1>(photo, ground, out, parameters, scratch); break;
        case 2: paint_by<2>(photo, ground, out, parameters, scratch); break;
        default: paint_by<3>(photo, ground, out, parameters, scratch); break;
    }
}
