// The picture of a sweep.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "sweep_results.hpp"

// Quotes stand escaped, so that lines can be laid out. NOLINTBEGIN(modernize-raw-string-literal)

namespace tilefit::inline v0::bench {
namespace {

constexpr std::string_view colours[] = {"#1f6feb", "#d1242f", "#2da44e", "#8250df", "#bf8700", "#0a7ea4"};

/// Text as XML wants it.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

/// A panel with logarithmic or plain axes.
struct panel {
  double left, top, width, height;
  double x_from, x_to, y_from, y_to;
  bool log_y;

  double x(double value) const { return left + width * std::log(value / x_from) / std::log(x_to / x_from); }
  double y(double value) const {
    const double at = log_y ? std::log(value / y_from) / std::log(y_to / y_from) : (value - y_from) / (y_to - y_from);
    return top + height * (1 - at);
  }
};

class svg {
 public:
  void line(double x1, double y1, double x2, double y2, std::string_view style) {
    fmt::format_to(std::back_inserter(text_), "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n",
                   x1, y1, x2, y2, style);
  }
  void text(double x, double y, std::string_view words, std::string_view style = {}) {
    fmt::format_to(std::back_inserter(text_), "<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style,
                   escaped(words));
  }
  void dot(double x, double y, std::string_view colour, std::string_view title) {
    fmt::format_to(std::back_inserter(text_),
                   "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.2\" fill=\"{}\"><title>{}</title></circle>\n", x, y,
                   colour, title);
  }
  void path(const std::vector<std::pair<double, double>>& points, std::string_view style) {
    if (points.empty()) return;
    std::string d;
    for (const auto& [x, y] : points)
      fmt::format_to(std::back_inserter(d), "{}{:.1f} {:.1f}", d.empty() ? "M" : " L", x, y);
    fmt::format_to(std::back_inserter(text_), "<path d=\"{}\" fill=\"none\" {}/>\n", d, style);
  }
  std::string whole(double width, double height) const {
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" "
        "font-size=\"12\" fill=\"#1f2328\">\n<rect width=\"{0:.0f}\" height=\"{1:.0f}\" "
        "fill=\"#ffffff\"/>\n{2}</svg>\n",
        width, height, text_);
  }

