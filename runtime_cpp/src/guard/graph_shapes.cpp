#include "guard/graph_shapes.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

#include "guard/wire.hpp"

namespace crosstune::core {
WireError too_much(const Node& node) {
  return WireError("a node " + node.op + " that takes more than a graph of its size may");
}

double size_of(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), 1.0, [](double product, std::int64_t size) {
    return product * static_cast<double>(size);
  });
}

namespace {


WireError unfit(const Node& node) { return WireError("a node " + node.op + " whose shapes do not fit"); }

const Value& value_at(const Node& node, const Inputs& inputs, std::size_t index) {
  if (index >= inputs.size() || inputs[index] == nullptr) throw unfit(node);
  return *inputs[index];
}

const Shape& shape_at(const Node& node, const Inputs& inputs, std::size_t index) { return value_at(node, inputs, index).shape; }

const std::vector<std::int64_t>& numbers_at(const Node& node, const Inputs& inputs, std::size_t index) {
  const Value& value = value_at(node, inputs, index);
  if (!value.numbers) throw WireError("a node " + node.op + " whose shape cannot be told");
  return *value.numbers;
}

std::int64_t attribute(const Node& node, const std::string& name, std::int64_t missing) {
  const auto found = node.attributes.find(name);
  return found == node.attributes.end() || found->second.empty() ? missing : static_cast<std::int64_t>(found->second[0]);
}

// An axis counted from the front.
std::size_t axis_of(const Node& node, std::int64_t axis, std::size_t rank) {
  const auto signed_rank = static_cast<std::int64_t>(rank);
  if (axis < -signed_rank || axis >= signed_rank) throw unfit(node);
  return static_cast<std::size_t>(axis < 0 ? axis + signed_rank : axis);
}

std::set<std::size_t> axes_of(const Node& node, const std::vector<std::int64_t>& axes, std::size_t rank) {
  std::set<std::size_t> found;
  for (const std::int64_t axis : axes) found.insert(axis_of(node, axis, rank));
  return found;
}

Shape broadcast(const Node& node, const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape shape = longer;
  const std::size_t offset = longer.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    const std::int64_t x = longer[offset + i], y = shorter[i];
    if (x != y && x != 1 && y != 1) throw unfit(node);
    shape[offset + i] = x == 1 ? y : x;
  }
  return shape;
}

// Refuses further inputs that are neither one number nor one for each of `size` columns.
void require_vectors(const Node& node, const Inputs& inputs, std::size_t first, std::int64_t size) {
  for (std::size_t i = first; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr || inputs[i]->shape.empty()) continue;
    const Shape& shape = inputs[i]->shape;
    if (shape.size() != 1 || (shape[0] != 1 && shape[0] != size)) throw unfit(node);
  }
}

using Shapes = std::vector<Shape>;

Shapes same(const Node& node, const Inputs& inputs) {
  const Shape& shape = shape_at(node, inputs, 0);
  require_vectors(node, inputs, 1, shape.empty() ? 1 : shape.back());
  return {shape};
}

Shapes broadcast_all(const Node& node, const Inputs& inputs) {
  Shape shape = shape_at(node, inputs, 0);
  for (std::size_t i = 1; i < inputs.size(); ++i) shape = broadcast(node, shape, shape_at(node, inputs, i));
  return {shape};
}

Shapes expand(const Node& node, const Inputs& inputs) {
  const std::vector<std::int64_t>& sizes = numbers_at(node, inputs, 1);
  if (std::any_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size < 0; })) throw unfit(node);
  return {broadcast(node, shape_at(node, inputs, 0), sizes)};
}

Shapes concat(const Node& node, const Inputs& inputs) {
  Shape joined = shape_at(node, inputs, 0);
  const std::size_t axis = axis_of(node, attribute(node, "axis", 0), joined.size());
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    Shape shape = shape_at(node, inputs, i);
    if (shape.size() != joined.size()) throw unfit(node);
    joined[axis] += shape[axis];
    shape[axis] = joined[axis];
    if (shape != joined) throw unfit(node);
  }
  return {joined};
}

