// The kernels as a shared library for the CPU: what tests load, and what the fake driver runs.

#include "../kernels.cuh"

#include <cstring>

namespace {

using Body = void (*)(const void*);
struct Entry {
    const char* name;
    std::size_t params_bytes;
    bool has_barriers;
    Body body;
};

#define AV_ENTRY(name, params, function, barriers)                  \
    {#name, sizeof(animevid::params), barriers, [](const void* p) { \
         animevid::function(*static_cast<const animevid::params*>(p)); }},

using namespace animevid;
const Entry ENTRIES[] = {AV_ALL_KERNELS(AV_ENTRY)};

const Entry* find(const char* name) {
    for (const Entry& entry : ENTRIES)
        if (std::strcmp(entry.name, name) == 0) return &entry;
    return nullptr;
}

thread_local char failure[256];

}  // namespace

extern "C" {

// The size of a kernel's parameters, so that the Python mirror of the structs can be checked; 0: no such kernel.
std::size_t animevid_params_bytes(const char* name) {
    const Entry* entry = find(name);
    return entry ? entry->params_bytes : 0;
}

// Run a kernel here and now. Null, or what went wrong, valid until this thread's next call.
const char* animevid_launch(const char* name, const unsigned grid[3], const unsigned block[3], const void* params,
                            unsigned long long seed) {
    const Entry* entry = find(name);
    if (entry == nullptr) return "there is no such kernel";
    try {
        animevid::cpu::Block runner;
        runner.grid = {grid[0], grid[1], grid[2]};
        runner.block = {block[0], block[1], block[2]};
        runner.run([&] { entry->body(params); }, entry->has_barriers, seed);
    } catch (const std::exception& error) {
        std::strncpy(failure, error.what(), sizeof failure - 1);
        return failure;
    }
    return nullptr;
}

}  // extern "C"
