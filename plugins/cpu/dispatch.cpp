// Picks the table of kernels for this machine.

#include <atomic>
#include <cstring>

#include "kernels.hpp"

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

namespace animevid {

extern const Kernels kernels_baseline;
#if defined(ANIMEVID_X86_64)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

namespace {

#if defined(ANIMEVID_X86_64)
#if defined(_MSC_VER)
bool supports(int leaf7_ebx_mask, int xcr0_mask) {
    int regs[4];
    __cpuidex(regs, 0, 0);
    if (regs[0] < 7) return false;
    __cpuidex(regs, 1, 0);
    const bool fma = regs[2] & 1 << 12, osxsave = regs[2] & 1 << 27;
    __cpuidex(regs, 7, 0);
    return fma && osxsave && (regs[1] & leaf7_ebx_mask) == leaf7_ebx_mask &&
           (static_cast<int>(_xgetbv(0)) & xcr0_mask) == xcr0_mask;
}
bool has_avx2() { return supports(1 << 5, 0x6); }
bool has_avx512() { return supports(1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | static_cast<int>(1u << 31), 0xe6); }
#else
// x86-64-v3 and -v4, spelled out: older compilers lack the names.
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif
#endif

constexpr int kMaxTables = 3;

int usable(const Kernels** tables) {  // best first
    int count = 0;
#if defined(ANIMEVID_X86_64)
    if (has_avx512()) tables[count++] = &kernels_avx512;
    if (has_avx2()) tables[count++] = &kernels_avx2;
#endif
    tables[count++] = &kernels_baseline;
    return count;
}

const Kernels* best() {
    const Kernels* tables[kMaxTables];
    usable(tables);
    return tables[0];
}

std::atomic<const Kernels*>& active() {
    static std::atomic<const Kernels*> kernels{best()};
    return kernels;
}

}  // namespace

const Kernels& active_kernels() { return *active().load(std::memory_order_relaxed); }

bool select_kernels(const char* name) {
    const Kernels* tables[kMaxTables];
    const int count = usable(tables);
    for (int i = 0; i < count; ++i) {
        if (name == nullptr || std::strcmp(tables[i]->name, name) == 0) {
            active().store(tables[i], std::memory_order_relaxed);
            return true;
        }
    }
    return false;
}

int available_kernels(const char** names, int capacity) {
    const Kernels* tables[kMaxTables];
    const int count = usable(tables);
    for (int i = 0; i < count && i < capacity; ++i) names[i] = tables[i]->name;
    return count < capacity ? count : capacity;
}

}  // namespace animevid
