#include "ops/from_numpy_pinned.h"

#include <utility>
#include <vector>

#include "binding/gc_pause.h"
#include "binding/gil.h"
#include "binding/untracked_list.h"
#include "binding/warnings.h"
#include "copy/gather.h"
#include "input/source_reader.h"
#include "memory/build.h"
#include "memory/output.h"
#include "memory/pinned_storages.h"
#include "ops/source_jobs.h"

namespace tensorlift {
namespace {

using Dtype = std::optional<c10::ScalarType>;

c10::IntArrayRef shape_of(const Sources& sources, const Sources::Signature& signature) {
  return {sources.shape(signature), static_cast<std::size_t>(signature.ndim)};
}

std::vector<std::size_t> sizes_of(const Sources& sources, Dtype dtype) {
  std::vector<std::size_t> sizes;
  sources.for_each_signature([&](const Sources::Signature& signature, std::size_t begin,
                                 std::size_t end) {
    const c10::ScalarType result = dtype.value_or(signature.element.dtype);
    sizes.insert(sizes.end(), end - begin, checked_nbytes(shape_of(sources, signature), result));
  });
  return sizes;
}

// The tensors, filled.
std::vector<at::Tensor> copy_to_pinned(const Sources& sources, Dtype dtype,
                                       std::optional<int> threads) {
  const std::vector<std::size_t> sizes = sizes_of(sources, dtype);
  TensorArena arena(sizes.size());
  std::vector<c10::Storage> storages;
  {
    const GilRelease release;  // it can take long
    storages = allocate_pinned(arena, sizes);
  }
  std::vector<at::Tensor> tensors;
  tensors.reserve(sizes.size());
  GatherJobs jobs;
  jobs.reserve(sizes.size());
  SourceJobs adder(sources, jobs);
  sources.for_each_signature(
      [&](const Sources::Signature& signature, std::size_t begin, std::size_t end) {
        const c10::ScalarType result = dtype.value_or(signature.element.dtype);
        const c10::IntArrayRef shape = shape_of(sources, signature);
        for (std::size_t i = begin; i < end; ++i) {
          tensors.push_back(storages[i] ? build_over_storage(arena, storages[i], result, shape)
                                        : build_empty(arena, 0, result, shape));
          adder.add(signature, i, result, static_cast<char*>(tensors[i].mutable_data_ptr()));
        }
      });
  without_gil(jobs.nbytes(), [&] { jobs.run(threads); });
  return tensors;
}

}  // namespace

py::list from_numpy_pinned(py::handle arrays, const ConvertOptions& options,
                           std::optional<int> threads, bool takes_tensors) {
  ReadOptions read_options{options.dtype, std::nullopt};
  read_options.takes_tensors = takes_tensors;
  SourceReader reader(Items(arrays), read_options);
  reader.read_all();
  const Sources& sources = reader.sources();
  if (options.dtype && any_discards_imaginary(sources, *options.dtype)) warn_discarded_imaginary();
  std::vector<at::Tensor> tensors = copy_to_pinned(sources, options.dtype, threads);
  UntrackedList list(tensors.size());
  const GcPause no_finalizers;
  for (std::size_t i = 0; i < tensors.size(); ++i) list.set(i, std::move(tensors[i]));
  return std::move(list).track();
}

}  // namespace tensorlift
