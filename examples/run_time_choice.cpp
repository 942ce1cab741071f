// The choice an inference engine makes before a launch: device facts in, tile out, a sentence in the log.
#include <tilefit/explain.hpp>
#include <tilefit/tilefit.hpp>

#include <cstdio>

int main() {
  // What the driver says. Zero, or nonsense as some drivers report, falls back to the table.
  const tilefit::device_report driver{.sm_count = 170, .smem_optin = 0x100000001};
  const tilefit::arch_traits arch = merge(tilefit::resolve_arch("12.0")->traits, driver).traits;

  for (const int tokens : {0, 1, 519, 520}) {
    const tilefit::matmul_problem problem{
        .m = 4 * tokens,  // every token takes four experts
        .n = 5760,
        .k = 2880,
        .experts = 32,
        .topk = 4,
        .formats = {.act = tilefit::activation::swiglu, .gather = true, .bias = true}};
    const tilefit::selection choice = tilefit::make_opt_flags(arch, problem);
    std::printf("%3d tokens: %s\n", tokens, tilefit::reason(choice).c_str());
    if (!choice.ok()) return 1;
  }
}
