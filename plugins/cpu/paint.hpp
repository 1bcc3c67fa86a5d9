// paint: the filters of the `painted` generators (flat areas, inked outlines) on what the network left under them, in one
// walk down the picture. ONNX Runtime takes some sixty passes over memory for the same operators.
//
// Part of kernels.cpp, which includes it once per instruction set. The readable twin is animevid/pixels/paint.py.
//
// Every stage keeps the last rows that it made in a ring and makes a row when a later stage asks for it, so that all of
// it stays in a core's second-level cache. Rows have room for kRim samples at both ends.

constexpr int kRim = kPaintRim;

class Ring {
public:
    Ring(float*& memory, int rows, ptrdiff_t pitch) : memory_(memory + kRim), rows_(rows), pitch_(pitch) {
        memory += rows * pitch;
    }
    // y may be as low as -kRim.
    float* row(int y) const { return memory_ + (y + kRim) % rows_ * pitch_; }

private:
    float* memory_;
    int rows_;
    ptrdiff_t pitch_;
};

ANIMEVID_INLINE void extend(float* row, int width) {
    for (int x = 1; x <= kRim; ++x) {
        row[-x] = row[0];
        row[width - 1 + x] = row[width - 1];
    }
}

// The luma of row y of a packed tensor of (height, width) pixels.
void packed_luma_row(const float* packed, int y, int height, int width, float* RESTRICT out) {
    const int cells = width / 4;
    const ptrdiff_t plane = static_cast<ptrdiff_t>(height / 4) * cells;
    const float* RESTRICT a = packed + (y % 4) * 4 * plane + static_cast<ptrdiff_t>(y / 4) * cells;
    const float* RESTRICT b = a + plane;
    const float* RESTRICT c = b + plane;
    const float* RESTRICT d = c + plane;
    for (int x = 0; x < cells; ++x) {
        out[4 * x] = a[x];
        out[4 * x + 1] = b[x];
        out[4 * x + 2] = c[x];
        out[4 * x + 3] = d[x];
    }
}

// Sum of 2 * Radius + 1 samples around each.
template <int Radius>
void box_columns(const float* RESTRICT in, int width, float* RESTRICT out) {
    for (int x = 0; x < width; ++x) {
        float sum = in[x - Radius];
        for (int k = 1 - Radius; k <= Radius; ++k) sum += in[x + k];
        out[x] = sum;
    }
}

template <int Radius>
void box_rows(const Ring& ring, int y, int height, int width, float factor, float* RESTRICT out) {
    const float* rows[2 * Radius + 1];
    for (int k = -Radius; k <= Radius; ++k) rows[k + Radius] = ring.row(clamped(y + k, height));
    for (int x = 0; x < width; ++x) {
        float sum = rows[0][x];
        for (int k = 1; k < 2 * Radius + 1; ++k) sum += rows[k][x];
        out[x] = sum * factor;
    }
}

void patch_rows(const float* RESTRICT a, const float* RESTRICT b, const float* RESTRICT c, const float* RESTRICT d,
                const float* RESTRICT e, int width, float* RESTRICT out) {
    for (int x = 0; x < width; ++x)
        out[x] = ((a[x] + e[x]) + 2.0f * (b[x] + d[x]) + 3.0f * c[x]) * (1.0f / 9.0f);
}

// (mean, mean of squares) -> (weight * mean, weight)
void weigh_row(int width, float* RESTRICT mean, float* RESTRICT square) {
    for (int x = 0; x < width; ++x) {
        float variance = square[x] - mean[x] * mean[x];
        variance = variance > 0.0f ? variance : 0.0f;
        float evenness = kPaintFloor / (variance + kPaintFloor);
        evenness *= evenness;
        evenness *= evenness;
        square[x] = evenness;
        mean[x] *= evenness;
    }
}

// One flattening (see kuwahara in animevid/pixels/paint.py): rows of `in` -> rows of `out`.
struct Flattening {
    Ring across, across_squares, weighted, weight;
    int distance;
    bool diagonal;
    int crossed = 0, weighed = -kPaintDistance, made = 0;

    Flattening(float*& memory, ptrdiff_t pitch, int distance_px, bool diagonal_)
        : across(memory, 8, pitch), across_squares(memory, 8, pitch), weighted(memory, 8, pitch),
          weight(memory, 8, pitch), distance(distance_px), diagonal(diagonal_) {}

    // Patches are a mean of means, 5 pixels wide: weights 1 2 3 2 1.
    void cross(const float* RESTRICT in, int width) {
        float* RESTRICT sum = across.row(crossed);
        float* RESTRICT squares = across_squares.row(crossed);
        constexpr float kNinth = 1.0f / 9.0f;
        for (int x = -distance; x < width + distance; ++x) {
            const float a = in[x - 2], b = in[x - 1], c = in[x], d = in[x + 1], e = in[x + 2];
            sum[x] = ((a + e) + 2.0f * (b + d) + 3.0f * c) * kNinth;
            squares[x] = ((a * a + e * e) + 2.0f * (b * b + d * d) + 3.0f * (c * c)) * kNinth;
        }
        ++crossed;
    }

