#include <tilefit/tilefit.hpp>

constexpr tilefit::selection choice = tilefit::make_opt_flags(
    tilefit::arch_v<tilefit::arch_id::sm_120>, {.m = 2080, .n = 5760, .k = 2880, .experts = 32, .topk = 4});
static_assert(choice.ok() && choice.need_bytes() <= 101'376);

int main() { return tilefit::find_dtype("mxfp4") == tilefit::dtype::mxfp4 && choice.flags.num_stages > 0 ? 0 : 1; }