Shapes gather(const Node& node, const Inputs& inputs) {
  const Shape& data = shape_at(node, inputs, 0);
  const Shape& places = shape_at(node, inputs, 1);
  const auto axis = static_cast<std::ptrdiff_t>(axis_of(node, attribute(node, "axis", 0), data.size()));
  Shape shape(data.begin(), data.begin() + axis);
  shape.insert(shape.end(), places.begin(), places.end());
  shape.insert(shape.end(), data.begin() + axis + 1, data.end());
  return {shape};
}

Shapes gather_elements(const Node& node, const Inputs& inputs) {
  const Shape& data = shape_at(node, inputs, 0);
  const Shape& places = shape_at(node, inputs, 1);
  const std::size_t axis = axis_of(node, attribute(node, "axis", 0), data.size());
  if (places.size() != data.size()) throw unfit(node);
  for (std::size_t i = 0; i < data.size(); ++i)
    if (i != axis && places[i] > data[i]) throw unfit(node);
  return {places};
}

Shapes gather_nd(const Node& node, const Inputs& inputs) {
  const Shape& data = shape_at(node, inputs, 0);
  const Shape& places = shape_at(node, inputs, 1);
  if (places.empty() || places.back() < 1 || places.back() > static_cast<std::int64_t>(data.size())) throw unfit(node);
  Shape shape(places.begin(), places.end() - 1);
  shape.insert(shape.end(), data.begin() + static_cast<std::ptrdiff_t>(places.back()), data.end());
  return {shape};
}

Shapes matmul(const Node& node, const Inputs& inputs) {
  const Shape& a = shape_at(node, inputs, 0);
  Shape b = shape_at(node, inputs, 1);
  if (a.size() < 2 || b.size() < 2) throw unfit(node);
  if (attribute(node, "transB", 0) != 0) std::swap(b[b.size() - 2], b.back());
  if (a.back() != b[b.size() - 2]) throw unfit(node);
  require_vectors(node, inputs, 2, b.back());
  Shape shape = broadcast(node, Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  shape.push_back(a[a.size() - 2]);
  shape.push_back(b.back());
  return {shape};
}

Shapes gemm(const Node& node, const Inputs& inputs) {
  const Shape& a = shape_at(node, inputs, 0);
  Shape b = shape_at(node, inputs, 1);
  if (a.size() != 2 || b.size() != 2) throw unfit(node);
  if (attribute(node, "transB", 0) != 0) std::swap(b[0], b[1]);
  const Shape shape = {a[0], b[1]};
  if (a[1] != b[0] || broadcast(node, shape, shape_at(node, inputs, 2)) != shape) throw unfit(node);
  return {shape};
}

Shapes attention(const Node& node, const Inputs& inputs) {
  const Shape& states = shape_at(node, inputs, 0);
  const Shape& weights = shape_at(node, inputs, 1);
  const std::int64_t heads = attribute(node, "num_heads", 1);
  if (states.size() != 3 || weights.size() != 2 || states[2] != weights[0] || weights[1] % (3 * heads) != 0) throw unfit(node);
  Inputs others;
  std::vector<Shape> masks;
  for (std::size_t i = 2; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) continue;
    if (inputs[i]->type == 'i') masks.push_back(inputs[i]->shape);
    else others.push_back(inputs[i]);
  }
  require_vectors(node, others, 0, weights[1]);
  for (const Shape& mask : masks)
    if (mask != Shape{states[0]} && mask != Shape{states[0], states[1]}) throw unfit(node);
  return {{states[0], states[1], weights[1] / 3}};
}

Shapes multihead(const Node& node, const Inputs& inputs) {
  const Shape& query = shape_at(node, inputs, 0);
  const Shape& key = shape_at(node, inputs, 1);
  const Shape& value = shape_at(node, inputs, 2);
  const std::int64_t heads = attribute(node, "num_heads", 1);
  if (query.size() != 3 || key != query || value.size() != 3 || value[0] != query[0] || value[1] != query[1] ||
      query[2] % heads != 0 || value[2] % heads != 0)
    throw unfit(node);
  const Shape pairs = {query[0], heads, query[1], query[1]};
  if (inputs.size() > 3 && inputs[3] != nullptr && inputs[3]->shape != Shape{2 * query[2] + value[2]})
    throw unfit(node);  // added to query, key and value
  for (std::size_t i = 4; i < inputs.size(); ++i) {  // one number for each pair of tokens
    if (inputs[i] == nullptr) continue;
    const Shape& bias = inputs[i]->shape;
    if (bias.size() != 4 || bias[2] != pairs[2] || bias[3] != pairs[3] || broadcast(node, pairs, bias) != pairs) throw unfit(node);
  }
  return {{query[0], query[1], value[2]}};
}