    void weigh(int height, int width) {
        const auto nearby = [&](const Ring& ring, int step) {
            return ring.row(clamped(weighed + step, height)) - distance;
        };
        const float* sums[5];
        const float* squares[5];
        for (int k = 0; k < 5; ++k) {
            sums[k] = nearby(across, k - 2);
            squares[k] = nearby(across_squares, k - 2);
        }
        float* mean = weighted.row(weighed) - distance;
        float* evenness = weight.row(weighed) - distance;
        patch_rows(sums[0], sums[1], sums[2], sums[3], sums[4], width + 2 * distance, mean);
        patch_rows(squares[0], squares[1], squares[2], squares[3], squares[4], width + 2 * distance, evenness);
        weigh_row(width + 2 * distance, mean, evenness);
        ++weighed;
    }

    void make(int width, float* RESTRICT out) {
        const int d = distance, dx = diagonal ? d : 0;
        const float* RESTRICT up = weighted.row(made - d);
        const float* RESTRICT down = weighted.row(made + d);
        const float* RESTRICT here = weighted.row(made);
        const float* RESTRICT up_weight = weight.row(made - d);
        const float* RESTRICT down_weight = weight.row(made + d);
        const float* RESTRICT here_weight = weight.row(made);
        if (diagonal) {
            for (int x = 0; x < width; ++x)
                out[x] = (up[x - dx] + up[x + dx] + down[x - dx] + down[x + dx]) /
                         (up_weight[x - dx] + up_weight[x + dx] + down_weight[x - dx] + down_weight[x + dx]);
        } else {
            for (int x = 0; x < width; ++x)
                out[x] = (here[x - d] + here[x + d] + up[x] + down[x]) /
                         (here_weight[x - d] + here_weight[x + d] + up_weight[x] + down_weight[x]);
        }
        extend(out, width);
        ++made;
    }
};

// Where ink goes (see ink_lines in animevid/pixels/paint.py).
template <int InkRadius>
struct Inking {
    Ring across, darker, busy_across;
    InkParameters parameters;
    int crossed = 0, compared = 0, made = 0;

    Inking(float*& memory, ptrdiff_t pitch, const InkParameters& parameters_)
        : across(memory, 16, pitch), darker(memory, 16, pitch), busy_across(memory, 16, pitch),
          parameters(parameters_) {}

    void cross(const float* luma, int width) { box_columns<InkRadius>(luma, width, across.row(crossed++)); }

    void compare(const float* RESTRICT luma, int height, int width, float* RESTRICT scratch) {
        float* RESTRICT out = darker.row(compared);
        constexpr float kFactor = 1.0f / ((2 * InkRadius + 1) * (2 * InkRadius + 1));
        box_rows<InkRadius>(across, compared, height, width, kFactor, out);
        for (int x = 0; x < width; ++x) {
            out[x] -= luma[x];
            scratch[x] = out[x] < 0.0f ? -out[x] : out[x];
        }
        extend(scratch, width);
        box_columns<kPaintBusyRadius>(scratch, width, busy_across.row(compared));
        ++compared;
    }

    // ink = max(ink, this)
    void make(int height, int width, float* RESTRICT scratch, float* RESTRICT ink) {
        constexpr float kFactor = 1.0f / ((2 * kPaintBusyRadius + 1) * (2 * kPaintBusyRadius + 1));
        box_rows<kPaintBusyRadius>(busy_across, made, height, width, kFactor, scratch);
        const float* RESTRICT dark = darker.row(made);
        const float threshold = parameters.threshold, calm = parameters.calm, slope = parameters.slope;
        for (int x = 0; x < width; ++x) {
            float value = (dark[x] - threshold - calm * scratch[x]) * slope;
            value = value < 1.0f ? value : 1.0f;
            ink[x] = value > ink[x] ? value : ink[x];
        }
        ++made;
    }
};

template <int InkRadius>
struct Painting {
    const float* photo;
    const float* ground;
    const PaintParameters& q;
    ptrdiff_t pitch;
    float* memory;
    Ring lumas[kPaintMaxRounds + 1];  // before and after each flattening
    Ring photo_luma;
    Flattening flattenings[kPaintMaxRounds];
    Inking<InkRadius> outline, thin;
    float* rows;  // two of scratch
    int read = 0, read_photo = 0;

