/* An engine in C: a tile for a chip that is not here, with the reason for its log, and an expert MLP on the CPU. */
#include <stdio.h>
#include <stdlib.h>
#include <tilefit/c.h>

enum { tokens = 5, hidden = 96, intermediate = 64, experts = 4, topk = 2 };

static int failed(const char* call, int status, const char* reason) {
  printf("%s: %s: %s\n", call, tilefit_status_name(status), reason);
  return status > TILEFIT_EMPTY;
}

static int choose_for_a_chip(void) {
  const tilefit_device device = {.struct_size = sizeof device, .arch = "sm_120", .sm_count = 170};
  const tilefit_policy triton = {.struct_size = sizeof triton, .kind = TILEFIT_POLICY_TRITON_3_4_0};
  const tilefit_problem problem = {
      TILEFIT_PROBLEM_DEFAULTS,     .m = 2080,   .n = 5760, .k = 2880, .experts = 32, .topk = 4,
      .activation = TILEFIT_SWIGLU, .gather = 1, .bias = 1};
  tilefit_selection choice = {.struct_size = sizeof choice};
  const int status = tilefit_select(&device, &problem, NULL, &triton, &choice);
  return failed("520 tokens on an RTX 5090", status, choice.reason);
}

/* MXFP4 weights that are made up on the spot. */
static void fill(uint8_t* values, uint8_t* scales, size_t rows, size_t columns) {
  for (size_t i = 0; i < rows * columns / 2; ++i) values[i] = (uint8_t)(i * 37 % 251);
  for (size_t i = 0; i < rows * columns / 32; ++i) scales[i] = (uint8_t)(122 + i % 3);
}

int main(void) {
  static uint8_t gate_up[experts * 2 * intermediate * hidden / 2],
      gate_up_scales[experts * 2 * intermediate * hidden / 32];
  static uint8_t down[experts * hidden * intermediate / 2], down_scales[experts * hidden * intermediate / 32];
  static float x[tokens * hidden], logits[tokens * experts], y[tokens * hidden];

  if (choose_for_a_chip()) return 1;

  fill(gate_up, gate_up_scales, experts * 2 * intermediate, hidden);
  fill(down, down_scales, experts * hidden, intermediate);
  for (int i = 0; i < tokens * hidden; ++i) x[i] = (float)(i % 7) - 3.0f;
  for (int i = 0; i < tokens * experts; ++i) logits[i] = (float)(i * 5 % 11);

  tilefit_moe_args layer = {TILEFIT_MOE_DEFAULTS,
                            .tokens = tokens,
                            .hidden = hidden,
                            .intermediate = intermediate,
                            .experts = experts,
                            .topk = topk,
                            .logits = logits,
                            .x = x,
                            .gate_up = gate_up,
                            .gate_up_scales = gate_up_scales,
                            .down = down,
                            .down_scales = down_scales,
                            .y = y};
  layer.x_dtype = layer.between_dtype = layer.y_dtype = TILEFIT_FP32;

  /* Once: tiles and workspace. Then, as often as the numbers in x and logits change: the layer. */
  tilefit_selection choice[2] = {{.struct_size = sizeof choice[0]}, {.struct_size = sizeof choice[1]}};
  tilefit_answer answer = {.struct_size = sizeof answer};
  int status = tilefit_choose_moe(&layer, &choice[0], &choice[1]);
  if (failed("choose", status, choice[0].reason)) return 1;
  status = tilefit_moe_workspace_bytes(&layer, &choice[0].flags, &choice[1].flags, &layer.workspace_bytes, &answer);
  if (failed("workspace", status, answer.reason)) return 1;
  layer.workspace = malloc(layer.workspace_bytes);
  if (layer.workspace == NULL) return 1;
  status = tilefit_prepare_workspace(layer.workspace, layer.workspace_bytes, NULL, &answer);
  if (status == TILEFIT_OK) status = tilefit_moe_mlp(&layer, &choice[0].flags, &choice[1].flags, NULL, &answer);
  free(layer.workspace);
  if (failed("layer", status, answer.reason)) return 1;
  printf("%s: y[0][0] = %f\n", tilefit_backend(), (double)y[0]);
  return 0;
}
