// SPDX-License-Identifier: MIT
#include "common/simt/watch/histories.hpp"

#include "common/simt/machine/stacks.hpp"

namespace attn::simt {

Histories::Histories(AddressRange range) : range_(range) {
  const std::size_t words = range.size() / 4 + 1;
  for (Arrays& half : halves_) {
    half.words = static_cast<History*>(map_memory(words * sizeof(History)));
    for (std::uint32_t** array : {&half.stored, &half.other_warps[0], &half.other_warps[1],
                                  &half.other_times[0], &half.other_times[1]}) {
      *array = static_cast<std::uint32_t*>(map_memory(words * 4));
    }
  }
}

Histories::~Histories() {
  const std::size_t words = range_.size() / 4 + 1;
  for (const Arrays& half : halves_) {
    unmap_memory(half.words, words * sizeof(History));
    for (std::uint32_t* array : half.rest()) unmap_memory(array, words * 4);
  }
}

void Histories::split(std::uintptr_t address) {
  constexpr std::uint8_t kBytes[] = {0b0011, 0b1100};
  of(address).write.split = 1;
  of(address, 1) = of(address);
  for (std::size_t array = 0; array < halves_[0].rest().size(); ++array) {
    halves_[1].rest()[array][place(address)] = halves_[0].rest()[array][place(address)];
  }
  for (const std::size_t half : {0u, 1u}) {
    History& history = of(address, half);
    for (LastAccess* last : {&history.write, &history.read, &history.atomic}) {
      last->bytes = last->bytes & kBytes[half] & 0xF;
    }
  }
}

void Histories::forget(std::uintptr_t begin, std::size_t bytes) {
  const std::size_t words = bytes / 4;
  for (const Arrays& half : halves_) {
    release_pages(half.words + place(begin), words * sizeof(History));
    for (std::uint32_t* array : half.rest()) release_pages(array + place(begin), words * 4);
  }
}

}  // namespace attn::simt
