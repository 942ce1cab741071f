// Writes the seed corpora of the fuzz targets: make_seeds safetensors|constraints FOLDER
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

std::vector<std::string> safetensors_seeds() {
  const std::string headers_and_data[] = {
      "{}",
      R"({"__metadata__":{"format":"pt","by":"hand"}}  )",
      R"({"w":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}wxyz)",
      R"({"w":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}}01234567890123)",
      R"({"b":{"dtype":"F4","shape":[1,2],"data_offsets":[4,5]},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}01234)",
      R"({"e":{"dtype":"I64","shape":[4,0],"data_offsets":[0,0]},"\u00e9\ud83d\ude00":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}x)",
      R"({"w":{"note":{"a":[1,-2,3.5,null,true]},"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}xyz)",
      R"({"w":{"dtype":"F32","shape":[4294967296,0,2],"data_offsets":[0,0]}})",
      R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}x)",
      R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}xy)",
      R"({"w":{"dtype":"U8","shape":[-1],"data_offsets":[0.5,1e3]}})",
  };
  std::vector<std::string> seeds;
  for (const std::string& seed : headers_and_data) {
    seeds.push_back(seed);
    const std::size_t header = seed.rfind('}') + 1;
    std::string file;
    for (int i = 0; i < 8; ++i) file += static_cast<char>(std::uint64_t{header} >> (8 * i) & 0xFF);
    seeds.push_back(file + seed);
  }
  return seeds;
}

std::vector<std::string> constraints_seeds() {
  return {
      "",
      "block_m=64",
      "gfx950:block_m=64,block_n=256;sm_120:block_k=128",
      "*: num_warps = 8 , num_stages=3 ; gfx942:is_persistent=true",
      "split_k=4,max_allowable_mn=1048576,epilogue_subtile=2,idle_sms=8,batch_invariant=1,strict=false",
      ";;sm_90:block_m=16;",
      "sm_90:block_m=0",
      "sm_90:block_m=99999999999999999999",
      "nowhere:block_m=64",
      "block_m=64,block_m=32",
      "block_q=64",
      "block_m==64:,",
  };
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view kind = argc == 3 ? argv[1] : "";
  if (kind != "safetensors" && kind != "constraints") {
    std::fputs("usage: make_seeds safetensors|constraints FOLDER\n", stderr);
    return 2;
  }
  const std::vector<std::string> seeds = kind == "safetensors" ? safetensors_seeds() : constraints_seeds();
  const std::filesystem::path folder = argv[2];
  std::filesystem::create_directories(folder);
  for (std::size_t i = 0; i < seeds.size(); ++i)
    std::ofstream(folder / ("seed_" + std::to_string(i)), std::ios::binary) << seeds[i];
  return 0;
}
