// SPDX-License-Identifier: MIT
#include "common/simt/machine/image.hpp"

#include <fmt/format.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

#include "common/simt/machine/addr2line.hpp"

// The linker marks the ends of a section so, if the program has it.
extern "C" {
extern const char __start_attn_constant[] __attribute__((weak, visibility("hidden")));
extern const char __stop_attn_constant[] __attribute__((weak, visibility("hidden")));
}

extern "C" void __sanitizer_cov_trace_pc();

namespace attn::simt {
namespace {

struct Image {
  std::string file;  // that holds its symbols
  AddressRange loaded;
  AddressRange writable;  // after the dynamic linker has done its work
  std::uintptr_t base = 0;
  std::uintptr_t tls_begin = 0;  // of the calling thread
  std::size_t tls_bytes = 0;
};

// Of a shared library, a thread gets its copy of these when it first touches one of them.
thread_local volatile char touched = 0;

/// Describes the object (program, or shared library) that this function is linked into.
Image find_image() {
  touched = 1;
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
            if ((header.p_flags & PF_W) != 0) {
              found.writable = {std::max(begin, found.writable.begin), begin + header.p_memsz};
            }
          } else if (header.p_type == PT_GNU_RELRO) {
            found.writable.begin = std::max(found.writable.begin, begin + header.p_memsz);
          } else if (header.p_type == PT_TLS) {
            found.tls_begin = reinterpret_cast<std::uintptr_t>(info->dlpi_tls_data);
            found.tls_bytes = header.p_memsz;
          }
        }
        if (!found.loaded.contains(reinterpret_cast<std::uintptr_t>(&find_image))) return 0;
        found.file = info->dlpi_name;
        *static_cast<Image*>(data) = found;
        return 1;
      },
      &image);
  if (image.file.empty()) image.file = fmt::format("/proc/{}/exe", getpid());  // the program
  return image;
}

/// Whether a file's functions are instructions, each: an access in __ldg, or in ldmatrix_x4,
/// belongs to the line that calls it.
bool has_instructions(const std::string& file) {
  constexpr const char* kFiles[] = {"/common/simt/",
                                    "/common/device/mma.cuh",
                                    "/common/device/async_copy.cuh",
                                    "/common/device/async_proxy.cuh",
                                    "/common/device/mbarrier.cuh",
                                    "/common/device/tma.cuh",
                                    "/common/device/wgmma.cuh",
                                    "/common/device/setmaxnreg.cuh"};
  return std::any_of(std::begin(kFiles), std::end(kFiles),
                     [&file](const char* part) { return file.find(part) != std::string::npos; });
}

/// What addr2line says of one address of this program. Of the functions inlined there it takes the
/// innermost that is no instruction.
SourceLine ask_addr2line(std::uintptr_t address) {
  static const Image image = find_image();
  static Addr2line& tool = *new Addr2line(image.file);  // reports at the program's end ask, too
  SourceLine answer;
  const std::string text = tool.ask(address - image.base);
  // Two lines for each: function, file:line.
  std::istringstream lines(text);
  std::string function;
  std::string place;
  while (std::getline(lines, function) && std::getline(lines, place)) {
    const bool first = answer.function.empty();
    if (first) answer.function = function;
    place.erase(std::min(place.find(' '), place.size()));
    const std::size_t colon = place.rfind(':');
    if (colon == std::string::npos || place[0] == '?') break;
    const bool instruction = has_instructions(place);
    if (!first && instruction) continue;
    answer = {function, place.substr(0, colon), std::atoi(place.c_str() + colon + 1)};
    if (!instruction) break;
  }
  return answer;
}

SourceLine look_up(std::uintptr_t address) {
  static std::mutex mutex;
  static std::map<std::uintptr_t, SourceLine> known;
  const std::lock_guard lock(mutex);
  const auto [entry, inserted] = known.try_emplace(address);
  if (inserted) entry->second = ask_addr2line(address);
  return entry->second;
}

struct Symbols {
  std::map<std::uintptr_t, std::string> by_address;
  // Offsets among the thread's variables.
  std::map<std::uintptr_t, std::string> thread_locals;
  std::set<std::uintptr_t> guards;
};

/// The program's symbols, from nm.
const Symbols& symbols() {
  static const Symbols known = [] {
    Symbols table;
    const Image image = find_image();
    const std::string command = fmt::format("nm -C --defined-only '{}' 2>/dev/null", image.file);
    FILE* pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) return table;
    std::array<char, 4096> line{};
    while (fgets(line.data(), line.size(), pipe) != nullptr) {
      std::uintptr_t address = 0;
      char type = 0;
      int name = 0;  // where it begins
      if (std::sscanf(line.data(), "%" SCNxPTR " %c %n", &address, &type, &name) < 2) continue;
      std::string text = line.data() + name;
      while (!text.empty() && text.back() == '\n') text.pop_back();
      if (text.rfind("guard variable for ", 0) == 0) {
        table.guards.insert(address);
      } else if (address < image.tls_bytes && std::strchr("bBdD", type) != nullptr) {
        const std::size_t colons = text.rfind("::");
        table.thread_locals.try_emplace(
            address, colons == std::string::npos ? text : text.substr(colons + 2));
      }
      table.by_address.try_emplace(image.base + address, std::move(text));
    }
    pclose(pipe);
    return table;
  }();
  return known;
}

}  // namespace

AddressRange program_variables() {
  static const AddressRange writable = find_image().writable;
  return writable;
}

AddressRange program_constants() {
  return {reinterpret_cast<std::uintptr_t>(__start_attn_constant),
          reinterpret_cast<std::uintptr_t>(__stop_attn_constant)};
}

Symbol symbol_at(std::uintptr_t address) {
  const auto& table = symbols().by_address;
  const auto above = table.upper_bound(address);
  if (above == table.begin()) return {};
  return {std::prev(above)->first, std::prev(above)->second};
}

Symbol thread_local_at(std::size_t offset) {
  const auto& table = symbols().thread_locals;
  const auto above = table.upper_bound(offset);
  if (above == table.begin()) return {};
  return {std::prev(above)->first, std::prev(above)->second};
}

bool is_guard(std::size_t offset) { return symbols().guards.contains(offset); }

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
  // Namespaces go, also inside template arguments.
  for (std::size_t colons; (colons = name.find("::")) != std::string::npos;) {
    std::size_t start = colons;
    while (start > 0 && (std::isalnum(static_cast<unsigned char>(name[start - 1])) != 0 ||
                         name[start - 1] == '_')) {
      --start;
    }
    name.erase(start, colons + 2 - start);
  }
  const std::size_t space = name.rfind(' ', std::min(name.find('<'), name.size()));
  return space == std::string::npos ? name : name.substr(space + 1);
}

}  // namespace attn::simt
