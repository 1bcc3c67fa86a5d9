// A CUDA driver for tests, without a GPU: libcuda.so.1 as far as animevid calls it.
//
// Submitting runs nothing. Every stream is a queue; work runs only while a thread waits (for a stream or an event, or
// queries one), one item at a time, from a stream that a seeded generator picks among those whose next item may run. So
// every order that streams and events allow happens for some seed: a host buffer that is read before its event, or
// overwritten before its copy ran, gives a wrong frame.
//
// Kernels are those of plugins/kernels, run on the CPU. Device memory is host memory, filled with 0xCB when allocated.
// Captured graphs are lists of work. Not modelled: several contexts, peers, textures, capture across streams.
//
// It refuses the same calls as the real driver, with the same status: calls in a thread without a current context or with
// a destroyed one, unknown flags, copies beyond an allocation, launches beyond the limits of the hardware, an image
// without code for this GPU, and calls that are not allowed while a stream is captured.

#include "../kernels/cpu/library.cpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fake {

enum Status { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
              INVALID_CONTEXT = 201, NO_BINARY = 209, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
              CONTEXT_GONE = 709, LAUNCH_FAILED = 719, UNSUPPORTED = 801, CAPTURE_UNSUPPORTED = 900,
              CAPTURE_INVALIDATED = 901 };

struct Event {
    unsigned long long recorded = 0, reached = 0;  // how often; done when equal
    bool timed = true, blocking = false;
    std::chrono::steady_clock::time_point at;      // when it was last reached
};
struct Work {
    std::function<bool()> may_run;
    std::function<void()> run;
    bool calls_out = false;  // into the tests' Python, which may wait for a thread that waits for this one: runs unlocked
};
struct Graph {
    std::vector<std::function<void(struct Stream&)>> submissions;
    bool invalid = false;  // a call that cannot be captured was made
};
struct Stream {
    std::deque<Work> queue;
    Graph* capturing = nullptr;
    bool busy = false;  // a thread is in its calls_out work
};
struct Function {
    std::string name;
};

std::recursive_mutex lock;
std::set<Stream*> streams;
Stream* default_stream() {
    static Stream* const stream = new Stream;  // the default stream, used for example by FFmpeg's decoders
    return stream;
}
struct Allocation {
    std::size_t bytes;
    bool on_device;
};
std::map<std::uintptr_t, Allocation> allocations;
std::map<std::string, Function> functions;
std::size_t memory_limit = SIZE_MAX, memory_used = 0;
std::mt19937_64 chance(0);
int failing_status = 0;       // the status of every call once the device is lost
long long launches_left = -1;  // until it is lost; -1: never
int driver_version = 13000;
int compute_capability = 86;
int failing_captures = 0;  // this many of the next captures fail
long long busy_waits = 0;  // for events, with a thread that spins
long long launched = 0, graphs_launched = 0, executed_while_waiting = 0;

// The primary context: there is one device. What a thread has current is a stack, as FFmpeg pushes and pops it.
int context_users = 0;
unsigned context_flags = 0;
thread_local std::vector<void*> contexts;
// The stream that this thread captures, in the mode "thread local", which forbids some calls meanwhile.
thread_local Graph* captured_here = nullptr;

int context_trouble() {
    if (contexts.empty() || contexts.back() == nullptr) return INVALID_CONTEXT;
    return context_users > 0 ? SUCCESS : CONTEXT_GONE;
}
int not_while_capturing() {
    if (captured_here == nullptr) return SUCCESS;
    captured_here->invalid = true;
    return CAPTURE_UNSUPPORTED;
}

// Run one item of one stream, or wait for a thread that runs one. False: nothing may run. The lock is held once.
bool step() {
    std::vector<Stream*> ready;
    std::vector<Stream*> all(streams.begin(), streams.end());
    all.push_back(default_stream());
    bool any_busy = false;
    for (Stream* stream : all) any_busy |= stream->busy;
    for (Stream* stream : all)
        if (!stream->busy && !stream->queue.empty() && (!stream->queue.front().may_run || stream->queue.front().may_run()))
            ready.push_back(stream);
    if (ready.empty()) {
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
        return any_busy;
    }
    Stream* chosen = ready[chance() % ready.size()];
    Work work = std::move(chosen->queue.front());
    chosen->queue.pop_front();
    if (work.calls_out) {
        chosen->busy = true;
        lock.unlock();
        work.run();
        lock.lock();
        chosen->busy = false;
    } else {
        work.run();
    }
    ++executed_while_waiting;
    return true;
}

