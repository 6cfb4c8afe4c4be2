// Runs a fuzzer's target without a fuzzer: on its corpus, which is all that was found, and on
// noise, the same every time.
//
//     replay_gather corpus/gather.txt
//
// A line is an input in hexadecimal digits; what comes after # is a comment.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace tensorlift::native {
namespace {

constexpr int kNoisyInputs = 5000;
constexpr std::size_t kNoisyBytes = 200;

using Input = std::vector<std::uint8_t>;

// What is printed last is at fault.
void run(const Input& input, const char* kind, int number) {
  std::fprintf(stderr, "%s %d\n", kind, number);
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

Input parse(const std::string& digits) {
  Input input;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    input.push_back(static_cast<std::uint8_t>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return input;
}

int run_corpus(const char* path) {
  std::ifstream file(path);
  std::string line;
  int inputs = 0;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string digits = line.substr(0, line.find_first_of(" #"));
    if (digits.empty()) continue;
    run(parse(digits), "line", number);
    ++inputs;
  }
  return inputs;
}

void run_noise() {
  for (int number = 0; number < kNoisyInputs; ++number) {
    Noise noise(static_cast<std::uint32_t>(number));
    Input input(kNoisyBytes);
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(noise.next() >> 8);
    run(input, "noise", number);
  }
}

}  // namespace
}  // namespace tensorlift::native

int main(int /*count*/, char** arguments) {
  const int inputs = tensorlift::native::run_corpus(arguments[1]);
  tensorlift::native::run_noise();
  std::printf("%d inputs of the corpus and %d of noise: passed\n", inputs,
              tensorlift::native::kNoisyInputs);
  return inputs > 0 ? 0 : 1;
}
