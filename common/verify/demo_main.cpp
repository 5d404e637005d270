// SPDX-License-Identifier: MIT
//
// The program chNN_demo. ATTN_CHAPTER names the chapter's record.
#include <cstddef>

#include "common/verify/demo.hpp"

namespace attn::chapters {
const Chapter& ATTN_CHAPTER();
}

int main(int argc, char** argv) {
  return attn::run_demo(attn::chapters::ATTN_CHAPTER(), {argv, static_cast<std::size_t>(argc)});
}
