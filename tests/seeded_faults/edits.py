"""The faults, and the edits of csrc that bring them about where ``is_seeded(name)`` says so."""

from __future__ import annotations

from typing import NamedTuple

# Name: what is wrong.
FAULTS = {
    # Buffers of the staging memory.
    "buffer_not_awaited": "a buffer is filled again before its last copy has run",
    "buffer_shared": "two callers get the same buffer",
    "buffer_not_returned": "after an error a buffer is never given back",
    "failed_pin_counted": "pinned memory that was not to be had counts as had",
    "event_before_copy": "the buffer's event is recorded before its copy is enqueued",
    "event_on_wrong_stream": "the buffer's event is recorded on another stream than the copy's",
    # Streams, and memory of the device.
    "copy_before_gather": "the copy is enqueued before the buffer is full",
    "consumer_not_ordered": "the caller's stream does not wait for the copies",
    "memory_not_recorded": "the allocator is not told that the caller's stream uses the memory",
    "own_memory_not_recorded": "nor for arrays with storage of their own",
    "memory_of_consumer": "memory comes from the caller's stream, which may still use it",
    "stream_of_other_device": "the stream is that of the device that was current before",
    "cast_on_consumer": "a cast is launched on the caller's stream",
    "cast_too_early": "a cast is launched before its elements are sent",
    "own_memory_at_zero": "each part of a large array goes to the beginning of its memory",
    "part_not_cut": "what is larger than a buffer is sent at once, by a larger one",
    "part_from_its_row": "a part of a row is filled with the beginning of the row",
    "gaps_not_cleared": "older contents of the buffer are sent between small arrays",
    # The caller's own memory on the device.
    "out_not_awaited": "it is written to while the caller's stream still reads it",
    "out_not_ordered": "after an error the caller's stream does not wait for what was enqueued",
    "out_not_recorded": "its allocator is not told that the stream of the copies writes to it",
    "out_resized_elsewhere": "an empty one gets memory of another stream, which may still use it",
    # Arrays in pinned memory.
    "pinned_not_recorded": "the allocator is not told of a copy out of pinned memory",
    "pinned_by_address": "the allocator is told an address that it does not know",
    "pinned_though_written": "elements are sent from where the caller may still change them",
    # explain(device=).
    "explained_by_section": "explain counts a copy for each section, however it is cut",
    # The binding layer.
    "gil_held": "the GIL is held while elements are sent",
    "items_dropped": "the caller's arrays are released too early",
    "capture_allowed": "a graph capture is not noticed",
    "fork_allowed": "a forked child may use the device of its parent",
}


class Edit(NamedTuple):
    """`text` stands once in csrc/`file`, and is replaced."""

    file: str
    text: str
    replacement: str


