// The normalization forms of Unicode, by the tables of the reference.
#pragma once

#include <string>

namespace crosstune::core {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

void normalize_to(UnicodeForm form, std::u32string* text);

}  // namespace crosstune::core
