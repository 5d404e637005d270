// SPDX-License-Identifier: MIT
#include "common/simt/image.hpp"

#include <fmt/format.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

extern "C" void __sanitizer_cov_trace_pc();

namespace attn::simt {
namespace {

struct Image {
  AddressRange loaded;
  std::uintptr_t base = 0;
  std::uintptr_t tls_begin = 0;  // of the calling thread
  std::size_t tls_bytes = 0;
};

/// Describes the object (program) that this function is linked into.
Image find_image() {
  Image image;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        Image found;
        found.base = info->dlpi_addr;
        found.loaded.begin = ~std::uintptr_t{0};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
          if (header.p_type == PT_LOAD) {
            found.loaded.begin = std::min(found.loaded.begin, begin);
            found.loaded.end = std::max(found.loaded.end, begin + header.p_memsz);
          } else if (header.p_type == PT_TLS) {
            found.tls_begin = reinterpret_cast<std::uintptr_t>(info->dlpi_tls_data);
            found.tls_bytes = header.p_memsz;
          }
        }
        if (!found.loaded.contains(reinterpret_cast<std::uintptr_t>(&find_image))) return 0;
        *static_cast<Image*>(data) = found;
        return 1;
      },
      &image);
  return image;
}

/// Runs addr2line on one address of this program; two lines of answer: function, file:line.
SourceLine ask_addr2line(std::uintptr_t offset) {
  SourceLine answer;
  const std::string command =
      fmt::format("addr2line -C -f -e /proc/{}/exe {:#x} 2>/dev/null", getpid(), offset);
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return answer;
  std::string text;
  std::array<char, 1024> buffer{};
  while (fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  pclose(pipe);
  const std::size_t newline = text.find('\n');
  if (newline == std::string::npos) return answer;
  answer.function = text.substr(0, newline);
  std::string place = text.substr(newline + 1);
  place.erase(std::min(place.find_first_of(" \n"), place.size()));
  const std::size_t colon = place.rfind(':');
  if (colon == std::string::npos || place[0] == '?') return answer;
  answer.file = place.substr(0, colon);
  answer.line = std::atoi(place.c_str() + colon + 1);
  return answer;
}

SourceLine look_up(std::uintptr_t address) {
  static std::mutex mutex;
  static std::map<std::uintptr_t, SourceLine> known;
  const std::lock_guard lock(mutex);
  const auto [entry, inserted] = known.try_emplace(address);
  if (inserted) entry->second = ask_addr2line(address - find_image().base);
  return entry->second;
}

}  // namespace

AddressRange program_image() { return find_image().loaded; }

AddressRange thread_locals() {
  const Image image = find_image();
  return {image.tls_begin, image.tls_begin + image.tls_bytes};
}

SourceLine source_line(std::uintptr_t return_address) { return look_up(return_address - 1); }

SourceLine last_line_from(std::uintptr_t return_address) {
#if defined(__x86_64__)
  // The next piece of straight-line code begins with a call of the hook: E8 and the distance to it.
  const auto hook = reinterpret_cast<std::uintptr_t>(&__sanitizer_cov_trace_pc);
  constexpr std::uintptr_t kFar = 1024;
  constexpr std::uintptr_t kCallBytes = 5;
  for (std::uintptr_t at = return_address; at < return_address + kFar; ++at) {
    unsigned char bytes[kCallBytes];
    std::memcpy(bytes, reinterpret_cast<const void*>(at), kCallBytes);
    std::int32_t distance = 0;
    std::memcpy(&distance, bytes + 1, sizeof distance);
    if (bytes[0] == 0xE8 &&
        at + kCallBytes + static_cast<std::uintptr_t>(std::intptr_t{distance}) == hook) {
      return look_up(at - 1);
    }
  }
#endif
  return source_line(return_address);
}

std::string function_name(const void* function) {
  const auto address = reinterpret_cast<std::uintptr_t>(function);
  std::string name = look_up(address).function;
  if (name.empty() || name == "??") return fmt::format("kernel at {:#x}", address);
  constexpr std::string_view kAnonymous = "(anonymous namespace)::";
  for (std::size_t at; (at = name.find(kAnonymous)) != std::string::npos;) {
    name.erase(at, kAnonymous.size());
  }
  name.erase(std::min(name.find('('), name.size()));
  // Namespaces go, but not those inside template arguments.
  const std::size_t arguments = std::min(name.find('<'), name.size());
  const std::size_t colons = name.rfind("::", arguments);
  if (colons != std::string::npos) name.erase(0, colons + 2);
  const std::size_t space = name.rfind(' ', std::min(name.find('<'), name.size()));
  return space == std::string::npos ? name : name.substr(space + 1);
}

}  // namespace attn::simt
