#include "tokenize/graphemes.hpp"

#include "tokenize/characters.hpp"

namespace crosstune::core {
namespace {

// What a cluster has so far, by the rules GB3 to GB11 of Unicode's annex 29.
class Cluster {
 public:
  explicit Cluster(char32_t code) { add(code, grapheme_class_of(code)); }

  // Adds a code point unless a cluster ends before it.
  bool add_if_joined(char32_t code) {
    const GraphemeClass next = grapheme_class_of(code);
    if (!joins(code, next)) return false;
    add(code, next);
    return true;
  }

 private:
  using Class = GraphemeClass;

  bool joins(char32_t code, Class next) const {
    if (last_ == Class::kControl || next == Class::kControl) return last_code_ == U'\r' && code == U'\n';
    switch (next) {
      case Class::kExtend: case Class::kLinker: case Class::kNonJoiner: case Class::kJoiner: case Class::kSpacing:
        return true;
      case Class::kHangulL: case Class::kHangulLv: case Class::kHangulLvt:
        if (last_ == Class::kHangulL) return true;
        break;
      case Class::kHangulV:
        if (last_ == Class::kHangulL || last_ == Class::kHangulV || last_ == Class::kHangulLv) return true;
        break;
      case Class::kHangulT:
        if (last_ == Class::kHangulV || last_ == Class::kHangulLv || last_ == Class::kHangulT || last_ == Class::kHangulLvt) return true;
        break;
      case Class::kConsonant:
        if (linked_) return true;
        break;
      case Class::kPictograph:
        if (joined_pictograph_) return true;
        break;
      default: break;
    }
    return last_ == Class::kPrepend;
  }

  void add(char32_t code, Class next) {
    const bool extends = next == Class::kExtend || next == Class::kLinker;
    linked_ = consonant_ && (next == Class::kLinker || (linked_ && (extends || next == Class::kJoiner)));
    consonant_ = next == Class::kConsonant || (consonant_ && (extends || next == Class::kJoiner));
    joined_pictograph_ = pictograph_ && next == Class::kJoiner;
    pictograph_ = next == Class::kPictograph || (pictograph_ && (extends || next == Class::kNonJoiner));
    last_ = next;
    last_code_ = code;
  }

  Class last_ = Class::kOther;
  char32_t last_code_ = 0;
  bool consonant_ = false;          // it ends with a consonant of an Indic script and what extends it
  bool linked_ = false;             // ... with a linker among that
  bool pictograph_ = false;         // it ends with a pictograph and what extends it
  bool joined_pictograph_ = false;  // ... and with a joiner behind that
};

}  // namespace

std::u32string_view GraphemeClusters::next() {
  const std::size_t start = position_;
  if (start == text_.size()) return {};
  Cluster cluster(text_[position_++]);
  while (position_ < text_.size() && cluster.add_if_joined(text_[position_])) ++position_;
  return text_.substr(start, position_ - start);
}

}  // namespace crosstune::core
