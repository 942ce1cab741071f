// Prints what the plan says of every AMD kernel of an architecture (its name is the argument), for
// mfma_catalogue.cmake: a part of its mangled name, bytes of LDS, the most registers of a lane, instructions that it
// must and must not have.
#include <cstdio>
#include <cstring>
#include <span>

#include <tilefit/kernels/mfma_entry.hpp>
#include <tilefit/kernels/mfma_tile.hpp>
#include <tilefit/kernels/quantise_params.hpp>

using namespace tilefit;

namespace {

template <arch_id Arch, dtype X, int Index>
void print() {
  using entry = typename kernels::mfma_catalogue_entry<Arch, X, Index>::type;
  using tile = kernels::mfma_tile<entry>;
  constexpr opt_flags flags = tile::flags;
  const char* const has = tile::scaled                                      ? "v_mfma_scale_f32"
                          : arch_v<Arch>.features.has(feature::fp4_convert) ? "v_cvt_scalef32_pk"
                                                                            : "v_perm_b32";
  const char* const lacks = tile::scaled                                      ? "v_cvt_scalef32"
                            : arch_v<Arch>.features.has(feature::fp4_convert) ? "v_mfma_scale"
                                                                              : "scalef32|v_mfma_scale|dwordx4 .* lds";
  // 512 registers of a lane are shared by the waves of a SIMD, in steps of 8.
  std::printf("mfma_entryI[^E]*E%dE[^E]*E%dELi%dELi%dELi%dELi%dEE;%lld;%d;%s;%s;%s\n", static_cast<int>(Arch),
              static_cast<int>(X), flags.block_m, flags.block_n, flags.block_k, flags.num_stages,
              static_cast<long long>(tile::plan.total_bytes()), 512 / tile::waves_per_simd / 8 * 8, has, lacks,
              tile::few_rows || !tile::lds_direct ? "v_mfma" : "dwordx4 .* lds");
}

template <arch_id Arch, dtype X>
void print_all() {
  if constexpr (kernels::has_mfma_kernels(Arch, X)) []<int... Index>(std::integer_sequence<int, Index...>) {
      (print<Arch, X, Index>(), ...);
    }
  (std::make_integer_sequence<int, static_cast<int>(ogs_policy::mfma_tiles(arch_v<Arch>, X).size())>{});
}

template <arch_id Arch>
void print_formats() {
  print_all<Arch, dtype::bf16>();
  print_all<Arch, dtype::fp16>();
  print_all<Arch, dtype::fp8_e4m3>();
  print_all<Arch, dtype::mxfp8>();
  print_all<Arch, dtype::mxfp4>();
}

/// The kernels that quantise rows: eight waves to a SIMD, LDS where a block has a row.
void print_quantise() {
  constexpr int registers = 512 / 8, lds = 4 * kernels::quantise_threads / 32;
  for (const dtype x : {dtype::fp32, dtype::bf16, dtype::fp16}) {
    std::printf("quantise_whole_rowsI[^E]*E%dEE;%d;%d;quantise;v_mfma;quantise\n", static_cast<int>(x), lds, registers);
    for (const dtype y : {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
      std::printf("quantise_columns_of_rowsI[^E]*E%dELS[0-9A-Z]*_%dEE;0;%d;quantise;v_mfma;quantise\n",
                  static_cast<int>(x), static_cast<int>(y), registers);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "gfx950") == 0)
    print_formats<arch_id::gfx950>();
  else if (argc == 2 && std::strcmp(argv[1], "gfx942") == 0)
    print_formats<arch_id::gfx942>();
  else
    return 2;
  print_quantise();
  return 0;
}
