#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>

#include "../../csrc/copy/strided.h"
#include "bytes.h"
#include "check.h"
#include "plan_cases.h"
#include "positions.h"
#include "wide.h"

namespace tensorlift::native {
namespace {

// The first element's address; every other one is within so many bytes of it. A walk looks one
// step farther.
constexpr std::uintptr_t kFirst = std::uintptr_t{1} << 47;
constexpr std::int64_t kMaxReach = std::int64_t{1} << 45;

class WalkCase {
 public:
  explicit WalkCase(Bytes& bytes) : bytes_(bytes), itemsize_(bytes.one_of({1, 2, 4, 8, 16})) {
    const std::int64_t ndim = bytes.once_in(8) ? bytes.below(kMaxDims + 1) : bytes.below(6);
    std::int64_t contiguous = itemsize_;
    for (std::int64_t d = 0; d < ndim; ++d) add_dim(contiguous);
    std::reverse(shape_.begin(), shape_.end());
    std::reverse(strides_.begin(), strides_.end());
    std::iota(order_, order_ + ndim, std::uint8_t{0});
    for (int i = 0; i < 2 && ndim > 1 && bytes.flag(); ++i) {
      std::swap(order_[bytes.below(ndim)], order_[bytes.below(ndim)]);
    }
  }

  void run() {
    check(tensorlift::is_contiguous(ndim(), shape_.data(), strides_.data(), itemsize_) ==
              is_expected_contiguous(),
          "contiguous is what follows on each other in C order");
    Dim dims[kMaxWalkDims];
    const int count = merge_dims(ndim(), shape_.data(), strides_.data(), order_, itemsize_, dims);
    check(count >= 2 && count <= kMaxWalkDims, "there are rows");
    walk(dims, count);
  }

 private:
  // The next dimension outwards; `contiguous` is what its stride would be in C order.
  void add_dim(std::int64_t& contiguous) {
    std::int64_t size = 1 + (bytes_.flag() ? bytes_.below(5) : make_size(bytes_) / 2);
    Wide numel = numel_of(shape_);
    numel *= size;
    if (!numel.fits()) size = 1;
    std::int64_t stride = bytes_.once_in(3) ? make_number(bytes_) : contiguous;
    if (size > 1) {
      Wide reach = size - 1;
      reach *= Wide::size_of(stride);
      reach += reach_;
      if (!reach.is_at_most(kMaxReach)) stride = 0;
      reach_ += (size - 1) * (stride < 0 ? -stride : stride);
      contiguous = stride == contiguous ? contiguous * size : itemsize_;
    }
    shape_.push_back(size);
    strides_.push_back(stride);
  }

  [[nodiscard]] int ndim() const { return static_cast<int>(shape_.size()); }

  // Does every step to the next index lead to the next element?
  [[nodiscard]] bool is_expected_contiguous() const {
    std::int64_t expected = itemsize_;
    for (std::size_t d = shape_.size(); d-- > 0;) {
      if (shape_[d] == 1) continue;
      if (strides_[d] != expected) return false;
      expected *= shape_[d];
    }
    return true;
  }

  // Bytes from the first element to the one that comes at `index` in the walk's order.
  [[nodiscard]] std::int64_t expected_offset(std::int64_t index) const {
    Shape shape, strides;
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      shape.push_back(shape_[order_[d]]);
      strides.push_back(strides_[order_[d]]);
    }
    return offset_of(position_of(index, shape), strides);
  }

  void walk(const Dim* dims, int count) {
    const std::int64_t numel = numel_of(shape_);
    std::int64_t next = make_size(bytes_) % numel;
    char* const first = reinterpret_cast<char*>(kFirst);
    Walker walker(dims, count, first, next);
    for (int step = 0; step < 4 && next < numel; ++step) {
      const std::int64_t wanted = 1 + make_size(bytes_) % (numel - next);
      const Rows rows = walker.next(wanted);
      check(rows.count >= 1 && rows.columns >= 1, "a step goes on");
      check(rows.count <= wanted / rows.columns, "a step goes no farther than it was told");
      const std::int64_t some_row = make_size(bytes_) % rows.count;
      const std::int64_t some_column = make_size(bytes_) % rows.columns;
      for (const std::int64_t row : {std::int64_t{0}, some_row, rows.count - 1}) {
        for (const std::int64_t column : {std::int64_t{0}, some_column, rows.columns - 1}) {
          const std::int64_t offset =
              rows.first - first + row * rows.row_stride + column * rows.column_stride;
          check(offset == expected_offset(next + row * rows.columns + column),
                "a walk passes every element in its turn");
        }
      }
      next += rows.count * rows.columns;
    }
  }

  Bytes& bytes_;
  const std::int64_t itemsize_;
  Shape shape_, strides_;
  std::uint8_t order_[kMaxDims];
  std::int64_t reach_ = 0;
};

}  // namespace

void run_walk_case(Bytes& bytes) { WalkCase(bytes).run(); }

}  // namespace tensorlift::native
