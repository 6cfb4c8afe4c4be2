// Runs a fuzzer's target on its corpus, without a fuzzer: the regression test of what was found.
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

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int /*count*/, char** arguments) {
  std::ifstream file(arguments[1]);
  std::string line;
  int inputs = 0;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string digits = line.substr(0, line.find_first_of(" #"));
    if (digits.empty()) continue;
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
      bytes.push_back(static_cast<std::uint8_t>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    }
    std::fprintf(stderr, "line %d\n", number);  // the last one is the one at fault
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    ++inputs;
  }
  std::printf("%d inputs replayed\n", inputs);
  return inputs > 0 ? 0 : 1;
}
