// Files of problems with what Triton's chooser answered to them (format: tests/golden/README.md).
// Knows: the columns and how they become arguments of the engine. Must not know: what the engine answers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <tilefit/tilefit.hpp>

#include "safetensors.hpp"

namespace tilefit::inline v0::bench {

/// One row: a call of Triton's chooser.
struct opt_flags_case {
  arch_traits arch;
  matmul_problem problem;
  opt_flags_constraints constraints;
  triton_ogs_policy policy;
  std::size_t line = 0;            ///< in the file, from 1
  std::string_view text;           ///< the row as it is in the file, without its line end
  std::vector<std::string> cells;  ///< unquoted, in the order of the columns
};

/// A parsed file. `text` must outlive it.
class opt_flags_cases {
 public:
  /// The first row that is wrong is named by line, column and text.
  static result<opt_flags_cases> parse(std::string_view text);

  std::string_view header() const noexcept { return header_; }
  const std::vector<opt_flags_case>& rows() const noexcept { return rows_; }
  /// The cell of a column; empty where the file has no such column.
  std::string_view cell(const opt_flags_case& row, std::string_view column) const noexcept;

 private:
  std::string_view header_;
  std::vector<std::string> columns_;
  std::vector<opt_flags_case> rows_;
};

/// Columns that `answer_cases` appends.
inline constexpr std::string_view answer_columns =
    "tf_status,tf_block_m,tf_block_n,tf_block_k,tf_num_warps,tf_num_stages,tf_group_m,tf_xcd_swizzle,tf_split_k,"
    "tf_is_persistent,tf_epilogue_subtile,tf_waves_per_eu,tf_need_bytes";

/// The cells of `answer_columns` for a selection: absent values are empty, as in the file's own columns.
std::string answer_cells(const opt_flags_case& row, const selection& choice);

/// The whole file with `answer_columns` appended to every row.
result<std::string> answer_cases(std::string_view text);

}  // namespace tilefit::inline v0::bench