    Painting(const float* photo_, const float* ground_, const PaintParameters& q_, float* scratch)
        : photo(photo_), ground(ground_), q(q_), pitch(q_.width + 2 * kRim), memory(scratch),
          lumas{{memory, 32, pitch}, {memory, 32, pitch}, {memory, 32, pitch}, {memory, 32, pitch}, {memory, 32, pitch}},
          photo_luma(memory, 32, pitch),
          flattenings{{memory, pitch, q.distance, true}, {memory, pitch, q.distance, false},
                      {memory, pitch, q.distance, true}, {memory, pitch, q.distance, false}},
          outline(memory, pitch, q.outline), thin(memory, pitch, q.thin), rows(memory + kRim) {}

    // The luma of row y after `rounds` flattenings; y within the picture. Rows are asked for in order.
    const float* luma(int rounds, int y) {
        if (rounds == 0) {
            for (; read <= y; ++read) {
                float* RESTRICT row = lumas[0].row(read);
                packed_luma_row(ground, read, q.height, q.width, row);
                const float lift = q.lift;
                for (int x = 0; x < q.width; ++x) {
                    float value = row[x];
                    value = value > -1.0f ? value : -1.0f;
                    value = value < 1.0f ? value : 1.0f;
                    row[x] = value + lift * (1.0f - value * value);
                }
                extend(row, q.width);
            }
            return lumas[0].row(y);
        }
        Flattening& f = flattenings[rounds - 1];
        while (f.made <= y) {
            while (f.weighed <= f.made + f.distance) {
                const int needed = clamped(f.weighed + 2, q.height);
                while (f.crossed <= needed) f.cross(luma(rounds - 1, f.crossed), q.width);
                f.weigh(q.height, q.width);
            }
            f.make(q.width, lumas[rounds].row(f.made));
        }
        return lumas[rounds].row(y);
    }

    const float* photo_row(int y) {
        for (; read_photo <= y; ++read_photo) {
            float* row = photo_luma.row(read_photo);
            packed_luma_row(photo, read_photo, q.height, q.width, row);
            extend(row, q.width);
        }
        return photo_luma.row(y);
    }

    template <class Source>
    void ink_row(Inking<InkRadius>& inking, int y, Source&& source, float* ink) {
        while (inking.compared <= clamped(y + kPaintBusyRadius, q.height)) {
            while (inking.crossed <= clamped(inking.compared + InkRadius, q.height))
                inking.cross(source(inking.crossed), q.width);
            inking.compare(source(inking.compared), q.height, q.width, rows);
        }
        inking.make(q.height, q.width, rows, ink);
    }

    // 1 - ink of row y.
    void bare_row(int y, float* RESTRICT bare) {
        std::memset(bare, 0, sizeof(float) * q.width);
        ink_row(outline, y, [&](int row) { return luma(q.rounds, row); }, bare);
        ink_row(thin, y, [&](int row) { return photo_row(row); }, bare);
        for (int x = 0; x < q.width; ++x) bare[x] = 1.0f - bare[x];
    }
};

template <int InkRadius>
void paint_by(const float* photo, const float* ground, float* out, const PaintParameters& q, float* scratch) {
    Painting<InkRadius> painting(photo, ground, q, scratch);
    const int cells = q.width / 4;
    const ptrdiff_t plane = static_cast<ptrdiff_t>(q.height / 4) * cells;
    float* bare[2] = {painting.rows + painting.pitch, painting.rows + 2 * painting.pitch};
    for (int y = 0; y < q.height; ++y) {
        float* RESTRICT row = bare[y % 2];
        painting.bare_row(y, row);
        const float* RESTRICT luma = painting.luma(q.rounds, y);
        float* RESTRICT target = out + (y % 4) * 4 * plane + static_cast<ptrdiff_t>(y / 4) * cells;
        for (int k = 0; k < 4; ++k, target += plane)
            for (int x = 0; x < cells; ++x) target[x] = (luma[4 * x + k] + 1.0f) * row[4 * x + k] - 1.0f;
        if (y % 2 == 0) continue;
        // Chroma (2x2 cells of 2x2 pixels) fades under ink as its four pixels do on average.
        const float* RESTRICT upper = bare[0];
        const float* RESTRICT lower = bare[1];
        for (int k = 0; k < 2; ++k) {
            const ptrdiff_t u = (16 + (y / 2 % 2) * 2 + k) * plane + static_cast<ptrdiff_t>(y / 4) * cells;
            const ptrdiff_t v = u + 4 * plane;
            for (int x = 0; x < cells; ++x) {
                const int i = 4 * x + 2 * k;
                const float beside = (upper[i] + upper[i + 1] + lower[i] + lower[i + 1]) * 0.25f;
                out[u + x] = ground[u + x] * beside;
                out[v + x] = ground[v + x] * beside;
            }
        }
    }
}

void paint(const float* photo, const float* ground, float* out, const PaintParameters& parameters, float* scratch) {
    switch (parameters.ink_radius) {
        case 1: paint_by<1>(photo, ground, out, parameters, scratch); break;
        case 2: paint_by<2>(photo, ground, out, parameters, scratch); break;
        default: paint_by<3>(photo, ground, out, parameters, scratch); break;
    }
}
