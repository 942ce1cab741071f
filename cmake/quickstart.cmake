# cmake -P cmake/quickstart.cmake
# Installs what is missing (Debian) or says what is, builds tilefit-bench into build/quickstart and runs the main job:
# GPT-OSS MoE layers computed with the tiles that the engine chooses for an RTX 50 (sm_120). No GPU is needed.
include(${CMAKE_CURRENT_LIST_DIR}/setup.cmake)

tilefit_need_for_building()
tilefit_install_missing()

set(build ${root}/build/quickstart)
tilefit_step("configure" ${CMAKE_COMMAND} -S ${root} -B ${build} -G Ninja --log-level=WARNING
  -DCMAKE_BUILD_TYPE=Release -DTILEFIT_BUILD_TESTS=OFF -DTILEFIT_BUILD_EXAMPLES=OFF)
tilefit_step("build" ${CMAKE_COMMAND} --build ${build} --parallel ${cores} --target tilefit-bench)

set(bench ${build}/bench/tilefit-bench)
tilefit_step("a layer of gpt-oss-20b's size, made from a seed" ${bench} run --arch sm_120)
tilefit_step("a small layer, compared with what Hugging Face's model code made of it" ${bench} run --arch sm_120
  --layer ${root}/tests/golden/moe_layer_h320_e8.safetensors)

tilefit_print_times()
message(NOTICE "The program is build/quickstart/bench/tilefit-bench; `cmake -P cmake/check.cmake` runs every test.")
