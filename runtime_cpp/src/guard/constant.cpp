#include "guard/constant.hpp"

#include <algorithm>
#include <cstring>

#include "guard/message.hpp"

namespace crosstune::core {
namespace {


// Whether all numbers are finite. A single number may be infinite, because graphs mask padding with minus infinity.
template <typename Bits>
bool are_finite(std::string_view bytes, Bits exponent) {
  const std::size_t count = bytes.size() / sizeof(Bits);
  const auto bits_at = [&](std::size_t i) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + i * sizeof(Bits), sizeof(Bits));
    return bits;
  };
  constexpr Bits kWithoutSign = static_cast<Bits>(static_cast<Bits>(~Bits{0}) >> 1);
  if (count == 1) return (bits_at(0) & kWithoutSign) <= exponent;
  bool finite = true;
  for (std::size_t i = 0; i < count; ++i) finite &= (bits_at(i) & exponent) != exponent;
  return finite;
}

bool are_finite_numbers(std::string_view bytes, char type) {
  if (type == 'f') return are_finite<std::uint32_t>(bytes, 0x7F800000);
  if (type == 'h') return are_finite<std::uint16_t>(bytes, 0x7C00);
  if (type == 'd') return are_finite<std::uint64_t>(bytes, 0x7FF0000000000000);
  return true;
}

// The elements of a small integer constant, which may be a shape, axes or positions.
template <typename Integer>
std::vector<std::int64_t> read_integers(std::string_view bytes) {
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(Integer)) {
    Integer number;
    std::memcpy(&number, bytes.data() + i, sizeof(Integer));
    numbers.push_back(number);
  }
  return numbers;
}

// The shape as Python writes a tuple.
std::string format_shape(const std::vector<std::uint64_t>& shape) {
  std::string text;
  for (std::size_t i = 0; i < std::min(shape.size(), kMaxRank); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

// Whether a tensor of this shape has `size` bytes; never overflows.
bool shape_has_size(const std::vector<std::uint64_t>& shape, std::uint64_t element_bytes, std::uint64_t size) {
  if (shape.size() > kMaxRank) return false;
  for (const std::uint64_t length : shape)
    if (length > static_cast<std::uint64_t>(kMostElements)) return false;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return size == 0;
  std::uint64_t bytes = element_bytes;
  for (const std::uint64_t length : shape) {
    if (bytes > size / length) return false;
    bytes *= length;
  }
  return bytes == size;
}

}  // namespace

Constant parse_constant(std::string_view bytes) {
  const Message tensor(bytes, graph_rules().constant);
  check_entries(tensor, 16);
  Constant constant{tensor.string(8), {}};
  const std::uint64_t number = tensor.number(2);
  std::vector<std::uint64_t> shape;
  tensor.each(1, [&](const WireField& field) { append_numbers(field, kMaxRank, &shape); });
  const auto raw_data = tensor.find(9);
  const std::string_view data = raw_data ? raw_data->bytes : std::string_view();
  const auto type = graph_rules().types.find(number);
  if (type == graph_rules().types.end())
    throw WireError("the constant " + quoted(constant.name) + " of type " + std::to_string(number));
  if (!shape_has_size(shape, type->second.bytes, data.size())) {
    throw WireError(std::to_string(data.size()) + " bytes for the constant " + quoted(constant.name) + " of shape " +
                    format_shape(shape));
  }
  const char letter = type->second.letter;
  if (!are_finite_numbers(data, letter))
    throw WireError("numbers in the constant " + quoted(constant.name) + " that are not finite");
  constant.value.type = letter;
  constant.value.shape.assign(shape.begin(), shape.end());
  if (shape.size() <= 1 && data.size() <= kMaxRank * type->second.bytes) {
    if (letter == 'l') constant.value.numbers = read_integers<std::int64_t>(data);
    if (letter == 'i') constant.value.numbers = read_integers<std::int32_t>(data);
  }
  return constant;
}

void append_numbers(const WireField& field, std::size_t most, std::vector<std::uint64_t>* numbers) {
  const auto append = [most, numbers](std::uint64_t value) {
    if (numbers->size() <= most) numbers->push_back(value);
  };
  if (field.kind == WireKind::kVarint) return append(field.value);
  if (field.kind != WireKind::kBytes) throw not_bytes(field);
  for (std::size_t offset = 0; offset < field.bytes.size();) append(read_varint(field.bytes, &offset));
}

}  // namespace crosstune::core
