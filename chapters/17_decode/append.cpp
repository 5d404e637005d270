// SPDX-License-Identifier: MIT
#include "chapters/17_decode/append.hpp"

#include <fmt/format.h>

#include <utility>

namespace attn::decoding {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorKind::kBadArgument, message);
}

/// One number for each sequence, on either side.
void check_numbers(const char* name, const Integers& numbers, std::int64_t B) {
  const auto size = static_cast<std::int64_t>(numbers.host.size());
  if (size != B) refuse(fmt::format("{} has {} numbers: allowed: B = {}", name, size, B));
  if (B > 0 && numbers.device == nullptr) refuse(fmt::format("{} = null on the device", name));
}

/// The counts behind it.
std::vector<std::int64_t> check(const AppendArgs& args) {
  const auto [B, Hkv, N_new, Nk, d, new_k, new_v, k, v, key_begin, key_count] = args;
  for (const auto& [name, size] :
       {std::pair("B", B), {"Hkv", Hkv}, {"N_new", N_new}, {"Nk", Nk}, {"d", d}}) {
    if (size < 0) refuse(fmt::format("{} = {}: allowed: 0 or more", name, size));
  }
  if (!key_begin.host.empty()) check_numbers("key_begin", key_begin, B);
  check_numbers("key_count", key_count, B);
  std::vector<std::int64_t> counts;
  for (std::size_t b = 0; b < key_count.host.size(); ++b) {
    const std::int64_t begin = key_begin.host.empty() ? 0 : key_begin.host[b];
    const std::int64_t count = key_count.host[b];
    if (begin < 0 || begin > Nk) {
      refuse(fmt::format("key_begin[{}] = {}: allowed: 0 to Nk = {}", b, begin, Nk));
    }
    if (count < 0 || count > Nk - begin || N_new > Nk - begin - count) {
      refuse(
          fmt::format("key_count[{}] = {}: from key_begin = {} on there is room for {} keys, "
                      "with {} new ones",
                      b, count, begin, Nk - begin, N_new));
    }
    counts.push_back(count + N_new);
  }
  if (B * Hkv * N_new * d == 0) return counts;
  for (const auto& [name, array] : {std::pair<const char*, const float*>("new_k", new_k),
                                    {"new_v", new_v},
                                    {"k", k},
                                    {"v", v}}) {
    if (array == nullptr) refuse(fmt::format("{} = null", name));
  }
  return counts;
}

}  // namespace

std::vector<std::int64_t> append(const AppendArgs& args) {
  std::vector<std::int64_t> counts = check(args);
  if (args.B * args.Hkv * args.N_new * args.d > 0) copy_rows(args);
  return counts;
}

}  // namespace attn::decoding
