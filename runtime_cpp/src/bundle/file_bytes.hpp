// The contents of one file. Unlike a std::string, the memory is not zeroed before it is filled.
#pragma once

#include <memory>
#include <string_view>

namespace crosstune::core {

struct FileBytes {
  std::unique_ptr<char[]> data;
  std::size_t size = 0;

  std::string_view view() const { return {data.get(), size}; }
};

}  // namespace crosstune::core