Shapes range(const Node& node, const Inputs& inputs) {
  std::int64_t ends[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<std::int64_t>& numbers = numbers_at(node, inputs, i);
    if (numbers.size() != 1) throw unfit(node);
    ends[i] = numbers[0];
  }
  if (ends[2] != 1 || std::abs(ends[0]) > kMostElements || std::abs(ends[1]) > kMostElements) throw unfit(node);
  return {{std::max<std::int64_t>(0, ends[1] - ends[0])}};
}

Shapes skip_norm(const Node& node, const Inputs& inputs) {
  const Shape& shape = shape_at(node, inputs, 0);
  if (shape.empty() || broadcast(node, shape, shape_at(node, inputs, 1)) != shape) throw unfit(node);
  require_vectors(node, inputs, 2, shape.back());
  Shape row = shape;
  row.back() = 1;
  return {shape, row, row, shape};
}

Shapes reduce(const Node& node, const Inputs& inputs) {
  const Shape& shape = shape_at(node, inputs, 0);
  const std::set<std::size_t> axes = axes_of(node, numbers_at(node, inputs, 1), shape.size());
  if (axes.empty()) throw unfit(node);
  const bool keep = attribute(node, "keepdims", 1) != 0;
  Shape rest;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (axes.count(i) == 0) rest.push_back(shape[i]);
    else if (keep) rest.push_back(1);
  }
  return {rest};
}

Shapes scatter_nd(const Node& node, const Inputs& inputs) {
  const Shape &data = shape_at(node, inputs, 0), &places = shape_at(node, inputs, 1), &rows = shape_at(node, inputs, 2);
  if (data.empty() || places.size() != 2 || places[1] != 1) throw unfit(node);
  Shape expected = data;
  expected[0] = places[0];
  if (rows != expected) throw unfit(node);
  return {data};
}

// The shapes of all rows, of which the operator gives so many as its second input says.
Shapes rows_of(const Node& node, const Inputs& inputs) {
  const Shape& data = shape_at(node, inputs, 0);
  if (data.size() != 1 || shape_at(node, inputs, 1) != Shape{1}) throw unfit(node);
  return {data, data};
}

Shapes either(const Node& node, const Inputs& inputs) {
  if (shape_at(node, inputs, 0) != shape_at(node, inputs, 1)) throw unfit(node);
  return {shape_at(node, inputs, 0)};
}

Shapes reshape(const Node& node, const Inputs& inputs) {
  const Shape& data = shape_at(node, inputs, 0);
  Shape shape = numbers_at(node, inputs, 1);
  if (std::count(shape.begin(), shape.end(), -1) > 1) throw unfit(node);
  const bool copied = attribute(node, "allowzero", 0) == 0;
  double rest = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < -1) throw unfit(node);
    if (shape[i] == 0 && copied) {
      if (i >= data.size()) throw unfit(node);
      shape[i] = data[i];
    }
    if (shape[i] != -1) rest *= static_cast<double>(shape[i]);
  }
  const double size = size_of(data);
  const auto open = std::find(shape.begin(), shape.end(), -1);
  if (open != shape.end()) {
    if (rest == 0 || std::fmod(size, rest) != 0) throw unfit(node);
    *open = static_cast<std::int64_t>(size / rest);
  }
  if (size_of(shape) != size) throw unfit(node);
  return {shape};
}

Shape dimensions(const Node& node, const Inputs& inputs) {
  const Shape& shape = shape_at(node, inputs, 0);
  const auto rank = static_cast<std::int64_t>(shape.size());
  const auto place = [rank](std::int64_t at) { return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank); };
  const std::int64_t start = place(attribute(node, "start", 0)), end = place(attribute(node, "end", rank));
  return start >= end ? Shape() : Shape(shape.begin() + start, shape.begin() + end);
}