int submit(Stream* stream, std::function<void()> run, std::function<bool()> may_run = nullptr, bool calls_out = false) {
    if (failing_status) return failing_status;
    if (stream == nullptr) stream = default_stream();
    if (stream != default_stream() && streams.count(stream) == 0) return INVALID_HANDLE;
    if (stream->capturing)
        stream->capturing->submissions.push_back([=](Stream& target) { target.queue.push_back({may_run, run, calls_out}); });
    else
        stream->queue.push_back({may_run, run, calls_out});
    return SUCCESS;
}

}  // namespace fake

using namespace fake;
#define REFUSE_IF(trouble) \
    if (const int refused = (trouble)) return refused
#define GUARD                                         \
    std::lock_guard<std::recursive_mutex> hold(lock); \
    if (failing_status) return failing_status;        \
    REFUSE_IF(context_trouble())
// The status of calls that are not allowed while this thread captures.
#define GUARD_UNCAPTURED \
    GUARD;               \
    REFUSE_IF(not_while_capturing())

// ---- for tests --------------------------------------------------------------------------------------------------

EXPORT void fake_seed(unsigned long long seed) { chance.seed(seed); }
EXPORT void fake_memory_limit(unsigned long long bytes) { memory_limit = bytes; }
// The number of waiting items in all streams.
EXPORT long long fake_waiting() {
    std::lock_guard<std::recursive_mutex> hold(lock);
    std::size_t waiting = 0;
    for (const Stream* stream : streams) waiting += stream->queue.size();
    waiting += default_stream()->queue.size();
    return static_cast<long long>(waiting);
}
EXPORT void fake_lose_device_after(long long launches) { launches_left = launches; }
EXPORT void fake_driver_version(int version) { driver_version = version; }
EXPORT void fake_compute_capability(int major_minor) { compute_capability = major_minor; }
EXPORT void fake_fail_captures(int captures) { failing_captures = captures; }
EXPORT long long fake_busy_waits() { return busy_waits; }
EXPORT long long fake_launched() { return launched; }
EXPORT long long fake_graphs_launched() { return graphs_launched; }
EXPORT unsigned long long fake_memory_used() { return memory_used; }
EXPORT long long fake_streams() { return static_cast<long long>(streams.size()); }

// ---- the driver -------------------------------------------------------------------------------------------------