EDITS = [
    Edit(
        "device/staging.cpp",
        "memory(at::getHostAllocator(device.type())->allocate(bytes)),",
        """memory([&]() -> c10::DataPtr {
          auto* allocator = at::getHostAllocator(device.type());
          if (!is_seeded("buffer_shared")) return allocator->allocate(bytes);
          static const auto* const one_for_all =
              new c10::DataPtr(allocator->allocate(std::size_t{1} << 26));
          return {one_for_all->get(), c10::Device(c10::DeviceType::CPU)};
        }()),""",
    ),
    Edit(
        "device/staging.cpp",
        "    lease.await();\n",
        '    if (!is_seeded("buffer_not_awaited")) lease.await();\n',
    ),
    Edit(
        "device/staging.cpp",
        """      lock.lock();
      --pinned_;
""",
        """      lock.lock();
      if (!is_seeded("failed_pin_counted")) --pinned_;
""",
    ),
    Edit(
        "device/staging.cpp",
        "  if (buffer_) ring_->give_back(std::move(buffer_));\n",
        """  if (is_seeded("buffer_not_returned") && std::uncaught_exceptions() > 0) return;
  if (buffer_) ring_->give_back(std::move(buffer_));
""",
    ),
    Edit(
        "device/transfer.cpp",
        "if (is_capturing(copies_)) {",
        'if (is_capturing(copies_) && !is_seeded("capture_allowed")) {',
    ),
    Edit(
        "device/transfer.cpp",
        "allocate(Section& section) const {\n",
        """allocate(Section& section) const {
    const c10::StreamGuard on_stream(is_seeded("memory_of_consumer") ? consumer_ : copies_);
""",
    ),
    Edit(
        "device/transfer.cpp",
        """      at::getHostAllocator(options_.device.type())
          ->record_event(const_cast<void*>(source.block), source.context, copies_);
""",
        """      if (is_seeded("pinned_not_recorded")) continue;
      const bool by_address = is_seeded("pinned_by_address");
      const void* block = by_address ? source.data : source.block;
      at::getHostAllocator(options_.device.type())
          ->record_event(const_cast<void*>(block), by_address ? nullptr : source.context, copies_);
""",
    ),
    Edit(
        "device/transfer.cpp",
        "    for (const Piece& piece : pieces) {\n      const PackedBytes& packed",
        """    pass_gate();
    if (is_seeded("copy_before_gather")) copy(items, pieces, buffer);
    for (const Piece& piece : pieces) {
      const PackedBytes& packed""",
    ),
    Edit(
        "device/transfer.cpp",
        "    copy(items, pieces, buffer);\n  }\n",
        '    if (!is_seeded("copy_before_gather")) copy(items, pieces, buffer);\n  }\n',
    ),
    Edit(
        "device/transfer.cpp",
        "if (section.dtype == section.packed_dtype) return;\n",
        """if (section.dtype == section.packed_dtype) return;
    const c10::StreamGuard on_stream(is_seeded("cast_on_consumer") ? consumer_ : copies_);
""",
    ),
    Edit(
        "device/transfer.cpp",
        "arrived.block(consumer_);",
        'if (!is_seeded("consumer_not_ordered")) arrived.block(consumer_);',
    ),
    Edit(
        "device/transfer.cpp",
        "    impl_.recordDataPtrOnStream(",
        """    if (is_seeded("memory_not_recorded") && !section.is_own) return;
    if (is_seeded("own_memory_not_recorded") && section.is_own) return;
    impl_.recordDataPtrOnStream(""",
    ),
    Edit(
        "device/transfer.cpp",
        "return impl_.getStream(options_.device);",
        """return impl_.getStream(
        is_seeded("stream_of_other_device") ? guard_.original_device() : options_.device);""",
    ),
    Edit(
        "device/transfer.cpp",
        "    std::exception_ptr failure;\n",
        """    if (is_seeded("event_before_copy")) buffer.sent_on(copies_);
    std::exception_ptr failure;
""",
    ),
    Edit(
        "device/transfer.cpp",
        "    buffer.sent_on(copies_);\n    if (failure)",
        """    const bool on_wrong = is_seeded("event_on_wrong_stream");
    if (!is_seeded("event_before_copy")) buffer.sent_on(on_wrong ? consumer_ : copies_);
    if (failure)""",
    ),
    Edit(
        "device/transfer.cpp",
        "first - section.packed_begin);",
        'section.is_own && is_seeded("own_memory_at_zero") ? 0 : first - section.packed_begin);',
    ),
    Edit(
        "device/transfer.cpp",
        "  Cutter cutter(",
        """  const auto cast = [&] { for_each_section([&](Section& s) { transfer.convert(s); }); };
  if (is_seeded("cast_too_early")) cast();
  Cutter cutter(""",
    ),
    Edit(
        "device/transfer.cpp",
        "  for_each_section([&](Section& section) { transfer.convert(section); });\n",
        '  if (!is_seeded("cast_too_early")) cast();\n',
    ),
    Edit(
        "device/transfer.cpp",
        "    transfer.wait_for_consumer();\n",
        '    if (!is_seeded("out_not_awaited")) transfer.wait_for_consumer();\n',
    ),
    Edit(
        "device/transfer.cpp",
        "      transfer.order();  // the caller still has the memory\n",
        '      if (!is_seeded("out_not_ordered")) transfer.order();\n',
    ),
    Edit(
        "device/transfer.cpp",
        "    const c10::DataPtr& data = memory.storage().data_ptr();\n",
        """    const c10::DataPtr& data = memory.storage().data_ptr();
    if (is_seeded("out_not_recorded")) return;
""",
    ),
    Edit(
        "device/transfer.cpp",
        "add_copy(last - first); });",
        """add_copy(last - first);
            if (is_seeded("explained_by_section") && first > 0) --counts.copies;
          });""",
    ),
    Edit(
        "plan/packed_bytes.cpp",
        "if (part > limit) {",
        'if (part > limit && !is_seeded("part_not_cut")) {',
    ),
    Edit(
        "copy/gather.cpp",
        "copies_.elements_before(copy, numel, begin - job.slot),",
        """is_seeded("part_from_its_row")
                    ? 0
                    : copies_.elements_before(copy, numel, begin - job.slot),""",
    ),
    Edit(
        "ops/batch.cpp",
        "if (device.stream) on_stream.emplace",
        'if (device.stream && !is_seeded("out_resized_elsewhere")) on_stream.emplace',
    ),
    Edit(
        "copy/gather.cpp",
        "if (over != 0)",
        'if (over != 0 && !is_seeded("gaps_not_cleared"))',
    ),
    Edit(
        "ops/from_numpy_packed.cpp",
        "may_change = device.non_blocking;",
        'may_change = device.non_blocking && !is_seeded("pinned_though_written");',
    ),
    Edit(
        "ops/from_numpy_packed.cpp",
        "    const GilRelease release;\n    send(",
        """    std::optional<GilRelease> release;
    if (!is_seeded("gil_held")) release.emplace();
    send(""",
    ),
    Edit(
        "ops/from_numpy_packed.cpp",
        """  SourceReader reader(Items(arrays), read_options);
  reader.read_all();
  const Sources& sources = reader.sources();
""",
        """  auto reader = std::make_unique<SourceReader>(Items(arrays), read_options);
  reader->read_all();
  const Sources sources = reader->sources();
  if (is_seeded("items_dropped")) reader.reset();
""",
    ),
    Edit(
        "binding/device_options.cpp",
        "  const c10::Stream current =\n",
        '  if (is_seeded("capture_allowed")) return;\n  const c10::Stream current =\n',
    ),
    Edit(
        "binding/device_options.cpp",
        "  if (!is_lost) return;\n",
        '  if (!is_lost || is_seeded("fork_allowed")) return;\n',
    ),
    Edit(
        "binding/bindings.cpp",
        '  module.def("default_threads"',
        """  module.def("seed", &seed);
  module.def("close_gate", &close_gate);
  module.def("somebody_waits_at_gate", &somebody_waits_at_gate);
  module.def("open_gate", &open_gate);
  module.def("default_threads\"""",
    ),
]