Shapes shape_shape(const Node& node, const Inputs& inputs) {
  return {{static_cast<std::int64_t>(dimensions(node, inputs).size())}};
}

Shapes slice(const Node& node, const Inputs& inputs) {
  Shape shape = shape_at(node, inputs, 0);
  const std::vector<std::int64_t>& starts = numbers_at(node, inputs, 1);
  const std::vector<std::int64_t>& ends = numbers_at(node, inputs, 2);
  const std::vector<std::int64_t>& axes = numbers_at(node, inputs, 3);
  const std::vector<std::int64_t> steps =
      inputs.size() == 5 ? numbers_at(node, inputs, 4) : std::vector<std::int64_t>(starts.size(), 1);
  if (starts.size() != ends.size() || starts.size() != axes.size() || starts.size() != steps.size() ||
      std::any_of(steps.begin(), steps.end(), [](std::int64_t step) { return step != 1; }) ||
      std::set<std::int64_t>(axes.begin(), axes.end()).size() != axes.size())
    throw unfit(node);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::int64_t& size = shape[axis_of(node, axes[i], shape.size())];
    const auto place = [size](std::int64_t at) { return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size); };
    size = std::max<std::int64_t>(0, place(ends[i]) - place(starts[i]));
  }
  return {shape};
}

Shapes pad(const Node& node, const Inputs& inputs) {
  Shape shape = shape_at(node, inputs, 0);
  const std::vector<std::int64_t>& pads = numbers_at(node, inputs, 1);
  if (pads.size() != 2 * shape.size() || size_of(shape_at(node, inputs, 2)) != 1) throw unfit(node);
  for (std::size_t i = 0; i < pads.size(); ++i) {
    if (pads[i] < 0 || pads[i] > kMostElements) throw unfit(node);
    shape[i % shape.size()] += pads[i];
  }
  return {shape};
}

Shapes split(const Node& node, const Inputs& inputs) {
  Shape shape = shape_at(node, inputs, 0);
  const auto parts = static_cast<std::int64_t>(node.outputs.size());
  const std::size_t axis = axis_of(node, attribute(node, "axis", 0), shape.size());
  if (attribute(node, "num_outputs", 0) != parts || shape[axis] % parts != 0) throw unfit(node);
  shape[axis] /= parts;
  return Shapes(node.types.size(), shape);
}

Shapes squeeze(const Node& node, const Inputs& inputs) {
  const Shape& shape = shape_at(node, inputs, 0);
  std::set<std::size_t> axes;
  if (inputs.size() > 1) axes = axes_of(node, numbers_at(node, inputs, 1), shape.size());
  Shape rest;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool removed = inputs.size() > 1 ? axes.count(i) != 0 : shape[i] == 1;
    if (removed && shape[i] != 1) throw unfit(node);
    if (!removed) rest.push_back(shape[i]);
  }
  return {rest};
}

Shapes tile(const Node& node, const Inputs& inputs) {
  Shape shape = shape_at(node, inputs, 0);
  const std::vector<std::int64_t>& repeats = numbers_at(node, inputs, 1);
  if (repeats.size() != shape.size()) throw unfit(node);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (repeats[i] < 0) throw unfit(node);
    if (shape[i] != 0 && repeats[i] > kMostElements / shape[i]) throw too_much(node);
    shape[i] *= repeats[i];
  }
  return {shape};
}

Shapes unsqueeze(const Node& node, const Inputs& inputs) {
  Shape shape = shape_at(node, inputs, 0);
  const std::vector<std::int64_t>& added = numbers_at(node, inputs, 1);
  const std::set<std::size_t> axes = axes_of(node, added, shape.size() + added.size());
  if (axes.size() != added.size()) throw unfit(node);
  for (const std::size_t axis : axes) shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 1);
  return {shape};
}

