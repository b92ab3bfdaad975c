// How an op's file registers its kernels with TensorFlow, through the C API: one binary works across TensorFlow versions.
#pragma once
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "pool.h"
#include "tensorflow/c/tf_tensor.h"

namespace tunebook {

using Shape = std::vector<int64_t>;

template <typename T>
struct Input {
  const T* data;
  Shape shape;
  int64_t size;
  size_t bytes;
  int64_t dim(int i) const { return shape[i < 0 ? shape.size() + i : i]; }
  // Elements divided by the last dimension: the rows of the matrix this tensor is.
  int64_t rows() const { return size / (shape.empty() || !shape.back() ? 1 : shape.back()); }
};

// What an op sees while it runs. Errors are thrown; TensorFlow hands them to JavaScript as exceptions.
class Call {
 public:
  Call(TF_OpKernelContext* context, const std::vector<double>& attributes);
  ~Call();
  template <typename T> Input<T> input(int i) {
    TF_Tensor* tensor = fetch(i);
    Input<T> in;
    in.size = 1;
    for (int d = 0; d < TF_NumDims(tensor); d++) {
      in.shape.push_back(TF_Dim(tensor, d));
      in.size *= in.shape.back();
    }
    in.data = static_cast<const T*>(TF_TensorData(tensor));
    in.bytes = TF_TensorByteSize(tensor);
    return in;
  }
  float* output(int i, const Shape& shape);
  // Bytes that the process has, zeros.
  uint8_t* bytes(int i, int64_t size);
  // Makes an output of memory that is there; `free` is called for it when the tensor ends.
  void give(int i, TF_DataType type, const Shape& shape, void* data, size_t bytes, void (*free)(void* data, size_t bytes, void*));
  // The inputs fetched so far, alive as long as what is returned.
  std::shared_ptr<void> keep();
  double attribute(int i) const { return attributes_[i]; }

 private:
  TF_Tensor* fetch(int i);
  void* allocate(int i, TF_DataType type, const Shape& shape, size_t bytes);
  TF_OpKernelContext* context_;
  const std::vector<double>& attributes_;
  std::vector<TF_Tensor*> held_;
};

// Gradients of an op's inputs as its outputs ("gradients: N * float"), in the same order: those that somebody asked for. The others are null.
struct Asked {
  Call& call;
  int64_t wanted;  // bit i: input i's
  Asked(Call& c, int attribute) : call(c), wanted(static_cast<int64_t>(c.attribute(attribute))) {}
  bool any(int i) const { return wanted >> i & 1; }
  float* output(int i, const Shape& shape) const {
    return any(i) ? call.output(__builtin_popcountll(wanted & ((int64_t{1} << i) - 1)), shape) : nullptr;
  }
};

// What the Spec of an op says that gives them.
#define GRADIENTS "gradients: N * float"
#define GRADIENT_ATTRIBUTES "wanted: int", "N: int"

struct Spec {
  const char* name;
  std::vector<const char*> inputs, outputs;  // "x: float"; an input of type T0, T1, ... is bytes or floats
  std::vector<const char*> attributes;       // "eps: float", "kind: int"; Call::attribute(i) in this order
};

std::vector<double>* readAttributes(const Spec& spec, TF_OpKernelConstruction* construction);
void runOp(void (*compute)(Call&), void* attributes, TF_OpKernelContext* context);
void registerOp(const Spec& spec, void* (*create)(TF_OpKernelConstruction*), void (*compute)(void*, TF_OpKernelContext*),
                void (*destroy)(void*));

// static Op<spec, compute> op; at file level registers an op.
template <const Spec& spec, void (*compute)(Call&)>
struct Op {
  static void* create(TF_OpKernelConstruction* c) { return readAttributes(spec, c); }
  static void run(void* attributes, TF_OpKernelContext* context) { runOp(compute, attributes, context); }
  static void destroy(void* attributes) { delete static_cast<std::vector<double>*>(attributes); }
  Op() { registerOp(spec, create, run, destroy); }
};

}  // namespace tunebook
