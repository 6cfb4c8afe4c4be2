// Build: memory with an owner becomes an at::Tensor. The one place where tensors are made.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <cstddef>
#include <cstdint>

#include "memory/tensor_arena.h"

namespace tensorlift {

// A CPU storage that cannot be resized, with an owner that lives as long as the storage does,
// whatever data pointer torch gives it.
[[nodiscard]] c10::Storage make_owning_storage(TensorArena& arena, std::size_t nbytes,
                                               c10::DataPtr&& memory, c10::DataPtr&& owner);

// The owner of such a storage; nullptr: it is another kind.
[[nodiscard]] const c10::DataPtr* owner_of(const c10::Storage& storage);

// A CPU tensor over `memory`, which it takes over: what at::for_blob(...).make_tensor() gives,
// without its guards and its second walk over the strides.
//
// `nbytes` is the storage's size and `strides` are in elements; the caller has checked both (see
// plan.cpp; at::from_blob would abort the process on some negative strides). GIL not needed.
[[nodiscard]] at::Tensor build_shared(TensorArena& arena, c10::DataPtr&& memory, std::size_t nbytes,
                                      c10::ScalarType dtype, c10::IntArrayRef shape,
                                      c10::IntArrayRef strides);

// A contiguous, resizable CPU tensor over `nbytes` of uninitialised pageable memory, much as
// torch.empty(shape, dtype=dtype) makes it; a small one's lies in the arena. GIL not needed.
// Throws c10::Error where the memory is not to be had.
[[nodiscard]] at::Tensor build_empty(TensorArena& arena, std::size_t nbytes, c10::ScalarType dtype,
                                     c10::IntArrayRef shape);

// A tensor without elements, with a storage of its own where that of `memory` is: what is resized
// to hold some must not lie where others do.
[[nodiscard]] at::Tensor build_empty_like(TensorArena& arena, const at::Tensor& memory,
                                          c10::ScalarType dtype, c10::IntArrayRef shape);

// As build_shared(), and `owner` lives as long as the storage.
[[nodiscard]] at::Tensor build_shared_with_owner(TensorArena& arena, c10::DataPtr&& memory,
                                                 c10::DataPtr&& owner, std::size_t nbytes,
                                                 c10::ScalarType dtype, c10::IntArrayRef shape,
                                                 c10::IntArrayRef strides);

// A contiguous tensor over all of a CPU storage.
[[nodiscard]] at::Tensor build_over_storage(TensorArena& arena, const c10::Storage& storage,
                                            c10::ScalarType dtype, c10::IntArrayRef shape);

// A contiguous tensor over the storage of `memory`, `offset` bytes from its beginning, which is a
// multiple of dtype's size. Views to the allocator, not to autograd: each has a version of its own.
[[nodiscard]] at::Tensor build_view(TensorArena& arena, const at::Tensor& memory,
                                    c10::ScalarType dtype, std::size_t offset,
                                    c10::IntArrayRef shape);

// The same elements in the same memory, whatever becomes of the tensor object. Views to the
// allocator, as above.
[[nodiscard]] at::Tensor build_alias(TensorArena& arena, const at::Tensor& tensor);

}  // namespace tensorlift
