// Runs a CUDA thread block on the CPU, so that the kernels' numbers can be tested without a GPU.
//
// Each thread of a block is a fiber (ucontext). A fiber runs until it reaches a barrier or ends; then the next one
// runs. When all have arrived, the barrier opens. A block in which some threads end while others wait at a barrier, or
// in which lanes of a warp wait at different places, hangs or is undefined on a GPU: here it is reported as an error.
// The order in which fibers run is shuffled by a seed: a kernel that reads shared memory before the barrier that makes
// it valid gives a wrong result for some seed.
//
// Kernels without barriers are run as plain loops. Blocks run one after another on the calling thread.

#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
// One block at a time on a thread: its shared memory can be a variable of the thread.
#define __shared__ static thread_local
#define AV_CONSTANT static const

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace animevid::cpu {

inline constexpr unsigned WARP = 32;

class Block {
public:
    dim3 block, grid, block_index;

    static Block& current() {
        if (running_ == nullptr) throw std::logic_error("a kernel's built-in variable was read outside a kernel");
        return *running_;
    }

    dim3 thread_index() const {
        const unsigned i = thread_;
        return {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    }

    // Run kernel for every thread of every block. has_barriers: it calls sync or a shuffle.
    void run(const std::function<void()>& kernel, bool has_barriers, std::uint64_t seed) {
        const unsigned threads = block.x * block.y * block.z;
        if (threads == 0 || threads > 1024) throw std::invalid_argument("a block has 1 to 1024 threads");
        Block* const outer = running_;
        running_ = this;
        try {
            for (block_index.z = 0; block_index.z < grid.z; ++block_index.z)
                for (block_index.y = 0; block_index.y < grid.y; ++block_index.y)
                    for (block_index.x = 0; block_index.x < grid.x; ++block_index.x) {
                        if (has_barriers) {
                            run_fibers(kernel, threads, seed++);
                        } else {
                            for (thread_ = 0; thread_ < threads; ++thread_) kernel();
                        }
                    }
        } catch (...) {
            running_ = outer;
            throw;
        }
        running_ = outer;
    }

    void sync() { wait(BLOCK_BARRIER); }

    float shuffle_down(float value, unsigned distance) {
        return exchange(value, [&](unsigned lane) { return lane + distance < WARP ? lane + distance : lane; });
    }
    float shuffle(float value, unsigned source) {
        return exchange(value, [&](unsigned) { return source % WARP; });
    }

private:
    enum Where { RUNNING, BLOCK_BARRIER, WARP_BARRIER, ENDED };

    struct Fiber {
        ucontext_t context;
        std::unique_ptr<char[]> stack;
        Where where = RUNNING;
        float lane_value = 0;
    };
    static constexpr std::size_t STACK_BYTES = 64 * 1024;

    template <typename Source> float exchange(float value, Source source) {
        const unsigned me = thread_;
        fibers_at(me).lane_value = value;
        wait(WARP_BARRIER);
        const unsigned from = me / WARP * WARP + source(me % WARP);
        if (from >= fibers_.size()) throw std::logic_error("a shuffle reads a lane that is not in the block");
        const float result = fibers_[from].lane_value;
        wait(WARP_BARRIER);  // no lane may overwrite a value that another has yet to read
        return result;
    }

    Fiber& fibers_at(unsigned index) {
        if (index >= fibers_.size()) throw std::logic_error("a barrier in a kernel that was declared without");
        return fibers_[index];
    }

    void wait(Where where) {
        Fiber& fiber = fibers_at(thread_);
        fiber.where = where;
        swapcontext(&fiber.context, &scheduler_);
    }

    static void enter() {
        Block& self = current();
        try {
            (*self.kernel_)();
        } catch (...) {
            self.failure_ = std::current_exception();
        }
        self.fibers_[self.thread_].where = ENDED;
        swapcontext(&self.fibers_[self.thread_].context, &self.scheduler_);
    }

    void run_fibers(const std::function<void()>& kernel, unsigned threads, std::uint64_t seed) {
        kernel_ = &kernel;
        failure_ = nullptr;
        fibers_.resize(threads);
        for (Fiber& fiber : fibers_) {
            if (!fiber.stack) fiber.stack.reset(new char[STACK_BYTES]);  // not zeroed: that takes longer than the kernel
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = STACK_BYTES;
            fiber.context.uc_link = nullptr;
            fiber.where = RUNNING;
            makecontext(&fiber.context, &Block::enter, 0);
        }
        std::mt19937_64 random(seed);
        std::vector<unsigned> order(threads);
        for (unsigned i = 0; i < threads; ++i) order[i] = i;
        for (;;) {
            for (unsigned i = threads; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
            bool ran = false;
            for (const unsigned index : order) {
                if (fibers_[index].where != RUNNING) continue;
                ran = true;
                thread_ = index;
                swapcontext(&scheduler_, &fibers_[index].context);
                if (failure_) std::rethrow_exception(failure_);
            }
            if (all_at(0, threads, ENDED)) break;
            bool opened = open_if_all(0, threads, BLOCK_BARRIER);
            for (unsigned first = 0; first < threads; first += WARP)
                opened |= open_if_all(first, std::min(first + WARP, threads), WARP_BARRIER);
            if (!opened && !ran) throw std::logic_error("threads of a block wait at different barriers, or some ended");
        }
    }

    bool all_at(unsigned first, unsigned last, Where where) const {
        for (unsigned i = first; i < last; ++i)
            if (fibers_[i].where != where) return false;
        return true;
    }
    bool open_if_all(unsigned first, unsigned last, Where where) {
        if (!all_at(first, last, where)) return false;
        for (unsigned i = first; i < last; ++i) fibers_[i].where = RUNNING;
        return true;
    }

    inline static thread_local Block* running_ = nullptr;
    const std::function<void()>* kernel_ = nullptr;
    std::exception_ptr failure_;
    std::vector<Fiber> fibers_;
    ucontext_t scheduler_{};
    unsigned thread_ = 0;
};

}  // namespace animevid::cpu

#define threadIdx (animevid::cpu::Block::current().thread_index())
#define blockIdx (animevid::cpu::Block::current().block_index)
#define blockDim (animevid::cpu::Block::current().block)
#define gridDim (animevid::cpu::Block::current().grid)
#define __syncthreads() (animevid::cpu::Block::current().sync())
#define __shfl_down_sync(mask, value, distance) (animevid::cpu::Block::current().shuffle_down(value, distance))
#define __shfl_sync(mask, value, source) (animevid::cpu::Block::current().shuffle(value, source))
// Blocks run one after another, and fibers change at barriers only.
inline unsigned atomicAdd(unsigned* where, unsigned value) {
    const unsigned before = *where;
    *where += value;
    return before;
}
