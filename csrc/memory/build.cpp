#include "memory/build.h"

#include <ATen/ops/empty.h>

#include <utility>

#include "dispatch_guard.h"
#include "memory/allocate.h"

namespace tensorlift {
namespace {

using TensorImplPtr = c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

// A tensor without a shape yet.
at::Tensor tensor_of(TensorArena& arena, c10::Storage&& storage, c10::DispatchKeySet keys,
                     c10::ScalarType dtype) {
  return at::Tensor(TensorImplPtr::unsafe_steal_from_new(
      arena.make<c10::TensorImpl>(std::move(storage), keys, c10::scalarTypeToTypeMeta(dtype))));
}

// The same over a storage of `nbytes` at `memory`.
at::Tensor tensor_over(TensorArena& arena, c10::DataPtr&& memory, std::size_t nbytes,
                       c10::Allocator* allocator, c10::ScalarType dtype) {
  // Memory that torch did not allocate cannot be resized by torch either.
  const bool resizable = allocator != nullptr;
  c10::Storage storage(
      c10::intrusive_ptr<c10::StorageImpl>::unsafe_steal_from_new(arena.make<c10::StorageImpl>(
          c10::StorageImpl::use_byte_size_t(), nbytes, std::move(memory), allocator, resizable)));
  return tensor_of(arena, std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), dtype);
}

struct OwningStorageImpl : c10::StorageImpl {
  OwningStorageImpl(std::size_t nbytes, c10::DataPtr&& memory, c10::DataPtr&& kept)
      : StorageImpl(use_byte_size_t(), nbytes, std::move(memory), /*allocator=*/nullptr,
                    /*resizable=*/false),
        owner(std::move(kept)) {}

  void release_resources() override {
    StorageImpl::release_resources();
    owner.clear();
  }

  c10::DataPtr owner;
};

}  // namespace

c10::Storage make_owning_storage(TensorArena& arena, std::size_t nbytes, c10::DataPtr&& memory,
                                 c10::DataPtr&& owner) {
  return {c10::intrusive_ptr<c10::StorageImpl>::unsafe_steal_from_new(
      arena.make<OwningStorageImpl>(nbytes, std::move(memory), std::move(owner)))};
}

const c10::DataPtr* owner_of(const c10::Storage& storage) {
  const auto* impl = dynamic_cast<const OwningStorageImpl*>(storage.unsafeGetStorageImpl());
  return impl == nullptr ? nullptr : &impl->owner;
}

at::Tensor build_shared(TensorArena& arena, c10::DataPtr&& memory, std::size_t nbytes,
                        c10::ScalarType dtype, c10::IntArrayRef shape, c10::IntArrayRef strides) {
  at::Tensor tensor = tensor_over(arena, std::move(memory), nbytes, /*allocator=*/nullptr, dtype);
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(shape, strides);
  return tensor;
}

at::Tensor build_empty(TensorArena& arena, std::size_t nbytes, c10::ScalarType dtype,
                       c10::IntArrayRef shape) {
  c10::Allocator* allocator = c10::GetAllocator(c10::DeviceType::CPU);  // for a later resize_()
  const bool is_small = nbytes > 0 && nbytes <= TensorArena::kMaxElementBytes;
  c10::DataPtr memory = is_small ? arena.allocate_elements(nbytes) : allocate_pageable(nbytes);
  at::Tensor tensor = tensor_over(arena, std::move(memory), nbytes, allocator, dtype);
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(shape);
  return tensor;
}

at::Tensor build_shared_with_owner(TensorArena& arena, c10::DataPtr&& memory, c10::DataPtr&& owner,
                                   std::size_t nbytes, c10::ScalarType dtype,
                                   c10::IntArrayRef shape, c10::IntArrayRef strides) {
  at::Tensor tensor =
      tensor_of(arena, make_owning_storage(arena, nbytes, std::move(memory), std::move(owner)),
                c10::DispatchKeySet(c10::DispatchKey::CPU), dtype);
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(shape, strides);
  return tensor;
}

at::Tensor build_empty_like(TensorArena& arena, const at::Tensor& memory, c10::ScalarType dtype,
                            c10::IntArrayRef shape) {
  const DispatchGuard plain;
  const at::Tensor none =
      at::empty({0}, at::TensorOptions().dtype(c10::kByte).device(memory.device()));
  return build_view(arena, none, dtype, 0, shape);
}

at::Tensor build_over_storage(TensorArena& arena, const c10::Storage& storage,
                              c10::ScalarType dtype, c10::IntArrayRef shape) {
  at::Tensor tensor =
      tensor_of(arena, c10::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), dtype);
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(shape);
  return tensor;
}

at::Tensor build_view(TensorArena& arena, const at::Tensor& memory, c10::ScalarType dtype,
                      std::size_t offset, c10::IntArrayRef shape) {
  at::Tensor tensor = tensor_of(arena, c10::Storage(memory.storage()), memory.key_set(), dtype);
  c10::TensorImpl* impl = tensor.unsafeGetTensorImpl();
  impl->set_storage_offset(static_cast<std::int64_t>(offset / c10::elementSize(dtype)));
  impl->set_sizes_contiguous(shape);
  return tensor;
}

at::Tensor build_alias(TensorArena& arena, const at::Tensor& tensor) {
  at::Tensor alias =
      tensor_of(arena, c10::Storage(tensor.storage()), tensor.key_set(), tensor.scalar_type());
  c10::TensorImpl* impl = alias.unsafeGetTensorImpl();
  impl->set_storage_offset(tensor.storage_offset());
  impl->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  return alias;
}

}  // namespace tensorlift
