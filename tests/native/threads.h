// Threads: the same function on many threads, which begin together.
#pragma once

#include <barrier>
#include <thread>
#include <vector>

namespace tensorlift::native {

// Calls function(0) ... function(count - 1), each on a thread of its own.
template <typename Function>
void on_threads(int count, Function function) {
  std::barrier start(count);
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&start, &function, i] {
      start.arrive_and_wait();
      function(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tensorlift::native
