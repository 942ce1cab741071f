#include "caller.h"

int select_from_c(const char* arch, int64_t tokens, tilefit_selection* out) {
  const tilefit_device device = {.struct_size = sizeof device, .arch = arch};
  const tilefit_problem problem = {
      TILEFIT_PROBLEM_DEFAULTS,     .m = 4 * tokens, .n = 5760, .k = 2880, .experts = 32, .topk = 4,
      .activation = TILEFIT_SWIGLU, .gather = 1,     .bias = 1};
  return tilefit_select(&device, &problem, NULL, NULL, out);
}

int sizes_from_c(size_t* sizes, int room) {
  const size_t all[] = {sizeof(tilefit_flags),       sizeof(tilefit_device),  sizeof(tilefit_problem),
                        sizeof(tilefit_constraints), sizeof(tilefit_policy),  sizeof(tilefit_selection),
                        sizeof(tilefit_answer),      sizeof(tilefit_weights), sizeof(tilefit_matmul_args),
                        sizeof(tilefit_moe_args)};
  const int count = (int)(sizeof all / sizeof all[0]);
  for (int i = 0; i < count && i < room; ++i) sizes[i] = all[i];
  return count;
}

int nothing_from_c(void) {
  const int answers[] = {
      tilefit_select(NULL, NULL, NULL, NULL, NULL),
      tilefit_explain(NULL, NULL, NULL, NULL, TILEFIT_TEXT, NULL, 0, NULL),
      tilefit_shuffle_weights(TILEFIT_MMA_M16K64, NULL, NULL, NULL, NULL),
      tilefit_choose(NULL, NULL, NULL),
      tilefit_workspace_bytes(NULL, NULL, NULL, NULL),
      tilefit_prepare_workspace(NULL, 1, NULL, NULL),
      tilefit_launch(NULL, NULL, NULL, NULL),
      tilefit_choose_moe(NULL, NULL, NULL),
      tilefit_moe_workspace_bytes(NULL, NULL, NULL, NULL, NULL),
      tilefit_moe_mlp(NULL, NULL, NULL, NULL, NULL),
  };
  int successes = 0;
  for (size_t i = 0; i < sizeof answers / sizeof answers[0]; ++i) successes += answers[i] <= TILEFIT_EMPTY;
  return successes;
}