EXPORT int cuInit(unsigned) { return SUCCESS; }
EXPORT int cuDriverGetVersion(int* version) { return *version = driver_version, SUCCESS; }
EXPORT int cuDeviceGetCount(int* count) { return *count = 1, SUCCESS; }
EXPORT int cuDeviceGet(int* device, int index) {
    if (index != 0) return INVALID_DEVICE;
    return *device = 0, SUCCESS;
}
EXPORT int cuDeviceGetName(char* name, int length, int) {
    std::strncpy(name, "Fake GPU for tests", length);
    return SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
    // The attributes that animevid and PyCUDA query: capability, threads of a block, sides of blocks and grids, shared memory, warp,
    // registers, multiprocessors, threads of one.
    static const std::map<int, int> known = {{1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 0x7FFFFFFF}, {6, 65535},
                                             {7, 65535}, {8, 49152}, {10, 32}, {12, 65536}, {16, 30}, {39, 1536}};
    const auto found = known.find(attribute);
    *value = attribute == 75   ? compute_capability / 10
             : attribute == 76 ? compute_capability % 10
                               : found != known.end() ? found->second : 0;
    return SUCCESS;
}
EXPORT int cuDeviceComputeCapability(int* major, int* minor, int) {
    return *major = compute_capability / 10, *minor = compute_capability % 10, SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRetain(void** context, int) {
    std::lock_guard<std::recursive_mutex> hold(lock);
    if (failing_status) return failing_status;
    ++context_users;
    return *context = &streams, SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
    std::lock_guard<std::recursive_mutex> hold(lock);
    if (context_users == 0) return INVALID_CONTEXT;
    if (--context_users == 0) context_flags = 0, functions.clear();  // its modules are destroyed with it
    return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
    return *flags = context_flags, *active = context_users > 0, SUCCESS;
}
EXPORT int cuDevicePrimaryCtxSetFlags_v2(int, unsigned flags) {
    if (flags & ~0x3Fu) return INVALID_VALUE;
    return context_flags = flags, SUCCESS;
}
EXPORT int cuDevicePrimaryCtxSetFlags(int device, unsigned flags) { return cuDevicePrimaryCtxSetFlags_v2(device, flags); }
EXPORT int cuCtxSetCurrent(void* context) {
    if (contexts.empty()) contexts.push_back(nullptr);
    return contexts.back() = context, SUCCESS;
}
EXPORT int cuCtxGetCurrent(void** context) { return *context = contexts.empty() ? nullptr : contexts.back(), SUCCESS; }

static int allocate(void** memory, std::size_t bytes, bool on_device) {
    GUARD_UNCAPTURED;
    if (bytes == 0) return INVALID_VALUE;
    if (memory_used + bytes > memory_limit) return OUT_OF_MEMORY;
    *memory = std::malloc(bytes);
    std::memset(*memory, 0xCB, bytes);
    allocations[reinterpret_cast<std::uintptr_t>(*memory)] = {bytes, on_device};
    memory_used += bytes;
    return SUCCESS;
}
static int release(std::uintptr_t memory, bool on_device) {
    std::lock_guard<std::recursive_mutex> hold(lock);
    REFUSE_IF(context_trouble());
    REFUSE_IF(not_while_capturing());
    const auto found = allocations.find(memory);
    if (found == allocations.end() || found->second.on_device != on_device) return INVALID_VALUE;
    memory_used -= found->second.bytes;
    allocations.erase(found);
    std::free(reinterpret_cast<void*>(memory));
    return SUCCESS;
}
EXPORT int cuMemAlloc_v2(unsigned long long* memory, std::size_t bytes) {
    return allocate(reinterpret_cast<void**>(memory), bytes, true);
}
EXPORT int cuMemFree_v2(unsigned long long memory) { return release(memory, true); }
EXPORT int cuMemHostAlloc(void** memory, std::size_t bytes, unsigned flags) {
    return flags & ~7u ? static_cast<int>(INVALID_VALUE) : allocate(memory, bytes, false);
}
EXPORT int cuMemFreeHost(void* memory) { return release(reinterpret_cast<std::uintptr_t>(memory), false); }

// Whether `bytes` from `address` on lie in one allocation of the device.
static bool on_device(unsigned long long address, std::size_t bytes) {
    const auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return false;
    const auto found = std::prev(after);
    return found->second.on_device && address + bytes <= found->first + found->second.bytes;
}

// Attributes of an address that interop queries: 9 is the device's number, 2 the kind of memory (2: the device's).
EXPORT int cuPointerGetAttribute(void* data, int attribute, unsigned long long address) {
    std::lock_guard<std::recursive_mutex> hold(lock);
    const auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return INVALID_VALUE;
    const auto found = std::prev(after);
    if (address >= found->first + found->second.bytes || (attribute != 9 && attribute != 2)) return INVALID_VALUE;
    *static_cast<int*>(data) = attribute == 9 ? 0 : found->second.on_device ? 2 : 1;
    return SUCCESS;
}

static int copy(unsigned long long target, unsigned long long source, std::size_t bytes, Stream* stream) {
    return submit(stream, [=] {
        std::memcpy(reinterpret_cast<void*>(target), reinterpret_cast<const void*>(source), bytes);
    });
}
EXPORT int cuMemcpyHtoDAsync_v2(unsigned long long target, const void* source, std::size_t bytes, Stream* stream) {
    GUARD;
    if (!on_device(target, bytes)) return INVALID_VALUE;
    return copy(target, reinterpret_cast<std::uintptr_t>(source), bytes, stream);
}
EXPORT int cuMemcpyDtoHAsync_v2(void* target, unsigned long long source, std::size_t bytes, Stream* stream) {
    GUARD;
    if (!on_device(source, bytes)) return INVALID_VALUE;
    return copy(reinterpret_cast<std::uintptr_t>(target), source, bytes, stream);
}
EXPORT int cuMemcpyDtoDAsync_v2(unsigned long long target, unsigned long long source, std::size_t bytes, Stream* stream) {
    GUARD;
    if (!on_device(target, bytes) || !on_device(source, bytes)) return INVALID_VALUE;
    return copy(target, source, bytes, stream);
}

EXPORT int cuMemsetD8Async(unsigned long long target, unsigned char value, std::size_t bytes, Stream* stream) {
    GUARD;
    if (!on_device(target, bytes)) return INVALID_VALUE;
    return submit(stream, [=] { std::memset(reinterpret_cast<void*>(target), value, bytes); });
}

EXPORT int cuStreamCreate(Stream** stream, unsigned flags) {
    GUARD;
    if (flags > 1) return INVALID_VALUE;
    streams.insert(*stream = new Stream);
    return SUCCESS;
}
EXPORT int cuStreamDestroy_v2(Stream* stream) {
    std::lock_guard<std::recursive_mutex> hold(lock);
    REFUSE_IF(context_trouble());
    if (!streams.count(stream)) return INVALID_HANDLE;
    while (!failing_status && (stream->busy || !stream->queue.empty()) && step()) {
    }
    streams.erase(stream);
    delete stream;
    return SUCCESS;
}
EXPORT int cuStreamSynchronize(Stream* stream) {
    GUARD_UNCAPTURED;
    if (stream == nullptr) stream = default_stream();
    if (stream != default_stream() && !streams.count(stream)) return INVALID_HANDLE;
    while (stream->busy || !stream->queue.empty())
        if (!step() || failing_status) return failing_status ? failing_status : static_cast<int>(LAUNCH_FAILED);
    return failing_status;
}

EXPORT int cuEventCreate(Event** event, unsigned flags) {
    GUARD;
    if (flags & ~7u) return INVALID_VALUE;
    *event = new Event;
    (*event)->timed = !(flags & 2u);
    (*event)->blocking = flags & 1u;
    return SUCCESS;
}
EXPORT int cuEventDestroy_v2(Event* event) {
    REFUSE_IF(context_trouble());
    return delete event, SUCCESS;
}
EXPORT int cuEventRecord(Event* event, Stream* stream) {
    GUARD;
    if (streams.count(stream) && stream->capturing) return UNSUPPORTED;
    const auto number = ++event->recorded;
    return submit(stream, [=] {
        event->reached = std::max(event->reached, number);
        event->at = std::chrono::steady_clock::now();
    });
}
EXPORT int cuStreamWaitEvent(Stream* stream, Event* event, unsigned flags) {
    GUARD;
    if (flags > 1) return INVALID_VALUE;
    const auto number = event->recorded;
    return submit(stream, [] {}, [=] { return event->reached >= number; });
}
EXPORT int cuEventElapsedTime(float* milliseconds, Event* begin, Event* end) {
    GUARD;
    if (!begin->timed || !end->timed || !begin->recorded || !end->recorded) return INVALID_HANDLE;
    if (begin->reached != begin->recorded || end->reached != end->recorded) return NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(end->at - begin->at).count();
    return SUCCESS;
}
EXPORT int cuEventQuery(Event* event) {
    GUARD_UNCAPTURED;
    step();  // time passes
    if (failing_status) return failing_status;
    return event->reached == event->recorded ? SUCCESS : NOT_READY;
}
EXPORT int cuEventSynchronize(Event* event) {
    GUARD_UNCAPTURED;
    busy_waits += !event->blocking;
    while (event->reached != event->recorded)
        if (!step() || failing_status) return failing_status ? failing_status : static_cast<int>(LAUNCH_FAILED);
    return failing_status;
}

// A fatbin: a header, then entries, each of machine code (kind 2) or PTX (kind 1) for one compute capability. Machine
// code runs on its own capability and on later ones of the same major version; PTX is compiled for any later one. A driver
// older than 12.4 does not unpack Zstandard, one older than 12.8 reads no ELF of the newer ABI (which begins, packed with
// LZ4, after one byte).
EXPORT int cuModuleLoadData(void** module, const void* image) {
    GUARD_UNCAPTURED;
    const auto* bytes = static_cast<const char*>(image);
    const auto read = [&](std::size_t place, auto value) { return std::memcpy(&value, bytes + place, sizeof value), value; };
    if (read(0, 0u) != 0xBA55ED50u) return INVALID_IMAGE;
    const std::size_t begin = read(6, std::uint16_t{}), end = begin + read(8, std::uint64_t{});
    for (std::size_t place = begin; place < end; place += read(place + 4, 0u) + read(place + 8, std::uint64_t{})) {
        const int kind = read(place, std::uint16_t{}), target = static_cast<int>(read(place + 28, 0u));
        const bool same_major = target / 10 == compute_capability / 10;
        const auto flags = read(place + 40, std::uint64_t{});
        const std::size_t packed = place + read(place + 4, 0u);
        if ((flags & 0x8000) && driver_version < 12040) return INVALID_IMAGE;
        if (kind == 2 && (flags & 0x2000) && read(packed + 8, std::uint8_t{}) != 0x33 && driver_version < 12080) continue;
        if (target <= compute_capability && (kind == 1 || same_major)) return *module = &functions, SUCCESS;
    }
    return NO_BINARY;
}
EXPORT int cuModuleUnload(void*) { return context_trouble(); }
EXPORT int cuModuleGetFunction(Function** function, void*, const char* name) {
    GUARD;
    if (animevid_params_bytes(name) == 0) return NOT_FOUND;
    *function = &(functions[name] = Function{name});
    return SUCCESS;
}
EXPORT int cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, Stream* stream, void** params, void** extra) {
    GUARD;
    bool known = false;
    for (const auto& entry : functions) known |= &entry.second == function;
    if (!known) return INVALID_HANDLE;
    if (gx == 0 || gy == 0 || gz == 0 || gx > 0x7FFFFFFFu || gy > 65535 || gz > 65535 || bx == 0 || by == 0 || bz == 0 ||
        bx * by * bz > 256 || bz > 64 || shared > 48 * 1024 || params == nullptr || extra != nullptr)
        return INVALID_VALUE;  // 256: the __launch_bounds__ of our kernels
    ++launched;
    // Parameters are copied at the launch, as in the real driver.
    const auto* bytes = static_cast<const char*>(params[0]);
    const std::string copied(bytes, animevid_params_bytes(function->name.c_str()));
    const std::string name = function->name;
    return submit(stream, [=] {
        if (launches_left == 0) failing_status = LAUNCH_FAILED;
        if (launches_left >= 0) --launches_left;
        if (failing_status) return;
        const unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
        alignas(16) char aligned[1024];
        std::memcpy(aligned, copied.data(), copied.size());
        if (animevid_launch(name.c_str(), grid, block, aligned, chance()) != nullptr) failing_status = LAUNCH_FAILED;
    });
}

