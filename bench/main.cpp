// tilefit-bench: choose tiles, run layers, measure.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <string>

#include "commands.hpp"

int main(int argc, char** argv) try {
  using namespace tilefit;
  CLI::App app{"Tile choice and kernels for MXFP4 outer gather/scatter matmuls", "tilefit-bench"};
  app.set_version_flag("--version", fmt::format("tilefit-bench {}.{}.{}", TILEFIT_VERSION_MAJOR, TILEFIT_VERSION_MINOR,
                                                TILEFIT_VERSION_PATCH));
  app.require_subcommand(1);
  int exit_code = bench::exit_ok;
  bench::add_explain(app, exit_code);
  bench::add_report(app, exit_code);
  bench::add_run(app, exit_code);
  bench::add_select(app, exit_code);
  bench::add_static(app, exit_code);
  bench::add_sweep(app, exit_code);
  bench::add_tune(app, exit_code);
  bench::add_verify(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    if (!app.get_subcommands().empty()) return bench::bad_input(error.what());
    std::string names;
    for (const CLI::App* each : app.get_subcommands({})) names += (names.empty() ? "" : ", ") + each->get_name();
    return bench::bad_input(argc > 1 ? fmt::format("'{}' is no sub-command; there are {}", argv[1], names)
                                     : "a sub-command is wanted: " + names);
  }
  // What was printed must have arrived: a full disk is a failure.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fmt::print(stderr, "tilefit-bench: standard output cannot be written\n");
    return bench::exit_failed;
  }
  return exit_code;
} catch (const std::exception& error) {
  fmt::print(stderr, "tilefit-bench: {}\n", error.what());
  return tilefit::bench::exit_failed;
}
