#include "op.h"

#include <cstring>

namespace tunebook {
namespace {

struct Status {
  TF_Status* value = TF_NewStatus();
  ~Status() { TF_DeleteStatus(value); }
  void check() const {
    if (TF_GetCode(value) != TF_OK) throw std::runtime_error(TF_Message(value));
  }
};

}  // namespace

Call::Call(TF_OpKernelContext* context, const std::vector<double>& attributes) : context_(context), attributes_(attributes) {}

Call::~Call() {
  for (TF_Tensor* tensor : held_) TF_DeleteTensor(tensor);
}

TF_Tensor* Call::fetch(int i) {
  Status status;
  TF_Tensor* tensor = nullptr;
  TF_GetInput(context_, i, &tensor, status.value);
  status.check();
  held_.push_back(tensor);
  return tensor;
}

std::shared_ptr<void> Call::keep() {
  auto* kept = new std::vector<TF_Tensor*>;
  kept->swap(held_);
  return std::shared_ptr<void>(kept, [](void* all) {
    auto* tensors = static_cast<std::vector<TF_Tensor*>*>(all);
    for (TF_Tensor* tensor : *tensors) TF_DeleteTensor(tensor);
    delete tensors;
  });
}

float* Call::output(int i, const Shape& shape) {
  size_t bytes = sizeof(float);
  for (int64_t d : shape) bytes *= d;
  return static_cast<float*>(allocate(i, TF_FLOAT, shape, bytes));
}

uint8_t* Call::bytes(int i, int64_t size) {
  void* data = allocate(i, TF_UINT8, {size}, size);
  std::memset(data, 0, size);
  return static_cast<uint8_t*>(data);
}

void Call::give(int i, TF_DataType type, const Shape& shape, void* data, size_t bytes, void (*free)(void*, size_t, void*)) {
  Status status;
  TF_Tensor* tensor = TF_NewTensor(type, shape.data(), static_cast<int>(shape.size()), data, bytes, free, nullptr);
  held_.push_back(tensor);
  TF_SetOutput(context_, i, tensor, status.value);
  status.check();
}

void* Call::allocate(int i, TF_DataType type, const Shape& shape, size_t bytes) {
  Status status;
  TF_Tensor* tensor = TF_AllocateOutput(context_, i, type, shape.data(), static_cast<int>(shape.size()), bytes, status.value);
  if (TF_GetCode(status.value) == TF_RESOURCE_EXHAUSTED || (TF_GetCode(status.value) == TF_OK && bytes && !TF_TensorData(tensor)))
    throw OutOfMemory(bytes);
  status.check();
  held_.push_back(tensor);
  return TF_TensorData(tensor);
}

std::vector<double>* readAttributes(const Spec& spec, TF_OpKernelConstruction* construction) {
  auto* values = new std::vector<double>;
  for (const char* attribute : spec.attributes) {
    const char* colon = std::strchr(attribute, ':');
    const std::string name(attribute, colon);
    Status status;
    if (std::strstr(colon, "float")) {
      float value = 0;
      TF_OpKernelConstruction_GetAttrFloat(construction, name.c_str(), &value, status.value);
      values->push_back(value);
    } else {
      int64_t value = 0;
      TF_OpKernelConstruction_GetAttrInt64(construction, name.c_str(), &value, status.value);
      values->push_back(static_cast<double>(value));
    }
    if (TF_GetCode(status.value) != TF_OK) TF_OpKernelConstruction_Failure(construction, status.value);
  }
  return values;
}

void runOp(void (*compute)(Call&), void* attributes, TF_OpKernelContext* context) {
  try {
    Call call(context, *static_cast<std::vector<double>*>(attributes));
    compute(call);
  } catch (const OutOfMemory& error) {
    Status status;
    TF_SetStatus(status.value, TF_RESOURCE_EXHAUSTED, error.what());
    TF_OpKernelContext_Failure(context, status.value);
  } catch (const std::exception& error) {
    Status status;
    TF_SetStatus(status.value, TF_INVALID_ARGUMENT, error.what());
    TF_OpKernelContext_Failure(context, status.value);
  }
}

void registerOp(const Spec& spec, void* (*create)(TF_OpKernelConstruction*), void (*compute)(void*, TF_OpKernelContext*),
                void (*destroy)(void*)) {
  Status status;
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(spec.name);
  for (const char* input : spec.inputs) {
    TF_OpDefinitionBuilderAddInput(definition, input);
    const std::string type = std::strrchr(input, ' ') + 1;
    if (type[0] == 'T') TF_OpDefinitionBuilderAddAttr(definition, (type + ": {uint8, float}").c_str());
  }
  for (const char* output : spec.outputs) TF_OpDefinitionBuilderAddOutput(definition, output);
  for (const char* attribute : spec.attributes) TF_OpDefinitionBuilderAddAttr(definition, attribute);
  // Stateful: the runtime must neither merge two calls nor skip one (a key/value cache is written in place).
  TF_OpDefinitionBuilderSetIsStateful(definition, true);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(
      definition, [](TF_ShapeInferenceContext* c, TF_Status* s) { TF_ShapeInferenceContextSetUnknownShape(c, s); });
  TF_RegisterOpDefinition(definition, status.value);
  status.check();
  TF_KernelBuilder* kernel = TF_NewKernelBuilder(spec.name, "CPU", create, compute, destroy);
  TF_RegisterKernelBuilder(spec.name, kernel, status.value);
  status.check();
}

}  // namespace tunebook
