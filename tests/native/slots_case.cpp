#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "../../csrc/copy/gather.h"
#include "../../csrc/plan/packed_bytes.h"
#include "arrays.h"
#include "bytes.h"
#include "cases.h"
#include "elements.h"
#include "positions.h"
#include "target.h"

namespace tensorlift::native {
namespace {

constexpr std::int64_t kMaxNumel = 300;

enum class How {
  kAdd,       // a job of its own
  kRepeat,    // like the last one
  kRepeated,  // one number, again and again
};

struct Slot {
  Array source;
  How how;
  c10::ScalarType dtype;
  bool has_strides;
  Shape strides;        // bytes
  std::int64_t offset;  // in the target
};

class SlotsCase {
 public:
  explicit SlotsCase(Bytes& bytes)
      : bytes_(bytes),
        noise_(bytes.byte()),
        is_packed_(bytes.flag()),
        casts_(bytes.flag()),
        dtype_(bytes.one_of(kTypes)) {}

  void run() {
    const std::int64_t count = 1 + bytes_.below(4);
    for (std::int64_t i = 0; i < count; ++i) slots_.push_back(make_slot());
    Target target(noise_, static_cast<std::size_t>(end_));
    for (const Slot& slot : slots_) expect(slot, target);
    if (is_packed_ && bytes_.flag()) {
      send(target);
    } else {
      write(target);
    }
    target.check();
  }

 private:
  Slot make_slot() {
    Slot slot = make_source();
    const auto itemsize = static_cast<std::int64_t>(c10::elementSize(slot.dtype));
    slot.has_strides = !is_packed_ && slot.how != How::kRepeated && bytes_.flag();
    if (slot.how == How::kRepeat) {
      slot.has_strides = slots_.back().has_strides;
      slot.strides = slots_.back().strides;
    } else if (slot.has_strides) {
      slot.strides = make_slot_strides(bytes_, slot.source.shape, itemsize);
    } else {
      slot.strides = contiguous_strides(slot.source.shape, itemsize);
    }
    const std::int64_t gap = !is_packed_ && bytes_.once_in(3) ? bytes_.below(16) : 0;
    slot.offset = end_ + gap;
    end_ = slot.offset + extent_of(slot.source.shape, slot.strides, itemsize);
    if (is_packed_) end_ = static_cast<std::int64_t>(slot_aligned(static_cast<std::size_t>(end_)));
    return slot;
  }

  // All but its place. Often like the last one: such jobs share what the engine knows of them.
  Slot make_source() {
    Slot slot{};
    const Slot* last = slots_.empty() ? nullptr : &slots_.back();
    const bool can_repeat =
        last != nullptr && last->how != How::kRepeated && last->source.numel > 0;
    if (can_repeat && bytes_.flag()) {
      slot.how = bytes_.flag() ? How::kRepeat : How::kAdd;
      slot.source = make_like(bytes_, noise_, last->source);
      slot.dtype = last->dtype;
      return slot;
    }
    slot.how = bytes_.once_in(8) ? How::kRepeated : How::kAdd;
    const bool has_last_shape = last != nullptr && bytes_.once_in(4);
    const Shape shape = has_last_shape ? last->source.shape : make_shape(bytes_, kMaxNumel);
    slot.source = make_array(bytes_, noise_, bytes_.one_of(kTypes), shape);
    slot.dtype = casts_ && slot.how == How::kAdd ? dtype_ : slot.source.element.dtype;
    if (slot.how == How::kRepeated) {
      slot.source.swapped = false;
      slot.source.strides.assign(shape.size(), 0);
    }
    return slot;
  }

  static Shape contiguous_strides(const Shape& shape, std::int64_t itemsize) {
    Shape strides(shape.size());
    for (std::size_t d = shape.size(); d-- > 0;) {
      strides[d] = itemsize;
      itemsize *= shape[d];
    }
    return strides;
  }

  void expect(const Slot& slot, Target& target) const {
    const Array& source = slot.source;
    for (std::int64_t i = 0; i < source.numel; ++i) {
      char element[kMaxElementBytes];
      source.read(i, element);
      target.expect(slot.offset + offset_of(position_of(i, source.shape), slot.strides),
                    source.element.dtype, slot.dtype, element);
    }
    if (!is_packed_) return;
    const auto end = static_cast<std::size_t>(slot.offset) +
                     static_cast<std::size_t>(source.numel) * c10::elementSize(slot.dtype);
    target.expect_zeros(end, slot_aligned(end));
  }

  // Adds all jobs, for slots that begin at `first`.
  void add_all(GatherJobs& jobs, char* first) const {
    for (const Slot& slot : slots_) {
      const Array& source = slot.source;
      char* place = first + slot.offset;
      switch (slot.how) {
        case How::kAdd:
          jobs.add(source.view(), source.numel, slot.dtype, place,
                   slot.has_strides ? slot.strides.data() : nullptr);
          break;
        case How::kRepeat:
          jobs.repeat(source.data, place);
          break;
        case How::kRepeated:
          jobs.add_repeated(source.data, slot.dtype, source.numel, place);
          break;
      }
    }
    if (is_packed_) jobs.clear_gaps();
  }

  void send(const Target& target) {
    PackedBytes packed;
    packed.nbytes = static_cast<std::size_t>(end_);
    add_all(packed.jobs, PackedBytes::at(0));
    write_packed(bytes_, noise_, packed, target);
  }

  void write(const Target& target) {
    enum Way { kWhole, kParts, kRows };
    const auto way = static_cast<Way>(bytes_.below(is_packed_ ? 2 : 3));  // rows clear no gaps
    const std::int64_t lines = static_cast<std::int8_t>(bytes_.byte());
    const std::ptrdiff_t shift =
        way == kWhole ? 0 : lines * static_cast<std::ptrdiff_t>(kSlotAlignment);
    GatherJobs jobs;
    add_all(jobs, target.data() - shift);
    if (bytes_.flag()) jobs.use_non_temporal_stores();
    const int threads = make_threads(bytes_);
    if (way == kWhole) return jobs.run(threads);
    if (way == kParts) {
      return for_each_window(bytes_, jobs.nbytes(), [&](std::size_t begin, std::size_t end) {
        jobs.run_part(begin, end, shift, threads, kSlotAlignment);
      });
    }
    const std::int64_t rows = make_rows();
    for_each_window(
        bytes_, static_cast<std::size_t>(rows), [&](std::size_t begin, std::size_t end) {
          jobs.run_rows(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end), rows,
                        shift, threads, kSlotAlignment);
        });
  }

  // A number of rows that every array can be cut into.
  std::int64_t make_rows() {
    std::int64_t divisor = 0;
    for (const Slot& slot : slots_) divisor = std::gcd(divisor, slot.source.numel);
    if (divisor == 0) return 1;  // nothing to be written
    std::int64_t rows = 1 + bytes_.below(divisor);
    while (divisor % rows != 0) --rows;
    return rows;
  }

  Bytes& bytes_;
  Noise noise_;
  const bool is_packed_;  // contiguous slots, each at a multiple of 64, as for a device
  const bool casts_;
  const c10::ScalarType dtype_;
  std::vector<Slot> slots_;
  std::int64_t end_ = 0;
};

}  // namespace

void run_slots_case(Bytes& bytes) { SlotsCase(bytes).run(); }

}  // namespace tensorlift::native