 private:
  std::string text_;
};

constexpr std::string_view grid_style = "stroke=\"#d0d7de\" stroke-width=\"0.6\"";
constexpr std::string_view ceiling_style = "stroke=\"#1f2328\" stroke-width=\"1.6\"";

std::string short_number(double value) {
  return value >= 1024 && std::fmod(value, 1024) == 0 ? fmt::format("{:.0f}k", value / 1024)
                                                      : fmt::format("{:g}", value);
}

void frame(svg& out, const panel& on, std::string_view title, std::string_view x_label, std::string_view y_label,
           const std::vector<double>& x_ticks, const std::vector<double>& y_ticks) {
  for (const double tick : x_ticks) {
    out.line(on.x(tick), on.top, on.x(tick), on.top + on.height, grid_style);
    out.text(on.x(tick), on.top + on.height + 16, short_number(tick), "text-anchor=\"middle\"");
  }
  for (const double tick : y_ticks) {
    out.line(on.left, on.y(tick), on.left + on.width, on.y(tick), grid_style);
    out.text(on.left - 6, on.y(tick) + 4, short_number(tick), "text-anchor=\"end\"");
  }
  out.text(on.left, on.top - 12, title, "font-size=\"14\" font-weight=\"bold\"");
  out.text(on.left + on.width / 2, on.top + on.height + 34, x_label, "text-anchor=\"middle\"");
  out.text(0, 0, y_label,
           fmt::format("text-anchor=\"middle\" transform=\"translate({:.1f} {:.1f}) rotate(-90)\"", on.left - 42,
                       on.top + on.height / 2));
}

std::vector<double> powers(double base, double from, double to) {
  std::vector<double> ticks;
  for (double tick = std::pow(base, std::ceil(std::log(from) / std::log(base) - 1e-9)); tick <= to * 1.0001;
       tick *= base)
    ticks.push_back(tick);
  return ticks;
}

/// Teraflops over flops per byte, below the two ceilings.
void draw_roofline(svg& out, const sweep_file& sweep, const std::vector<std::string>& names) {
  double least = 1e30, most = 0, lowest = 1e30;
  for (const sweep_row& row : sweep.rows) {
    least = std::min(least, row.flops / row.bytes);
    most = std::max(most, row.flops / row.bytes);
    lowest = std::min(lowest, row.flops / row.sum_us * 1e-6);
  }
  const double math = sweep.rates.gemm_tflops > 0 ? sweep.rates.gemm_tflops : 1000;
  const panel on{70, 50, 400, 300, least / 1.5, most * 1.5, lowest / 2, math * 1.6, true};
  frame(out, on, "Roofline", "flops per byte", "TFLOP/s", powers(10, on.x_from, on.x_to),
        powers(10, on.y_from, on.y_to));
  if (sweep.rates.read_gbps > 0 && sweep.rates.gemm_tflops > 0) {
    const auto memory = [&](double intensity) { return intensity * sweep.rates.read_gbps * 1e-3; };
    const double corner = math / memory(1);
    const double start = std::max(on.x_from, on.y_from / memory(1));
    out.path({{on.x(start), on.y(memory(start))}, {on.x(corner), on.y(math)}, {on.x(on.x_to), on.y(math)}},
             ceiling_style);
    out.text(on.x(on.x_to) - 4, on.y(math) - 6, fmt::format("BF16 GEMM {:.0f} TFLOP/s", math), "text-anchor=\"end\"");
    const double middle = std::sqrt(start * corner);
    out.text(on.x(middle) + 14, on.y(memory(middle)) + 14, fmt::format("reads {:.0f} GB/s", sweep.rates.read_gbps));
  }
  for (const sweep_row& row : sweep.rows) {
    const auto place = std::find(names.begin(), names.end(), row.model) - names.begin();
    out.dot(on.x(row.flops / row.bytes), on.y(row.flops / row.sum_us * 1e-6),
            colours[static_cast<std::size_t>(place) % 6],
            fmt::format("{}, {} tokens: {:.1f} us", row.model, row.tokens, row.sum_us));
  }
}

/// Time over the floor for every token count.
void draw_ratios(svg& out, const sweep_file& sweep, const std::vector<std::string>& names) {
  double fewest = 1e30, most = 1, highest = 1;
  for (const sweep_row& row : sweep.rows) {
    fewest = std::min(fewest, static_cast<double>(row.tokens));
    most = std::max(most, static_cast<double>(row.tokens));
    highest = std::max({highest, row.sum_us / row.floor_us, row.anchor_us / row.floor_us});
  }
  const panel on{560, 50, 400, 300, fewest, std::max(most, fewest * 2), 0, std::ceil(highest), false};
  std::vector<double> ratios;
  for (double tick = 0; tick <= on.y_to + 0.01; tick += on.y_to > 6 ? 2 : 1) ratios.push_back(tick);
  frame(out, on, "Time over the floor", "tokens", "measured / floor", powers(4, on.x_from, on.x_to), ratios);
  out.line(on.left, on.y(1), on.left + on.width, on.y(1), ceiling_style);
  double legend = 70;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string_view colour = colours[i % 6];
    std::vector<std::pair<double, double>> ours, theirs;
    for (const sweep_row& row : sweep.rows) {
      if (row.model != names[i]) continue;
      const double x = on.x(static_cast<double>(row.tokens));
      ours.emplace_back(x, on.y(row.sum_us / row.floor_us));
      if (row.anchor_us > 0) theirs.emplace_back(x, on.y(row.anchor_us / row.floor_us));
      out.dot(x, ours.back().second, colour,
              fmt::format("{}, {} tokens: {:.2f} times the floor of {:.1f} us", row.model, row.tokens,
                          row.sum_us / row.floor_us, row.floor_us));
    }
    out.path(ours, fmt::format("stroke=\"{}\" stroke-width=\"1.6\"", colour));
    out.path(theirs, fmt::format("stroke=\"{}\" stroke-width=\"1.4\" stroke-dasharray=\"5 4\"", colour));
    const auto entry = [&](std::string_view words, std::string_view dashes) {
      out.line(legend, 412, legend + 24, 412, fmt::format("stroke=\"{}\" stroke-width=\"2\" {}", colour, dashes));
      out.text(legend + 29, 416, words);
      legend += 50 + 7.2 * static_cast<double>(words.size());
    };
    entry(names[i], "");
    if (!theirs.empty()) entry(names[i] + ", Triton", "stroke-dasharray=\"5 4\"");
  }
}

}  // namespace

std::string draw_sweep(const sweep_file& sweep) {
  std::vector<std::string> names;
  for (const sweep_row& row : sweep.rows)
    if (std::find(names.begin(), names.end(), row.model) == names.end()) names.push_back(row.model);
  svg out;
  draw_roofline(out, sweep, names);
  draw_ratios(out, sweep, names);
  out.text(
      70, 440,
      fmt::format("gate_up and down of one layer, BF16 x MXFP4, {}, {}. Floor: bytes at the read bandwidth or flops at "
                  "the BF16 GEMM rate of the same run.",
                  sweep.device, sweep.date),
      "font-size=\"11\" fill=\"#57606a\"");
  return out.whole(1000, 456);
}

}  // namespace tilefit::inline v0::bench

// NOLINTEND(modernize-raw-string-literal)
