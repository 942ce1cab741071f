/* Calls of c.h made by C: what the C compiler thinks of its structs is what counts. */
#ifndef TILEFIT_TESTS_C_CALLER_H
#define TILEFIT_TESTS_C_CALLER_H

#include <tilefit/c.h>

#ifdef __cplusplus
extern "C" {
#endif

/** gpt-oss-20b's gate_up with `tokens` on `arch`, by initialisers of C. */
int select_from_c(const char* arch, int64_t tokens, tilefit_selection* out);
/** sizeof of every struct, in the order of types.h; at most `room` of them. Answers how many there are. */
int sizes_from_c(size_t* sizes, int room);
/** Calls every function with null pointers. Answers how many of them called that a success. */
int nothing_from_c(void);

#ifdef __cplusplus
}
#endif

#endif
