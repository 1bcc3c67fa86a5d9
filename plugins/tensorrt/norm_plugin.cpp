// AnimevidNorm for TensorRT in C++: layer or instance norm and LeakyReLU, in the kernels of ../kernels.
//
// The same operator, name and version as engine/animevid/backends/norm_plugin.py: an engine that was built with one runs
// with the other. This one needs no Python while an engine runs, so that it also serves trtexec and C++ programs:
//   IPluginRegistry::loadLibrary("libanimevid_tensorrt.so"), or trtexec --dynamicPlugins=...
//
// The kernels are embedded as a fatbin. The driver is opened when the first norm runs, not before: engines are built on
// machines without one.

#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <type_traits>

#include "../kernels/norm_params.cuh"

#define AV_EXPORT __attribute__((visibility("default")))

// ANIMEVID_FATBIN: the file's name, in quotes.
__asm__(".section .rodata\n.balign 64\nanimevid_fatbin:\n.incbin " ANIMEVID_FATBIN "\n.byte 0\n.previous\n");
extern "C" const unsigned char animevid_fatbin[] __attribute__((visibility("hidden")));

namespace {

using namespace nvinfer1;

constexpr char kName[] = "AnimevidNorm", kVersion[] = "1", kNamespace[] = "";

// The driver functions that a launch needs; all return 0 for success.
struct Driver {
    int (*current_context)(void**) = nullptr;
    int (*current_device)(int*) = nullptr;
    int (*hold_context)(void**, int) = nullptr;
    int (*load_module)(void**, const void*) = nullptr;
    int (*find_function)(void**, void*, const char*) = nullptr;
    int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                  void**) = nullptr;

    bool open() {
        if (launch != nullptr) return true;
        void* const library = dlopen("libcuda.so.1", RTLD_NOW);
        if (library == nullptr) return false;
        const auto find = [&](auto& function, const char* name) {
            function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
            return function != nullptr;
        };
        return find(current_context, "cuCtxGetCurrent") && find(current_device, "cuCtxGetDevice") &&
               find(hold_context, "cuDevicePrimaryCtxRetain") && find(load_module, "cuModuleLoadData") &&
               find(find_function, "cuModuleGetFunction") && find(launch, "cuLaunchKernel");
    }
};

struct Functions {
    void* statistics[2] = {nullptr, nullptr};  // float32, float16
    void* apply[2] = {nullptr, nullptr};
};

std::mutex lock;
Driver driver;
// By context. The device's primary one is held from then on: another could come at the same address, without them.
std::map<void*, Functions> loaded;

const Functions* functions_of_this_context() {
    const std::lock_guard<std::mutex> hold(lock);
    void *context = nullptr, *module = nullptr, *held = nullptr;
    int device = 0;
    if (!driver.open() || driver.current_context(&context) != 0) return nullptr;
    const auto known = loaded.find(context);
    if (known != loaded.end()) return &known->second;
    Functions found;
    if (driver.current_device(&device) != 0 || driver.hold_context(&held, device) != 0) return nullptr;
    if (driver.load_module(&module, animevid_fatbin) != 0) return nullptr;
    const bool all = driver.find_function(&found.statistics[0], module, "animevid_norm_statistics_f32") == 0 &&
                     driver.find_function(&found.statistics[1], module, "animevid_norm_statistics_f16") == 0 &&
                     driver.find_function(&found.apply[0], module, "animevid_norm_apply_f32") == 0 &&
                     driver.find_function(&found.apply[1], module, "animevid_norm_apply_f16") == 0;
    return all ? &(loaded[context] = found) : nullptr;
}

struct Fields {
    int32_t layer = 0;
    float epsilon = 1e-5f, slope = 1.0f;
};

struct Groups {
    long long count, size, channels, channel_size;
};

Groups groups_of(const Dims& dims, const Fields& fields) {
    long long channel_size = 1;
    for (int32_t axis = 2; axis < dims.nbDims; ++axis) channel_size *= dims.d[axis];
    const long long count = dims.d[0], channels = dims.d[1];
    if (fields.layer) return {count, channels * channel_size, channels, channel_size};
    return {count * channels, channel_size, channels, channel_size};
}

class NormPlugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
    explicit NormPlugin(const Fields& fields) : fields_(fields) {
        serialized_[0] = {"layer", &fields_.layer, PluginFieldType::kINT32, 1};
        serialized_[1] = {"epsilon", &fields_.epsilon, PluginFieldType::kFLOAT32, 1};
        serialized_[2] = {"slope", &fields_.slope, PluginFieldType::kFLOAT32, 1};
        collection_.nbFields = 3;
        collection_.fields = serialized_;
    }
    NormPlugin(const NormPlugin&) = delete;

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
            case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
            case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
            case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    IPluginV3* clone() noexcept override { return new (std::nothrow) NormPlugin(fields_); }

    const char* getPluginName() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

    // ---- while it is built ----

    int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) noexcept override {
        return 0;
    }
    int32_t getOutputDataTypes(DataType* types, int32_t, const DataType* input_types, int32_t) const noexcept override {
        types[0] = input_types[0];
        return 0;
    }
    int32_t getOutputShapes(const DimsExprs* inputs, int32_t, const DimsExprs*, int32_t, DimsExprs* outputs, int32_t,
                            IExprBuilder&) noexcept override {
        outputs[0] = inputs[0];
        return 0;
    }
    // Scale and shift are float32; the output is of the input's type.
    bool supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* tensors, int32_t inputs,
                                   int32_t) noexcept override {
        const PluginTensorDesc& tensor = tensors[position].desc;
        if (tensor.format != TensorFormat::kLINEAR) return false;
        if (position == 0) return tensor.type == DataType::kHALF || tensor.type == DataType::kFLOAT;
        return tensor.type == (position < inputs ? DataType::kFLOAT : tensors[0].desc.type);
    }
    int32_t getNbOutputs() const noexcept override { return 1; }
    size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) const noexcept override {
        const Groups groups = groups_of(inputs[0].max, fields_);
        return static_cast<size_t>(groups.count) * animevid::norm_chunks(groups.size) * 3 * sizeof(float);
    }

    // ---- while it runs ----

    int32_t onShapeChange(const PluginTensorDesc*, int32_t, const PluginTensorDesc*, int32_t) noexcept override {
        return 0;
    }
    int32_t enqueue(const PluginTensorDesc* tensors, const PluginTensorDesc*, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        const Functions* const functions = functions_of_this_context();
        if (functions == nullptr) return 1;
        const Groups groups = groups_of(tensors[0].dims, fields_);
        const int chunks = animevid::norm_chunks(groups.size);
        animevid::NormParams params = {
            address(inputs[0]), address(outputs[0]), address(workspace), address(inputs[1]), address(inputs[2]),
            static_cast<int>(groups.channels), static_cast<int>(groups.channel_size), static_cast<int>(groups.size),
            chunks, fields_.epsilon, fields_.slope};
        void* arguments[] = {&params};
        const int half = tensors[0].type == DataType::kHALF;
        for (void* function : {functions->statistics[half], functions->apply[half]})
            if (driver.launch(function, static_cast<unsigned>(chunks), static_cast<unsigned>(groups.count), 1,
                              animevid::kNormThreads, 1, 1, 0, stream, arguments, nullptr) != 0)
                return 1;
        return 0;
    }
    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }
    const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &collection_; }

private:
    static unsigned long long address(const void* pointer) { return reinterpret_cast<unsigned long long>(pointer); }

    Fields fields_;
    PluginField serialized_[3];
    PluginFieldCollection collection_;
};

class NormPluginCreator final : public IPluginCreatorV3One {
public:
    NormPluginCreator() {
        names_[0] = {"layer", nullptr, PluginFieldType::kINT32, 1};
        names_[1] = {"epsilon", nullptr, PluginFieldType::kFLOAT32, 1};
        names_[2] = {"slope", nullptr, PluginFieldType::kFLOAT32, 1};
        collection_.nbFields = 3;
        collection_.fields = names_;
    }
    IPluginV3* createPlugin(const char*, const PluginFieldCollection* given, TensorRTPhase) noexcept override {
        Fields fields;
        for (int32_t i = 0; i < given->nbFields; ++i) {
            const PluginField& field = given->fields[i];
            void* const target = !std::strcmp(field.name, "layer")     ? static_cast<void*>(&fields.layer)
                                 : !std::strcmp(field.name, "epsilon") ? static_cast<void*>(&fields.epsilon)
                                 : !std::strcmp(field.name, "slope")   ? static_cast<void*>(&fields.slope)
                                                                       : nullptr;
            if (target != nullptr && field.data != nullptr) std::memcpy(target, field.data, 4);
        }
        return new (std::nothrow) NormPlugin(fields);
    }
    const PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
    const char* getPluginName() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

private:
    PluginField names_[3];
    PluginFieldCollection collection_;
};

}  // namespace

// What IPluginRegistry::loadLibrary asks of a library.
extern "C" AV_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static NormPluginCreator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}
extern "C" AV_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder*) {}