// A substitute for a network: a function of a test, run in stream order.
EXPORT int cuLaunchHostFunc(Stream* stream, void (*function)(void*), void* data) {
    GUARD;
    return submit(stream, [=] { function(data); }, nullptr, true);
}

EXPORT int cuStreamBeginCapture_v2(Stream* stream, int mode) {
    GUARD;
    if (mode < 0 || mode > 2) return INVALID_VALUE;
    if (!streams.count(stream)) return stream == nullptr ? CAPTURE_UNSUPPORTED : INVALID_HANDLE;
    if (stream->capturing || captured_here) return CAPTURE_UNSUPPORTED;
    stream->capturing = captured_here = new Graph;
    if (failing_captures > 0) --failing_captures, captured_here->invalid = true;
    return SUCCESS;
}
EXPORT int cuStreamEndCapture(Stream* stream, Graph** graph) {
    GUARD;
    *graph = nullptr;
    if (!stream->capturing) return INVALID_VALUE;
    Graph* const made = stream->capturing;
    stream->capturing = captured_here = nullptr;
    if (made->invalid) return delete made, CAPTURE_INVALIDATED;
    return *graph = made, SUCCESS;
}
EXPORT int cuGraphInstantiateWithFlags(Graph** executable, Graph* graph, unsigned long long flags) {
    GUARD_UNCAPTURED;
    if (flags & ~15ull) return INVALID_VALUE;
    *executable = new Graph(*graph);
    return SUCCESS;
}
EXPORT int cuGraphLaunch(Graph* executable, Stream* stream) {
    GUARD;
    ++graphs_launched;
    for (const auto& again : executable->submissions) again(*stream);
    return SUCCESS;
}
EXPORT int cuGraphDestroy(Graph* graph) { return delete graph, SUCCESS; }
EXPORT int cuGraphExecDestroy(Graph* executable) {
    REFUSE_IF(context_trouble());
    return delete executable, SUCCESS;
}

