// Aligned memory that is allocated once.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace crosstune::kernels {

// Zeroed memory, handed out in pieces of multiples of 64 bytes.
class Storage {
 public:
  explicit Storage(std::size_t bytes) : size_((bytes + kPage - 1) / kPage * kPage) {
    void* memory = nullptr;
    if (posix_memalign(&memory, size_ >= kHugePage ? kHugePage : kPage, size_) != 0) throw std::bad_alloc();
    memory_.reset(static_cast<char*>(memory));
#ifdef __linux__
    if (size_ >= kHugePage) madvise(memory_.get(), size_, MADV_HUGEPAGE);  // fewer misses in the address cache; may fail
#endif
    std::memset(memory_.get(), 0, size_);
  }

  template <typename T>
  static std::size_t room(std::size_t count) {
    return (count * sizeof(T) + 63) / 64 * 64;
  }

  template <typename T>
  T* take(std::size_t count) {
    const std::size_t bytes = room<T>(count);
    if (bytes > size_ - used_) throw std::bad_alloc();
    T* piece = reinterpret_cast<T*>(memory_.get() + used_);
    used_ += bytes;
    return piece;
  }

 private:
  static constexpr std::size_t kPage = 4096, kHugePage = std::size_t{1} << 21;
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::size_t size_, used_ = 0;
  std::unique_ptr<char, Free> memory_;
};

}  // namespace crosstune::kernels
