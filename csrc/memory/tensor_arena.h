// TensorArena: where the C++ halves of a list's tensors lie, and small elements with them: a few
// allocations for the whole list.
#pragma once

#include <c10/core/StorageImpl.h>
#include <c10/core/TensorImpl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "memory/block_cache.h"

namespace tensorlift {

// A tensor is a StorageImpl and a TensorImpl, each allocated on its own and freed on its own,
// whenever and on whatever thread its last reference goes. With a thousand tensors at once malloc
// and free were a third of the instructions of making them and the largest part of what is ours to
// save. Here chunks for some 30 tensors are allocated, warm ones where there are any; the last
// object to die frees its chunk. The same for the elements of small copies: 1000 arrays of 256
// bytes, cast and freed, take 176 ns each instead of 250.
//
// A tensor that outlives its neighbours keeps their chunk: at most 16 KiB. (The arrays' memory has
// nothing to do with it: each storage releases its own.)
//
// The arena itself is used by one thread and may die before the objects in it.
class TensorArena {
 public:
  // `tensors`: how many are to be made; so that a short list takes a short chunk.
  explicit TensorArena(std::size_t tensors) : expected_(tensors) {}
  ~TensorArena() { close_chunk(); }
  TensorArena(const TensorArena&) = delete;
  TensorArena& operator=(const TensorArena&) = delete;

  // Elements of at most this many bytes may lie here.
  static constexpr std::size_t kMaxElementBytes = 1 << 10;

  // Uninitialised memory for elements, aligned to 64 bytes as torch aligns all of its own.
  [[nodiscard]] c10::DataPtr allocate_elements(std::size_t nbytes) {
    if (end_ - next_ < needed_for_elements(nbytes)) {
      open_chunk(static_cast<std::size_t>(needed_for_elements(nbytes)));
    }
    char* elements = next_ + needed_for_elements(0);
    void* memory = place(elements, nbytes);
    return {memory, memory, &deallocate, c10::Device(c10::DeviceType::CPU)};
  }

  // Impl is c10::StorageImpl or c10::TensorImpl; the result behaves as one made by `new`: the
  // virtual destructor finds the right operator delete.
  template <typename Impl, typename... Arguments>
  [[nodiscard]] Impl* make(Arguments&&... arguments) {
    return new (*this) Placed<Impl>(std::forward<Arguments>(arguments)...);
  }

 private:
  static constexpr std::size_t kAlignment = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

  struct alignas(kAlignment) Chunk {
    std::atomic<std::int64_t> live;  // objects not freed yet; kOpen more while the arena fills it
    std::size_t nbytes;
  };
  // In front of every object.
  struct alignas(kAlignment) Header {
    Chunk* chunk;
  };

  template <typename Impl>
  struct Placed final : Impl {
    using Impl::Impl;
    static void* operator new(std::size_t, TensorArena& arena) {
      static_assert(alignof(Placed) <= kAlignment);
      return arena.allocate(kPlaceBytes<Placed>);
    }
    static void operator delete(void* object, TensorArena&) noexcept { deallocate(object); }
    static void operator delete(void* object) noexcept { deallocate(object); }
  };

  // What an object takes up, its header included.
  template <typename Object>
  static constexpr std::size_t kPlaceBytes =
      sizeof(Header) + (sizeof(Object) + kAlignment - 1) / kAlignment * kAlignment;
  static constexpr std::size_t kBytesPerTensor =
      kPlaceBytes<c10::StorageImpl> + kPlaceBytes<c10::TensorImpl>;
  static constexpr std::size_t kMaxChunkBytes = 16 << 10;
  static constexpr std::size_t kImplBytes = 10 << 10;  // of a chunk for tensors alone
  static constexpr std::size_t kElementAlignment = 64;

  static constexpr std::int64_t kOpen = std::int64_t{1} << 32;

  void* allocate(std::size_t place_bytes) {
    if (static_cast<std::size_t>(end_ - next_) < place_bytes) open_chunk(0);
    return place(next_ + sizeof(Header), place_bytes - sizeof(Header));
  }

  // Puts a header in front of `object`, which has room for `nbytes`.
  void* place(char* object, std::size_t nbytes) {
    new (object - sizeof(Header)) Header{chunk_};
    next_ = object + (nbytes + kAlignment - 1) / kAlignment * kAlignment;
    ++used_;
    return object;
  }

  // From next_ to the end of elements that lie aligned, with a header before them.
  std::ptrdiff_t needed_for_elements(std::size_t nbytes) const {
    const auto first = reinterpret_cast<std::uintptr_t>(next_) + sizeof(Header);
    const std::size_t padding = (kElementAlignment - first % kElementAlignment) % kElementAlignment;
    const std::size_t rounded = (nbytes + kAlignment - 1) / kAlignment * kAlignment;
    return static_cast<std::ptrdiff_t>(sizeof(Header) + padding + rounded);
  }

  static void deallocate(void* object) noexcept {
    release((static_cast<Header*>(object) - 1)->chunk, 1);
  }

  static void release(Chunk* chunk, std::int64_t references) noexcept {
    if (chunk->live.fetch_sub(references, std::memory_order_acq_rel) == references) {
      free_block(chunk, chunk->nbytes);
    }
  }

  // For the tensors that are still to come, each with so many bytes of elements.
  void open_chunk(std::size_t element_bytes) {
    close_chunk();
    const std::size_t per_tensor = kBytesPerTensor + element_bytes;
    const std::size_t limit = element_bytes > 0 ? kMaxChunkBytes : kImplBytes;
    const std::size_t tensors = std::clamp<std::size_t>(expected_, 1, limit / per_tensor);
    expected_ -= std::min(expected_, tensors);
    const std::size_t bytes = sizeof(Chunk) + tensors * per_tensor;
    void* memory = allocate_block(bytes);
    chunk_ = new (memory) Chunk{kOpen, bytes};
    next_ = reinterpret_cast<char*>(chunk_ + 1);
    end_ = static_cast<char*>(memory) + bytes;
  }

  void close_chunk() noexcept {
    if (chunk_ != nullptr) release(chunk_, kOpen - used_);
    chunk_ = nullptr;
    next_ = end_ = nullptr;
    used_ = 0;
  }

  std::size_t expected_;
  Chunk* chunk_ = nullptr;
  char* next_ = nullptr;
  char* end_ = nullptr;
  std::int64_t used_ = 0;  // objects placed in chunk_
};

}  // namespace tensorlift