// ---- functions that FFmpeg needs to open a driver, and its copies to download a frame ---------------

struct Copy2d {  // CUDA_MEMCPY2D; kinds: 1 the host's memory, 2 the device's
    std::size_t source_x, source_y;
    int source_kind;
    const void* source_host;
    unsigned long long source_device;
    void* source_array;
    std::size_t source_pitch, target_x, target_y;
    int target_kind;
    void* target_host;
    unsigned long long target_device;
    void* target_array;
    std::size_t target_pitch, width, height;
};
EXPORT int cuMemcpy2DAsync_v2(const Copy2d* given, Stream* stream) {
    GUARD;
    const Copy2d c = *given;
    for (const auto& [kind, address, pitch, x, y] :
         {std::tuple(c.source_kind, c.source_device, c.source_pitch, c.source_x, c.source_y),
          std::tuple(c.target_kind, c.target_device, c.target_pitch, c.target_x, c.target_y)}) {
        if ((kind != 1 && kind != 2) || x + c.width > pitch) return INVALID_VALUE;  // a row lies within its pitch
        if (kind == 2 && c.height && !on_device(address, (y + c.height - 1) * pitch + x + c.width)) return INVALID_VALUE;
    }
    return submit(stream, [c] {
        const char* source = c.source_kind == 1 ? static_cast<const char*>(c.source_host)
                                                : reinterpret_cast<const char*>(c.source_device);
        char* target = c.target_kind == 1 ? static_cast<char*>(c.target_host) : reinterpret_cast<char*>(c.target_device);
        for (std::size_t row = 0; row < c.height; ++row)
            std::memcpy(target + (c.target_y + row) * c.target_pitch + c.target_x,
                        source + (c.source_y + row) * c.source_pitch + c.source_x, c.width);
    });
}
EXPORT int cuMemcpy2D_v2(const Copy2d* given) {
    REFUSE_IF(not_while_capturing());
    const int failed = cuMemcpy2DAsync_v2(given, nullptr);
    return failed ? failed : cuStreamSynchronize(nullptr);
}
struct Copy3d {  // CUDA_MEMCPY3D
    struct Side {
        std::size_t x, y, z, lod;
        int kind;
        void* host;
        unsigned long long device;
        void *array, *reserved;
        std::size_t pitch, height;
    } source, target;
    std::size_t width, height, depth;
};
EXPORT int cuMemcpy3DAsync_v2(const Copy3d* given, Stream* stream) {
    GUARD;
    const Copy3d c = *given;
    if (c.width == 0 || c.height == 0 || c.depth == 0) return INVALID_VALUE;
    const auto at = [c](const Copy3d::Side& side, std::size_t row, std::size_t plane) {
        return side.device + ((side.z + plane) * side.height + side.y + row) * side.pitch + side.x;
    };
    for (const Copy3d::Side& side : {c.source, c.target}) {
        if (side.kind != 2 || side.x + c.width > side.pitch || side.y + c.height > side.height) return INVALID_VALUE;
        if (!on_device(at(side, 0, 0), at(side, c.height - 1, c.depth - 1) + c.width - at(side, 0, 0))) return INVALID_VALUE;
    }
    return submit(stream, [c, at] {
        for (std::size_t plane = 0; plane < c.depth; ++plane)
            for (std::size_t row = 0; row < c.height; ++row)
                std::memcpy(reinterpret_cast<char*>(at(c.target, row, plane)),
                            reinterpret_cast<const char*>(at(c.source, row, plane)), c.width);
    });
}
EXPORT int cuCtxPushCurrent_v2(void* context) { return contexts.push_back(context), SUCCESS; }
EXPORT int cuCtxPopCurrent_v2(void** context) {
    if (contexts.empty()) return INVALID_CONTEXT;
    if (context != nullptr) *context = contexts.back();
    return contexts.pop_back(), SUCCESS;
}
EXPORT int cuCtxGetDevice(int* device) {
    if (contexts.empty() || contexts.back() == nullptr) return INVALID_CONTEXT;
    return *device = 0, SUCCESS;
}
#define UNSUPPORTED_CALL(name) \
    EXPORT int name() { return UNSUPPORTED; }
