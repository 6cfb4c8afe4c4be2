// Names, arguments and documentation of the native module; no logic.
#define TENSORLIFT_DEFINES_NUMPY_API
#include <torch/csrc/utils/pybind.h>

#include "binding/batch_options.h"
#include "binding/device_options.h"
#include "binding/exceptions.h"
#include "binding/gil.h"
#include "binding/native_function.h"
#include "binding/normalize_options.h"
#include "binding/options.h"
#include "binding/pinned_array.h"
#include "binding/python_api.h"
#include "binding/segment_messages.h"
#include "binding/torch_objects.h"
#include "device/staging.h"
#include "errors.h"
#include "memory/block_cache.h"
#include "memory/blocks.h"
#include "ops/batch.h"
#include "ops/collate.h"
#include "ops/collate_out.h"
#include "ops/columns.h"
#include "ops/convert_tree.h"
#include "ops/explain.h"
#include "ops/explain_batch.h"
#include "ops/from_numpy.h"
#include "ops/from_numpy_packed.h"
#include "ops/from_numpy_pinned.h"
#include "ops/pack.h"
#include "ops/to_numpy.h"
#include "parallel/thread_pool.h"
#include "shm/received_segments.h"
#include "shm/segment_pool.h"

#define TENSORLIFT_STRINGIFY_(x) #x
#define TENSORLIFT_STRINGIFY(x) TENSORLIFT_STRINGIFY_(x)

