#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../../csrc/copy/gather.h"
#include "bytes.h"
#include "cases.h"
#include "check.h"
#include "elements.h"
#include "engine_tests.h"
#include "threads.h"

namespace tensorlift::native {
namespace {

constexpr int kCallers = 8;
constexpr int kThreads = 3;  // of each caller
constexpr std::int64_t kRows = 64;
constexpr std::int64_t kColumns = 100;

// A transposed array of float32, which becomes float64: every piece reads, casts and writes.
class Transposed {
 public:
  Transposed() : numbers_(kRows * kColumns) {
    for (std::size_t i = 0; i < numbers_.size(); ++i) numbers_[i] = static_cast<float>(i);
  }

  void add_to(GatherJobs& jobs, double* slot) const {
    static constexpr std::array<std::int64_t, 2> kShape{kColumns, kRows};
    static constexpr std::array<std::int64_t, 2> kStrides{sizeof(float), kColumns * sizeof(float)};
    ArrayView view;
    view.data = const_cast<float*>(numbers_.data());  // only read
    view.shape = kShape.data();
    view.strides = kStrides.data();
    view.ndim = 2;
    view.element = element_type(c10::kFloat);
    jobs.add(view, kRows * kColumns, c10::kDouble, slot);
  }

  static void check_copy(const std::vector<double>& copy) {
    for (std::int64_t i = 0; i < kRows * kColumns; ++i) {
      const std::int64_t source = i % kRows * kColumns + i / kRows;
      check(copy[static_cast<std::size_t>(i)] == static_cast<double>(source),
            "every element is where it belongs");
    }
  }

 private:
  std::vector<float> numbers_;
};

// Each caller writes a target of its own.
void test_same_source() {
  const Transposed source;
  on_threads(kCallers, [&source](int /*caller*/) {
    for (int round = 0; round < 4; ++round) {
      std::vector<double> copy(kRows * kColumns);
      GatherJobs jobs;
      source.add_to(jobs, copy.data());
      jobs.run(kThreads);
      Transposed::check_copy(copy);
    }
  });
}

// Callers share the jobs, and each writes its part of one target.
void test_same_jobs() {
  const Transposed source;
  std::vector<double> copy(kRows * kColumns);
  GatherJobs jobs;
  source.add_to(jobs, copy.data());
  on_threads(kCallers, [&jobs](int caller) {
    const std::size_t part = jobs.nbytes() / kCallers;
    const auto number = static_cast<std::size_t>(caller);
    jobs.run_part(number * part, (number + 1) * part, 0, kThreads);
  });
  Transposed::check_copy(copy);
}

// What the fuzzer does, on many threads at once.
void test_any_jobs() {
  on_threads(kCallers, [](int caller) {
    Noise noise(static_cast<std::uint32_t>(caller));
    for (int round = 0; round < 60; ++round) {
      std::array<std::uint8_t, 200> input;
      for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(noise.next() >> 8);
      Bytes bytes(input.data(), input.size());
      if (round % 2 == 0) {
        run_slots_case(bytes);
      } else {
        run_batch_case(bytes);
      }
    }
  });
}

}  // namespace

void test_copy() {
  test_same_source();
  test_same_jobs();
  test_any_jobs();
}

}  // namespace tensorlift::native
