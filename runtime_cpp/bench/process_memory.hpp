// The resident memory of this process, from /proc (Linux only).
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace crosstune::bench {

// `field` is "VmRSS:" (current) or "VmHWM:" (peak).
inline std::int64_t memory_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == field) {
      std::int64_t kib = 0;
      status >> kib;
      return kib * 1024;
    }
  return 0;
}

}  // namespace crosstune::bench
