#include "static_kernels.hpp"

#include <fmt/format.h>

#include <utility>

#include <tilefit/kernels/generic_tile.hpp>
#include <tilefit/kernels/mfma_entry.hpp>
#include <tilefit/kernels/mfma_tile.hpp>

namespace tilefit::inline v0::bench {
namespace {

template <arch_id Arch, dtype X, int Index>
planned_kernel mfma_kernel() {
  using tile = kernels::mfma_tile<typename kernels::mfma_catalogue_entry<Arch, X, Index>::type>;
  return {.arch = Arch,
          .x = X,
          .flags = tile::flags,
          .index = Index,
          .few_rows = tile::few_rows,
          .smem_bytes = static_cast<int>(tile::plan.total_bytes()),
          .bytes_in_flight = tile::few_rows ? tile::bytes_in_flight : 0,
          .w_bytes_of_128_k = tile::few_rows ? tile::row_tiles * tile::atom_bytes : 0};
}

template <arch_id Arch, dtype X>
void add_mfma(std::vector<planned_kernel>& to) {
  if constexpr (kernels::has_mfma_kernels(Arch, X)) [&]<int... Index>(std::integer_sequence<int, Index...>) {
      (to.push_back(mfma_kernel<Arch, X, Index>()), ...);
    }
  (std::make_integer_sequence<int, static_cast<int>(ogs_policy::mfma_tiles(arch_v<Arch>, X).size())>{});
}

template <arch_id Arch>
std::vector<planned_kernel> mfma_kernels() {
  std::vector<planned_kernel> all;
  add_mfma<Arch, dtype::bf16>(all);
  add_mfma<Arch, dtype::fp16>(all);
  add_mfma<Arch, dtype::fp8_e4m3>(all);
  add_mfma<Arch, dtype::mxfp8>(all);
  add_mfma<Arch, dtype::mxfp4>(all);
  return all;
}

template <int Index>
struct generic_entry {
  static constexpr opt_flags flags = ogs_policy::generic_tiles[Index];
  static constexpr dtype x = dtype::bf16;
  static constexpr bool on_hopper = false;
};

/// The number behind `key` in `text`, or -1.
int number_behind(std::string_view text, std::string_view key, std::size_t& at) {
  at = text.find(key, at);
  if (at == std::string_view::npos) return -1;
  int value = 0;
  for (at += key.size(); at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
    value = 10 * value + (text[at] - '0');
  return value;
}

}  // namespace

std::string planned_kernel::tile_text() const {
  return fmt::format("{} x {} x {}", flags.block_m, flags.block_n, flags.block_k);
}

std::vector<planned_kernel> planned_kernels(const arch_traits& arch) {
  if (arch.id == arch_id::gfx950) return mfma_kernels<arch_id::gfx950>();
  if (arch.id == arch_id::gfx942) return mfma_kernels<arch_id::gfx942>();
  std::vector<planned_kernel> all;
  if (!arch.features.has(feature::mma_sync)) return all;
  for (const dtype x : {dtype::bf16, dtype::fp16}) [&]<int... Index>(std::integer_sequence<int, Index...>) {
      (all.push_back({.arch = arch.id,
                      .x = x,
                      .flags = ogs_policy::generic_tiles[Index],
                      .index = Index,
                      .few_rows = ogs_policy::generic_tiles[Index].split_k > 1,
                      .smem_bytes = static_cast<int>(kernels::generic_tile<generic_entry<Index>>::plan.total_bytes())}),
       ...);
    }
  (std::make_integer_sequence<int, static_cast<int>(ogs_policy::generic_tiles.size())>{});
  return all;
}

bool is_kernel(const planned_kernel& kernel, std::string_view mangled) {
  std::size_t at = mangled.find(kernel.arch >= arch_id::gfx90a ? "mfma_entryI" : "generic_entryI");
  if (at == std::string_view::npos) return false;
  const opt_flags& f = kernel.flags;
  const int x = static_cast<int>(kernel.x);
  if (kernel.arch < arch_id::gfx90a) {
    const int index = number_behind(mangled, "ELi", at);
    return index == kernel.index && number_behind(mangled, "dtypeE", at) == x;
  }
  if (number_behind(mangled, "arch_idE", at) != static_cast<int>(kernel.arch)) return false;
  if (number_behind(mangled, "dtypeE", at) != x) return false;
  for (const int expected : {f.block_m, f.block_n, f.block_k, f.num_stages})
    if (number_behind(mangled, "ELi", at) != expected) return false;
  return true;
}

}  // namespace tilefit::inline v0::bench
