// Lets the n-th allocation of a thread fail: preloaded by allocation_faults.py.
//
// All of malloc's family, for every library of the process: operator new calls malloc, and so do
// torch's host memory, Python's raw memory and NumPy's. Only the thread that armed it is counted.
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

// initial-exec: access must not allocate.
static __thread long calls __attribute__((tls_model("initial-exec")));
static __thread long first __attribute__((tls_model("initial-exec")));
static __thread long last __attribute__((tls_model("initial-exec")));
static __thread int is_armed __attribute__((tls_model("initial-exec")));

// Allocations number [from, to] of this thread fail from now on, counted from 1.
void fail_allocations(long from, long to) {
  calls = 0;
  first = from;
  last = to;
  is_armed = 1;
}

// How many there were since fail_allocations().
long stop_failing(void) {
  is_armed = 0;
  return calls;
}

static int fails(void) {
  if (!is_armed) return 0;
  ++calls;
  if (calls < first || calls > last) return 0;
  errno = ENOMEM;
  return 1;
}

void* malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }

void* calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }

void* realloc(void* old, size_t size) { return fails() ? NULL : __libc_realloc(old, size); }

void* memalign(size_t alignment, size_t size) {
  return fails() ? NULL : __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** result, size_t alignment, size_t size) {
  void* memory = memalign(alignment, size);
  if (memory == NULL) return ENOMEM;
  *result = memory;
  return 0;
}