Shapes transpose(const Node& node, const Inputs& inputs) {
  const Shape& shape = shape_at(node, inputs, 0);
  const auto order = node.attributes.find("perm");
  Shape result;
  std::set<std::size_t> seen;
  if (order != node.attributes.end()) {
    for (const double axis : order->second) {
      if (axis < 0 || axis >= static_cast<double>(shape.size())) throw unfit(node);
      result.push_back(shape[static_cast<std::size_t>(axis)]);
      seen.insert(static_cast<std::size_t>(axis));
    }
  }
  if (result.size() != shape.size() || seen.size() != shape.size()) throw unfit(node);
  return {result};
}

const std::map<std::string, Shapes (*)(const Node&, const Inputs&)>& shape_rules() {
  static const std::map<std::string, Shapes (*)(const Node&, const Inputs&)> rules = {
      {"attention", attention}, {"broadcast", broadcast_all}, {"cast", same}, {"concat", concat}, {"either", either}, {"expand", expand},
      {"gather", gather}, {"gather elements", gather_elements}, {"gather nd", gather_nd}, {"gemm", gemm},
      {"matmul", matmul}, {"multihead", multihead}, {"pad", pad}, {"range", range}, {"reduce", reduce},
      {"reshape", reshape}, {"rows", rows_of}, {"same", same}, {"scatter nd", scatter_nd}, {"shape", shape_shape},
      {"skip norm", skip_norm}, {"slice", slice}, {"split", split}, {"squeeze", squeeze}, {"tile", tile}, {"transpose", transpose},
      {"unsqueeze", unsqueeze},
  };
  return rules;
}

// The elements of a small integer result, for the operators that builds compute shapes with.
std::optional<std::vector<std::int64_t>> numbers_of(const Node& node, const Inputs& inputs) {
  if (node.op == "Shape") return dimensions(node, inputs);
  if (node.op == "Concat") {
    std::vector<std::int64_t> joined;
    for (const Value* value : inputs) {
      if (value == nullptr || !value->numbers) return std::nullopt;
      joined.insert(joined.end(), value->numbers->begin(), value->numbers->end());
    }
    if (joined.size() > kMaxRank) return std::nullopt;
    return joined;
  }
  if (node.op == "Mul") {
    if (!inputs[0]->numbers || !inputs[1]->numbers) return std::nullopt;
    const std::vector<std::int64_t>&left = *inputs[0]->numbers, &right = *inputs[1]->numbers;
    if (left.size() != 1 && right.size() != 1) return std::nullopt;
    std::vector<std::int64_t> products;
    for (const std::int64_t x : left)
      for (const std::int64_t y : right) {
        if (std::abs(static_cast<double>(x) * static_cast<double>(y)) > static_cast<double>(kMostElements)) return std::nullopt;
        products.push_back(x * y);
      }
    return products;
  }
  if (node.op == "Gather") {
    if (!inputs[0]->numbers || !inputs[1]->numbers || inputs[0]->shape.size() != 1) return std::nullopt;
    std::vector<std::int64_t> picked;
    for (const std::int64_t place : *inputs[1]->numbers)
      picked.push_back((*inputs[0]->numbers)[axis_of(node, place, inputs[0]->numbers->size())]);
    return picked;
  }
  if (node.op == "Reshape" || node.op == "Squeeze" || node.op == "Unsqueeze") return inputs[0]->numbers;
  return std::nullopt;
}

}  // namespace

std::vector<Value> results_of(const Node& node, const Inputs& inputs, bool fewer_rows) {
  Shapes shapes = shape_rules().at(node.rules->shape)(node, inputs);
  if (fewer_rows && node.rules->shape == "rows")
    for (Shape& shape : shapes) shape[0] = std::max<std::int64_t>(1, shape[0] - 1);
  std::vector<Value> results;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].size() > kMaxRank) throw unfit(node);
    for (const std::int64_t size : shapes[i])
      if (size > kMostElements) throw too_much(node);
    if (size_of(shapes[i]) > static_cast<double>(kMostElements)) throw too_much(node);
    results.push_back({node.types[i], shapes[i], std::nullopt});
  }
  if (shapes[0].size() <= 1) results[0].numbers = numbers_of(node, inputs);
  return results;
}

}  // namespace crosstune::core
