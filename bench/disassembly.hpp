// Kernels as a disassembler prints them: instructions, the main loop, what its instructions are.
// Knows: the text of llvm-objdump for AMD GPUs and of cuobjdump -sass, which mnemonic is of which class.
// Must not know: tiles, chips' rates, where the text comes from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tilefit::inline v0::bench {

/// Classes that the instructions of a loop are counted by.
enum class op_class : std::uint8_t {
  matrix,         ///< v_mfma, HMMA, HGMMA
  scaled_matrix,  ///< with block scales
  convert,        ///< from one format of numbers to another
  vector,         ///< everything else that computes in vector registers
  lds_read,
  lds_write,
  lds_direct,  ///< from memory to LDS or shared memory without registers between
  global_load,
  global_store,
  scalar,  ///< SALU; the uniform datapath and constant loads on NVIDIA
  wait,    ///< waits, barriers, and what only keeps an order or a distance
  branch,
};
inline constexpr std::size_t op_class_count = 12;

std::string_view name_of(op_class kind) noexcept;

struct instruction {
  std::uint64_t address = 0;
  std::string text;  ///< mnemonic and operands, without a predicate
  bool predicated = false;
  bool falls_through = true;  ///< the next instruction may follow
  std::int64_t target = -1;   ///< number of the instruction that it may jump to, or -1
  op_class kind = op_class::vector;
  int lane_bytes = 0;  ///< of a lane, that a load, a store or an LDS instruction moves

  std::string_view mnemonic() const noexcept { return std::string_view(text).substr(0, text.find(' ')); }
};

struct kernel_text {
  std::string name;  ///< as in the code object, mangled
  std::vector<instruction> instructions;
};

/// From `llvm-objdump -d`, which prints instructions behind a tab, with "// ADDRESS: BYTES <symbol+0xOFFSET>" behind
/// them.
std::vector<kernel_text> read_amdgpu_disassembly(std::string_view text);
/// From `cuobjdump -sass`: "Function : NAME", then "/*ADDRESS*/ INSTRUCTION ;" lines.
std::vector<kernel_text> read_sass(std::string_view text);

/// The main loop: of the loops that load from memory, the one with the most matrix instructions, and of those in it the
/// same again, down to the innermost. Of it one way around from its first instruction: without a loop in it where there
/// is such a way, with as many matrix instructions as possible, but not more than `most_matrices`; of those with the
/// most copies to LDS; of those the shortest. Numbers of instructions in the order of the way; empty when there is no
/// such loop. `most_matrices` tells kernels apart that have a faster and a slower path for the same work.
std::vector<std::size_t> main_loop(const kernel_text& kernel, int most_matrices = 1 << 20);

/// What a stretch of instructions holds.
struct op_counts {
  std::array<int, op_class_count> of{};
  int total = 0;
  std::int64_t lds_lane_bytes = 0;   ///< read, written, and written by lds_direct
  std::int64_t load_lane_bytes = 0;  ///< of global_load

  int operator[](op_class kind) const noexcept { return of[static_cast<std::size_t>(kind)]; }
  int matrices() const noexcept { return (*this)[op_class::matrix] + (*this)[op_class::scaled_matrix]; }
};
op_counts count_ops(const kernel_text& kernel, const std::vector<std::size_t>& which);

/// Rows, columns and depth of a matrix instruction that a wave computes (of HGMMA: its quarter), and whether an operand
/// has 8-bit elements. All 0 for other instructions.
struct matrix_shape {
  int m = 0, n = 0, k = 0;
  int bits = 16;  ///< of the wider operand
  double flops() const noexcept { return 2.0 * m * n * k; }
};
matrix_shape shape_of(const instruction& op) noexcept;

}  // namespace tilefit::inline v0::bench
