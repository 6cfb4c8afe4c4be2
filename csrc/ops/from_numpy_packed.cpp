#include "ops/from_numpy_packed.h"

#include <memory>
#include <utility>
#include <vector>

#include "binding/gc_pause.h"
#include "binding/gil.h"
#include "binding/untracked_list.h"
#include "binding/warnings.h"
#include "copy/gather.h"
#include "input/source_reader.h"
#include "memory/build.h"
#include "memory/pinned.h"
#include "ops/source_jobs.h"
#include "plan/packed_bytes.h"
#include "plan/slabs.h"

namespace tensorlift {
namespace {

// The tensors, over the memory of their slabs.
py::list build_all(const Sources& sources, const Slabs& slabs,
                   const std::vector<at::Tensor>& memory) {
  UntrackedList tensors(sources.size());
  TensorArena arena(sources.size());
  const GcPause gc_pause;
  slabs.for_each(sources, [&](const Sources::Signature& signature, const Slabs::Place& place,
                              std::size_t index, std::size_t slab, std::size_t offset) {
    const std::size_t result_offset =
        offset / c10::elementSize(place.packed) * c10::elementSize(place.dtype);
    const c10::IntArrayRef shape(sources.shape(signature),
                                 static_cast<std::size_t>(signature.ndim));
    if (signature.numel == 0) {
      tensors.set(index, build_empty_like(arena, memory[slab], place.dtype, shape));
      return;
    }
    tensors.set(index, build_view(arena, memory[slab], place.dtype, result_offset, shape));
  });
  return std::move(tensors).track();
}

// The array's elements, if they can be sent from where they are: in pinned memory, as they have to
// arrive. Nobody changes them meanwhile, because the caller waits.
std::optional<PinnedSource> pinned_source(const Sources& sources,
                                          const Sources::Signature& signature,
                                          const Slabs::Place& place, std::size_t index,
                                          c10::DeviceType type) {
  const ArrayView view = sources.view(signature, index);
  const auto itemsize = static_cast<std::int64_t>(view.element.itemsize);
  const bool is_as_sent = signature.element.dtype == place.packed && !signature.swapped &&
                          is_contiguous(view.ndim, view.shape, view.strides, itemsize);
  if (!is_as_sent) return std::nullopt;
  const auto nbytes = static_cast<std::size_t>(signature.numel * itemsize);
  const std::optional<PinnedBlock> block = find_pinned(view.data, nbytes);
  if (!block || block->type != type) return std::nullopt;
  return PinnedSource{view.data, nbytes, block->data, block->context, 0};
}

// What is sent from where it is, with its slab as the section.
std::vector<PinnedSource> pinned_sources(const Sources& sources, const Slabs& slabs,
                                         const TransferOptions& device) {
  std::vector<PinnedSource> pinned;
  const bool may_change = device.non_blocking;
  if (may_change || !has_pinned_blocks()) return pinned;
  slabs.for_each(sources, [&](const Sources::Signature& signature, const Slabs::Place& place,
                              std::size_t index, std::size_t slab, std::size_t) {
    if (!slabs.slabs[slab].is_own) return;
    auto source = pinned_source(sources, signature, place, index, device.device.type());
    if (!source) return;
    source->section = slab;
    pinned.push_back(*source);
  });
  return pinned;
}

// A section for each slab. Those that are sent from where they are are not packed.
void add_sections(const Slabs& slabs, TransferItem& item) {
  for (const Slab& slab : slabs.slabs) {
    item.sections.push_back({.nbytes = slab.nbytes,
                             .packed_dtype = slab.packed,
                             .dtype = slab.dtype,
                             .is_own = slab.is_own});
  }
  for (const PinnedSource& source : item.pinned) {
    item.sections[source.section].is_packed = false;
  }
  for (Section& section : item.sections) {
    section.packed_begin = item.packed.nbytes;
    if (section.is_packed) item.packed.nbytes += slot_aligned(section.nbytes);
  }
}

// One for all of them. Borrows the sources.
std::vector<TransferItem> items_of(const Sources& sources, const Slabs& slabs,
                                   const TransferOptions& device) {
  std::vector<TransferItem> items(1);
  TransferItem& item = items[0];
  item.pinned = pinned_sources(sources, slabs, device);
  add_sections(slabs, item);
  GatherJobs& jobs = item.packed.jobs;
  jobs.clear_gaps();
  SourceJobs adder(sources, jobs);
  slabs.for_each_in_order(
      sources, [&](const Sources::Signature& signature, const Slabs::Place& place,
                   std::size_t index, std::size_t slab, std::size_t offset) {
        const Section& section = item.sections[slab];
        if (section.is_packed) {
          adder.add(signature, index, place.packed, PackedBytes::at(section.packed_begin + offset));
        }
      });
  return items;
}

std::vector<at::Tensor> send_all(const Sources& sources, const Slabs& slabs,
                                 const TransferOptions& device, std::optional<int> threads) {
  std::vector<TransferItem> items = items_of(sources, slabs, device);
  {
    const GilRelease release;
    send(items, device, threads);
  }
  std::vector<at::Tensor> memory;
  for (Section& section : items[0].sections) memory.push_back(std::move(section.result));
  return memory;
}

}  // namespace

py::list from_numpy_packed(py::handle arrays, const ConvertOptions& options,
                           const TransferOptions& device, Packing packing,
                           std::optional<int> threads, bool takes_tensors) {
  ReadOptions read_options{options.dtype, std::nullopt};
  read_options.takes_tensors = takes_tensors;
  SourceReader reader(Items(arrays), read_options);
  reader.read_all();
  const Sources& sources = reader.sources();
  if (sources.size() == 0) return py::list();
  if (options.dtype && any_discards_imaginary(sources, *options.dtype)) warn_discarded_imaginary();
  const Slabs slabs = plan_slabs(sources, options.dtype, packing);
  return build_all(sources, slabs, send_all(sources, slabs, device, threads));
}

ListRoute route_of(const Sources& sources, std::optional<c10::ScalarType> dtype,
                   const TransferOptions& device, Packing packing) {
  ListRoute route;
  if (sources.size() == 0) return route;
  const Slabs slabs = plan_slabs(sources, dtype, packing);
  const std::vector<TransferItem> items = items_of(sources, slabs, device);
  slabs.for_each(sources, [&](const Sources::Signature& signature, const Slabs::Place& place,
                              std::size_t, std::size_t slab, std::size_t) {
    route.arrays.push_back({.is_pinned = !items[0].sections[slab].is_packed,
                            .is_cast = signature.element.dtype != place.dtype,
                            .is_cast_there = place.packed != place.dtype});
  });
  route.counts = count_copies(items);
  return route;
}

}  // namespace tensorlift
