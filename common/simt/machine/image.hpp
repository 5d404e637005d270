// SPDX-License-Identifier: MIT
//
// What the machine knows about the program it runs in: which addresses are static shared memory,
// which are constants, and which source line a code address belongs to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace attn::simt {

struct AddressRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool contains(std::uintptr_t address) const { return address - begin < end - begin; }
  std::size_t size() const { return end - begin; }
};

/// The program's own load addresses: its code and its globals.
AddressRange program_image();

/// The program's variables with static lifetime that can be written, __device__ ones among them.
AddressRange program_variables();

/// Where __constant__ variables lie.
AddressRange program_constants();

/// This OS thread's copy of the program's thread_local variables, where `__shared__` lives.
AddressRange thread_locals();

struct SourceLine {
  std::string function;  // the function the line is written in
  std::string file;      // empty if unknown
  int line = 0;
};

/// The source line of the instruction before a return address, from the debug information (through
/// addr2line; without that tool the file stays empty). Answers are remembered.
SourceLine source_line(std::uintptr_t return_address);

/// The last source line of the straight-line code that goes on at this return address: of its
/// branch, or of its `return`. Where the end of that code is not known, the line at the address
/// itself.
SourceLine last_line_from(std::uintptr_t return_address);

/// The function or variable that an address of the program lies in, from its symbol table (through
/// nm; without that tool the name stays empty).
struct Symbol {
  std::uintptr_t begin = 0;
  std::string name;
};
Symbol symbol_at(std::uintptr_t address);

/// The same for an offset among a thread's variables, without what stands in front of the name: the
/// __shared__ variable "sQ".
Symbol thread_local_at(std::size_t offset);

/// Whether the byte at this offset among a thread's variables is g++'s note that one of them has
/// been constructed: it keeps one for each __shared__ array of a class with a constructor.
bool is_guard(std::size_t offset);

/// The kernel's name without namespaces and parameters: "scores_kernel". Template arguments stay.
std::string function_name(const void* function);

}  // namespace attn::simt