UNSUPPORTED_CALL(cuArray3DCreate_v2) UNSUPPORTED_CALL(cuArrayCreate_v2) UNSUPPORTED_CALL(cuArrayDestroy)
UNSUPPORTED_CALL(cuCtxCreate_v2) UNSUPPORTED_CALL(cuCtxDestroy_v2) UNSUPPORTED_CALL(cuCtxSetLimit)
UNSUPPORTED_CALL(cuDestroyExternalMemory) UNSUPPORTED_CALL(cuDestroyExternalSemaphore)
UNSUPPORTED_CALL(cuDeviceGetByPCIBusId)
UNSUPPORTED_CALL(cuDeviceGetLuid) UNSUPPORTED_CALL(cuDeviceGetPCIBusId) UNSUPPORTED_CALL(cuDeviceGetUuid)
UNSUPPORTED_CALL(cuDeviceGetUuid_v2) UNSUPPORTED_CALL(cuDevicePrimaryCtxReset)
EXPORT int cuDevicePrimaryCtxRelease(int device) { return cuDevicePrimaryCtxRelease_v2(device); }

UNSUPPORTED_CALL(cuEGLStreamConsumerDisconnect) UNSUPPORTED_CALL(cuEGLStreamProducerConnect)
UNSUPPORTED_CALL(cuEGLStreamProducerDisconnect) UNSUPPORTED_CALL(cuEGLStreamProducerPresentFrame)
UNSUPPORTED_CALL(cuEGLStreamProducerReturnFrame) UNSUPPORTED_CALL(cuExternalMemoryGetMappedBuffer)
UNSUPPORTED_CALL(cuExternalMemoryGetMappedMipmappedArray) UNSUPPORTED_CALL(cuGLGetDevices_v2)
UNSUPPORTED_CALL(cuGraphicsGLRegisterImage) UNSUPPORTED_CALL(cuGraphicsMapResources)
UNSUPPORTED_CALL(cuGraphicsResourceGetMappedPointer_v2) UNSUPPORTED_CALL(cuGraphicsSubResourceGetMappedArray)
UNSUPPORTED_CALL(cuGraphicsUnmapResources) UNSUPPORTED_CALL(cuGraphicsUnregisterResource)
UNSUPPORTED_CALL(cuImportExternalMemory) UNSUPPORTED_CALL(cuImportExternalSemaphore) UNSUPPORTED_CALL(cuLinkAddData)
UNSUPPORTED_CALL(cuLinkComplete) UNSUPPORTED_CALL(cuLinkCreate) UNSUPPORTED_CALL(cuLinkDestroy)
UNSUPPORTED_CALL(cuMemAllocManaged) UNSUPPORTED_CALL(cuMemAllocPitch_v2) UNSUPPORTED_CALL(cuMemcpy)
UNSUPPORTED_CALL(cuMemcpyAsync) UNSUPPORTED_CALL(cuMemcpyDtoD_v2) UNSUPPORTED_CALL(cuMemcpyDtoH_v2)
UNSUPPORTED_CALL(cuMemcpyHtoD_v2) UNSUPPORTED_CALL(cuMipmappedArrayDestroy)
UNSUPPORTED_CALL(cuMipmappedArrayGetLevel) UNSUPPORTED_CALL(cuModuleGetGlobal)
UNSUPPORTED_CALL(cuSignalExternalSemaphoresAsync) UNSUPPORTED_CALL(cuStreamAddCallback) UNSUPPORTED_CALL(cuStreamQuery)
UNSUPPORTED_CALL(cuTexObjectCreate) UNSUPPORTED_CALL(cuTexObjectDestroy)
UNSUPPORTED_CALL(cuWaitExternalSemaphoresAsync)

EXPORT int cuGetErrorName(int, const char** name) { return *name = "FAKE_ERROR", SUCCESS; }
EXPORT int cuGetErrorString(int, const char** text) { return *text = "an error of the fake driver", SUCCESS; }

// The bindings find every function through this one, by the CUDA version that introduced it. A real driver may return an
// older form of a function for a newer CUDA version; this one never does.
#include <dlfcn.h>
EXPORT int cuGetProcAddress_v2(const char* symbol, void** function, int version, unsigned long long, int* found) {
    const std::string name(symbol);
    *function = nullptr;
    if (version > driver_version) return found != nullptr ? (*found = 2, SUCCESS) : NOT_FOUND;
    for (const std::string& candidate : {name + "_v3", name + "_v2", name})
        if ((*function = dlsym(RTLD_DEFAULT, candidate.c_str())) != nullptr) break;
    if (found != nullptr) *found = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
EXPORT int cuGetProcAddress(const char* symbol, void** function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}
