// JSON text, written member by member.
// Knows: quoting and numbers. Must not know: what is written. For programs that are built without a JSON library.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace tilefit::inline v0::bench {

inline std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out += '"';
}

/// Six digits; null for what JSON has no number for.
inline std::string json_number(double value) {
  if (!std::isfinite(value)) return "null";
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

class json_object {
 public:
  json_object& raw(std::string_view key, std::string_view json) {
    text_ += text_.empty() ? "" : ", ";
    text_ += json_quoted(key);
    text_ += ": ";
    text_ += json;
    return *this;
  }
  json_object& add(std::string_view key, std::string_view value) { return raw(key, json_quoted(value)); }
  json_object& add(std::string_view key, const char* value) { return raw(key, json_quoted(value)); }
  json_object& add(std::string_view key, double value) { return raw(key, json_number(value)); }
  json_object& add(std::string_view key, bool value) { return raw(key, value ? "true" : "false"); }
  template <std::integral Integer>
  json_object& add(std::string_view key, Integer value) {
    return raw(key, std::to_string(value));
  }
  /// Several members: key, value, key, value, ...
  template <class Value, class... More>
  json_object& add(std::string_view key, const Value& value, std::string_view next, const More&... more) {
    return add(key, value).add(next, more...);
  }
  std::string text() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

/// One element a line when `lines`.
inline std::string json_array(const std::vector<std::string>& elements, bool lines = false) {
  std::string out = "[";
  for (std::size_t i = 0; i < elements.size(); ++i) {
    out += i == 0 ? "" : ",";
    out += lines ? "\n  " : i == 0 ? "" : " ";
    out += elements[i];
  }
  return out += lines ? "\n]" : "]";
}

}  // namespace tilefit::inline v0::bench