namespace tensorlift {
namespace {

// Read from the file by _build_check.py, before the module is loaded: true even where the package's
// metadata is not.
[[gnu::used]] const char kBuildMark[] =
    "TENSORLIFT_BUILT_FOR_TORCH=" TENSORLIFT_STRINGIFY(TENSORLIFT_TORCH_VERSION);

// The arguments that all batches take, in front of those of each.
struct CommonArguments {
  py::handle dtype, channel_dim, memory_format, out, pin_memory, device, non_blocking, stream,
      threads;
};

BatchOptions batch_options(Operation operation, const CommonArguments& arguments) {
  BatchOptions options;
  options.layout.operation = operation;
  parse_batch_options(arguments.dtype, arguments.channel_dim, arguments.memory_format,
                      arguments.out, arguments.pin_memory, arguments.threads, options);
  if (options.out && arguments.device.is_none() && !options.out->is_cpu()) {
    options.out_on_device = {arguments.non_blocking, arguments.stream};
    return options;
  }
  options.device = parse_device(arguments.device, arguments.non_blocking, arguments.stream,
                                options.memory == OutputMemory::kPinned);
  return options;
}

py::object as_pair(Batch batch) {
  return py::make_tuple(wrap_tensor(std::move(batch.values)), wrap_tensor(std::move(batch.sizes)));
}

py::object as_padded(Batch batch) {
  py::object mask = batch.mask.defined() ? wrap_tensor(std::move(batch.mask)) : py::none();
  return py::make_tuple(wrap_tensor(std::move(batch.values)), wrap_tensor(std::move(batch.sizes)),
                        std::move(mask));
}

template <typename... Options>
py::object join_by_torch(Operation operation, const Items& items, const char* refusal,
                         Options... options) {
  py::list list;
  for (PyObject* item : items.all()) list.append(py::handle(item));
  return import_module("tensorlift._ops.by_torch")
      .attr("join")(operation == Operation::kStack ? "stack" : "cat", list, refusal, options...);
}

py::object stack(py::handle arrays, py::handle dim, py::handle dtype, py::handle channel_dim,
                 py::handle channel_order, py::handle scale, py::handle mean, py::handle std,
                 py::handle memory_format, py::handle out, py::handle pin_memory, py::handle device,
                 py::handle non_blocking, py::handle stream, py::handle threads) {
  BatchOptions options = batch_options(
      Operation::kStack,
      {dtype, channel_dim, memory_format, out, pin_memory, device, non_blocking, stream, threads});
  parse_dim(dim, options);
  parse_normalize({scale, mean, std, channel_order}, options);
  const Items items(arrays);
  try {
    return wrap_tensor(make_batch(items, options).values);
  } catch (const ForTorch& refusal) {
    return join_by_torch(Operation::kStack, items, refusal.what(), dim, dtype, channel_dim,
                         memory_format, out, pin_memory, device, non_blocking, stream,
                         normalize_tuple(options));
  }
}

py::object cat(py::handle arrays, py::handle dim, py::handle dtype, py::handle channel_dim,
               py::handle memory_format, py::handle out, py::handle pin_memory, py::handle device,
               py::handle non_blocking, py::handle stream, py::handle threads) {
  BatchOptions options = batch_options(
      Operation::kCat,
      {dtype, channel_dim, memory_format, out, pin_memory, device, non_blocking, stream, threads});
  parse_dim(dim, options);
  const Items items(arrays);
  try {
    return wrap_tensor(make_batch(items, options).values);
  } catch (const ForTorch& refusal) {
    return join_by_torch(Operation::kCat, items, refusal.what(), dim, dtype, channel_dim,
                         memory_format, out, pin_memory, device, non_blocking, stream);
  }
}

// The function that takes a list, or a tree, of arrays.
template <auto kConvert>
py::object convert(py::handle arrays, py::handle dtype, py::handle device, py::handle copy,
                   py::handle readonly, py::handle pin_memory, py::handle non_blocking,
                   py::handle stream, py::handle pack, py::handle threads) {
  const bool is_pinned = parse_bool("pin_memory", pin_memory);
  const Placement placement{parse_device(device, non_blocking, stream, is_pinned), is_pinned,
                            parse_bool("pack", pack) ? Packing::kSlabs : Packing::kAlone};
  return kConvert(arrays, parse_convert_options(dtype, copy, readonly), placement,
                  parse_threads(threads));
}

// `transfer`: a tuple (device, non_blocking, stream, threads), or None.
ColumnsTarget columns_target(py::handle memory, py::handle transfer) {
  ColumnsTarget target;
  if (!memory.is_none()) target.memory = parse_columns_memory(memory.cast<std::string>());
  const bool is_pinned = target.memory == ColumnsMemory::kPinned;
  if (transfer.is_none() && !is_pinned) return target;
  py::object device = py::none(), non_blocking = py::bool_(true), stream = py::none();
  if (!transfer.is_none()) {
    const auto options = py::reinterpret_borrow<py::tuple>(transfer);
    device = options[0], non_blocking = options[1], stream = options[2];
    target.threads = parse_threads(options[3]);
  }
  const auto parsed = parse_device(device, non_blocking, stream, is_pinned);
  if (parsed && parsed->is_plain) throw InternalError("collate: not to this device");
  if (parsed) target.device = parsed->transfer;
  return target;
}

py::object collate_samples(py::handle samples, py::handle fn_map, py::handle options_for,
                           py::handle memory, py::handle transfer, py::handle out,
                           py::handle check) {
  return collate(samples, {fn_map, options_for, columns_target(memory, transfer), out, check});
}

#define TENSORLIFT_CONVERT_ARGUMENTS                                                     \
  ", dtype, device, copy, readonly, pin_memory, non_blocking, stream, pack, threads, /)" \
  "\n--\n\n"

PyMethodDef native_methods[] = {
    native_method<&convert<&from_numpy>>("from_numpy",
                                         "from_numpy(arrays" TENSORLIFT_CONVERT_ARGUMENTS
                                         "One tensor per array: see tensorlift.from_numpy."),
    native_method<&convert<&convert_tree>>(
        "convert", "convert(tree" TENSORLIFT_CONVERT_ARGUMENTS
                   "See tensorlift.convert; NotImplemented where there are other containers."),
    native_method<&stack>("stack",
                          "stack(arrays, dim, dtype, channel_dim, channel_order, scale, mean, std, "
                          "memory_format, out, pin_memory, device, non_blocking, stream, threads, "
                          "/)\n--\n\nSee tensorlift.stack."),
    native_method<&cat>("cat",
                        "cat(arrays, dim, dtype, channel_dim, memory_format, out, pin_memory, "
                        "device, non_blocking, stream, threads, /)\n--\n\nSee tensorlift.cat."),
    native_method<&collate_samples>("collate",
                                    "collate(samples, fn_map, options_for, memory, transfer, "
                                    "out, check, /)\n--\n\nSee tensorlift.collate."),
    native_method<&to_numpy>(
        "to_numpy",
        "to_numpy(tensors, copy, /)\n--\n\nSee tensorlift.to_numpy; NotImplemented where a tensor "
        "is on a device."),
    {nullptr, nullptr, 0, nullptr},
};

void define_batches(py::module_& module) {
  module.def(
      "pad",
      [](py::handle arrays, py::handle padding_value, const py::object& padding_side,
         py::handle pad_to_multiple_of, py::handle max_length, py::handle truncate, py::handle mask,
         py::handle mask_dim, py::handle dtype, py::handle channel_dim, py::handle channel_order,
         py::handle scale, py::handle mean, py::handle std, py::handle memory_format,
         py::handle out, py::handle pin_memory, py::handle device, py::handle non_blocking,
         py::handle stream, py::handle threads) {
        BatchOptions options =
            batch_options(Operation::kPad, {dtype, channel_dim, memory_format, out, pin_memory,
                                            device, non_blocking, stream, threads});
        parse_padding(
            {padding_value, padding_side, pad_to_multiple_of, max_length, truncate, mask, mask_dim},
            options);
        parse_normalize({scale, mean, std, channel_order}, options);
        return as_padded(make_batch(Items(arrays), options));
      },
      py::arg("arrays"), py::arg("padding_value"), py::arg("padding_side"),
      py::arg("pad_to_multiple_of"), py::arg("max_length"), py::arg("truncate"), py::arg("mask"),
      py::arg("mask_dim"), py::arg("dtype"), py::arg("channel_dim"), py::arg("channel_order"),
      py::arg("scale"), py::arg("mean"), py::arg("std"), py::arg("memory_format"), py::arg("out"),
      py::arg("pin_memory"), py::arg("device"), py::arg("non_blocking"), py::arg("stream"),
      py::arg("threads"), "(batch, sizes, mask): see tensorlift.pad.");
  module.def(
      "jagged",
      [](py::handle arrays, py::handle offsets_dtype, py::handle dtype, py::handle out,
         py::handle pin_memory, py::handle device, py::handle non_blocking, py::handle stream,
         py::handle threads) {
        BatchOptions options =
            batch_options(Operation::kJagged, {dtype, py::none(), py::none(), out, pin_memory,
                                               device, non_blocking, stream, threads});
        options.sizes_dtype = parse_offsets_dtype(offsets_dtype);
        return as_pair(make_batch(Items(arrays), options));
      },
      py::arg("arrays"), py::arg("offsets_dtype"), py::arg("dtype"), py::arg("out"),
      py::arg("pin_memory"), py::arg("device"), py::arg("non_blocking"), py::arg("stream"),
      py::arg("threads"), "(values, offsets): see tensorlift.jagged.");
  module.def(
      "pack",
      [](py::handle arrays, py::handle max_tokens, py::handle strategy, py::handle truncate,
         py::handle dtype, py::handle pin_memory, py::handle device, py::handle non_blocking,
         py::handle stream, py::handle threads) {
        PackOptions options{
            batch_options(Operation::kJagged, {dtype, py::none(), py::none(), py::none(),
                                               pin_memory, device, non_blocking, stream, threads})};
        parse_packing(max_tokens, strategy, truncate, options);
        Packed packed = make_packed(arrays, options);
        return py::make_tuple(
            wrap_tensor(std::move(packed.tokens)), wrap_tensor(std::move(packed.position_ids)),
            wrap_tensor(std::move(packed.cu_seqlens)), wrap_tensor(std::move(packed.sequences)),
            wrap_tensor(std::move(packed.row_offsets)));
      },
      py::arg("arrays"), py::arg("max_tokens"), py::arg("strategy"), py::arg("truncate"),
      py::arg("dtype"), py::arg("pin_memory"), py::arg("device"), py::arg("non_blocking"),
      py::arg("stream"), py::arg("threads"),
      "(tokens, position_ids, cu_seqlens, sequences, row_offsets): see tensorlift.pack.");
  module.def(
      "position_ids",
      [](py::handle offsets) { return wrap_tensor(position_ids(parse_offsets(offsets))); },
      py::arg("offsets"), "See tensorlift.Jagged.position_ids; for offsets of the host.");
  module.def(
      "send_tensors",
      [](py::handle tensors, py::handle device, py::handle non_blocking, py::handle stream,
         py::handle threads) {
        const auto target = parse_device(device, non_blocking, stream, device.is_none());
        if (target && target->is_plain) throw InternalError("send_tensors: not to this device");
        const std::optional<int> limit = parse_threads(threads);
        if (!target) return from_numpy_pinned(tensors, {}, limit, /*takes_tensors=*/true);
        return from_numpy_packed(tensors, {}, target->transfer, Packing::kAlone, limit,
                                 /*takes_tensors=*/true);
      },
      py::arg("tensors"), py::arg("device"), py::arg("non_blocking"), py::arg("stream"),
      py::arg("threads"),
      "As from_numpy(device=, pack=False), or (pin_memory=True) without, but for arrays and "
      "tensors of the host.");
  module.def(
      "send_into",
      [](const py::list& tensors, const py::list& out, py::handle transfer) {
        write_into(tensors, out, columns_target(py::none(), transfer));
      },
      py::arg("tensors"), py::arg("out"), py::arg("transfer"),
      "Writes tensors of the host to those of `out`, which fit and are on the device of "
      "`transfer`, "
      "a tuple (device, non_blocking, stream, threads).");
  module.def(
      "can_send_to",
      [](py::handle device) {
        const auto target = parse_device(device, py::bool_(true), py::none(), false);
        return target && !target->is_plain;
      },
      py::arg("device"), "Is it a device that send_tensors() knows? It is made ready.");
  module.def(
      "check_device_name", [](py::handle device) { static_cast<void>(parse_device_name(device)); },
      py::arg("device"), "Raises where it names none. It is not made ready.");
  module.def(
      "check_normalize",
      [](py::handle scale, py::handle mean, py::handle std, py::handle channel_order) {
        BatchOptions options;
        parse_normalize({scale, mean, std, channel_order}, options);
      },
      py::arg("scale"), py::arg("mean"), py::arg("std"), py::arg("channel_order"),
      "Raises where stack() would not take them.");
  module.def(
      "check_padding",
      [](py::handle padding_value, const py::object& padding_side, py::handle pad_to_multiple_of,
         py::handle max_length, py::handle truncate, py::handle mask, py::handle mask_dim) {
        BatchOptions options;
        parse_padding(
            {padding_value, padding_side, pad_to_multiple_of, max_length, truncate, mask, mask_dim},
            options);
      },
      py::arg("padding_value"), py::arg("padding_side"), py::arg("pad_to_multiple_of"),
      py::arg("max_length"), py::arg("truncate"), py::arg("mask"), py::arg("mask_dim"),
      "Raises where pad() would, before there are arrays.");
  module.def(
      "check_offsets_dtype",
      [](py::handle dtype) { static_cast<void>(parse_offsets_dtype(dtype)); }, py::arg("dtype"),
      "Raises where it is no dtype of offsets.");
  module.def(
      "check_threads", [](py::handle threads) { static_cast<void>(parse_threads(threads)); },
      py::arg("threads"), "Raises where it is no positive int or None.");
  module.def(
      "explain_sent",
      [](py::handle arrays, py::handle dtype, py::handle device, py::handle non_blocking,
         py::handle pack) -> py::object {
        const auto target = parse_device(device, non_blocking, py::none(), false);
        if (!target) return py::none();
        const Packing packing = parse_bool("pack", pack) ? Packing::kSlabs : Packing::kAlone;
        return explain_sent(arrays, parse_dtype(dtype), *target, packing);
      },
      py::arg("arrays"), py::arg("dtype"), py::arg("device"), py::arg("non_blocking"),
      py::arg("pack"),
      "(entries, error, transfer): see tensorlift.explain; None where that is the host.");
  module.def(
      "explain_batch",
      [](py::handle arrays, py::handle operation, py::handle dim, py::handle padding_value,
         py::handle pad_to_multiple_of, py::handle max_length, py::handle truncate, py::handle mask,
         py::handle mask_dim, py::handle offsets_dtype, py::handle dtype, py::handle channel_dim,
         py::handle channel_order, py::handle scale, py::handle mean, py::handle std,
         py::handle memory_format, py::handle device, py::handle non_blocking) {
        BatchOptions options = batch_options(
            parse_operation(operation), {dtype, channel_dim, memory_format, py::none(), Py_False,
                                         device, non_blocking, py::none(), py::none()});
        parse_dim(dim, options);
        parse_padding({.padding_value = padding_value,
                       .pad_to_multiple_of = pad_to_multiple_of,
                       .max_length = max_length,
                       .truncate = truncate,
                       .mask = mask,
                       .mask_dim = mask_dim},
                      options);
        parse_normalize({scale, mean, std, channel_order}, options);
        const c10::ScalarType offsets = parse_offsets_dtype(offsets_dtype);
        if (options.layout.operation == Operation::kJagged) options.sizes_dtype = offsets;
        ignore_unused(options);
        return explain_batch(arrays, options);
      },
      py::arg("arrays"), py::arg("operation"), py::arg("dim"), py::arg("padding_value"),
      py::arg("pad_to_multiple_of"), py::arg("max_length"), py::arg("truncate"), py::arg("mask"),
      py::arg("mask_dim"), py::arg("offsets_dtype"), py::arg("dtype"), py::arg("channel_dim"),
      py::arg("channel_order"), py::arg("scale"), py::arg("mean"), py::arg("std"),
      py::arg("memory_format"), py::arg("device"), py::arg("non_blocking"),
      "(entries, shape, dtype, error, transfer): see tensorlift.explain.");
  module.def(
      "explain_pack",
      [](py::handle arrays, py::handle max_tokens, py::handle strategy, py::handle truncate,
         py::handle dtype, py::handle device, py::handle non_blocking) {
        PackOptions options{
            batch_options(Operation::kJagged, {dtype, py::none(), py::none(), py::none(), Py_False,
                                               device, non_blocking, py::none(), py::none()})};
        parse_packing(max_tokens, strategy, truncate, options);
        return explain_pack(arrays, options);
      },
      py::arg("arrays"), py::arg("max_tokens"), py::arg("strategy"), py::arg("truncate"),
      py::arg("dtype"), py::arg("device"), py::arg("non_blocking"),
      "(entries, shape, dtype, error, transfer, rows): see tensorlift.explain.");
}

void define_memory(py::module_& module) {
  module.def(
      "empty_cache",
      [] {
        empty_block_cache();
        const GilRelease release;
        empty_segment_pool();
        empty_received_segments();
        empty_staging();
      },
      "See tensorlift.empty_cache.");
  module.def("cached_bytes", &cached_bytes, "Bytes of pageable memory that are kept for reuse.");
  module.def("staging_bytes", &staging_bytes, py::call_guard<py::gil_scoped_release>(),
             "Bytes of pinned memory in staging buffers.");
  module.def("empty_pinned", &empty_pinned, py::arg("shape"), py::arg("dtype"),
             "See tensorlift.empty_pinned.");
  module.def(
      "staging",
      [] {
        const StagingSettings settings = staging_settings();
        return py::make_tuple(settings.chunk_bytes, settings.buffers, settings.threads.value_or(0));
      },
      "(chunk_bytes, buffers, threads): see tensorlift.staging.");
  module.def("set_staging", &parse_staging, py::arg("chunk_bytes"), py::arg("buffers"),
             py::arg("threads"), "See tensorlift.set_staging.");
}

// pybind11 does not look whether there was memory for an instance.
PyObject* allocate_or_throw(PyTypeObject* type, Py_ssize_t items) {
  PyObject* object = PyType_GenericAlloc(type, items);
  if (object == nullptr) throw py::error_already_set();
  return object;
}

void set_throwing_allocation(PyHeapTypeObject* type) {
  type->ht_type.tp_alloc = &allocate_or_throw;
  type->ht_type.tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;  // by Python, which cannot catch it
}

void define_segments(py::module_& module) {
  module.attr("alone_from_bytes") = kAloneFrom;
  module.def("has_segments", &has_segments, "Are there segments of shared memory on this system?");
  module.def("can_look_up_descriptors", &can_look_up_descriptors,
             "May other processes look up our file descriptors by number?");
  py::class_<SegmentHold, SegmentHoldPtr>(module, "SegmentHold",
                                          "A segment that cannot be used again meanwhile.",
                                          py::custom_type_setup(&set_throwing_allocation));
  module.def("place_in_segment", &place_in_segment, py::arg("tensor"),
             "(segment, begin, dtype, shape, ...) of a tensor over a segment, or None.");
  module.def("offer_segment", &offer_segment, py::arg("segment"), py::arg("is_looked_up"),
             "What to send so that another process can map the segment; a descriptor, or None.");
  module.def("accept_offer", &accept_offer, py::arg("offer"), py::arg("descriptor"),
             "The segment that was offered.");
  module.def(
      "tensor_in_segment", [](py::handle place) { return wrap_tensor(tensor_in_segment(place)); },
      py::arg("place"), "The tensor where place_in_segment() said.");
  module.def(
      "received_pages", &received_pages, py::arg("tensor"),
      "(address, nbytes, removals, mapping) of the pages that a worker's tensor lies in, or None.");
  module.def("close_segment_pool", &close_segment_pool,
             "For a process that ends: gives back what nobody else holds, now and later.");
  module.def("idle_segment_bytes", &idle_segment_bytes,
             "Bytes of shared memory that are kept for the next batches that are sent.");
  module.def("idle_received_bytes", &idle_received_bytes,
             "Bytes of other processes' shared memory that are kept mapped.");
}

}  // namespace

// What is shared without a GIL, and how it is guarded: README.md.
PYBIND11_MODULE(_C, module, py::mod_gil_not_used()) {
  if (_import_array() < 0) throw py::error_already_set();
  py::register_local_exception_translator(&set_python_error);

  module.doc() = "The native part of tensorlift. Use the functions of the package instead.";
  module.attr("built_for_torch") = kBuildMark + sizeof("TENSORLIFT_BUILT_FOR_TORCH=") - 1;
  module.def(
      "explain",
      [](py::handle arrays, py::handle dtype, py::handle copy, py::handle readonly) {
        return explain(arrays, parse_convert_options(dtype, copy, readonly));
      },
      py::arg("arrays"), py::arg("dtype"), py::arg("copy"), py::arg("readonly"),
      "(action, reason, shape, dtype in, dtype out, nbytes, message) per array.");
  if (PyModule_AddFunctions(module.ptr(), native_methods) != 0) throw py::error_already_set();
  define_batches(module);
  define_memory(module);
  define_segments(module);
  module.def("default_threads", &default_threads, "Threads that a call uses unless told.");
}

}  // namespace tensorlift
