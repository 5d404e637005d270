// SPDX-License-Identifier: MIT
//
// The CUDA Toolkit's header of this name, for a program on the CPU machine.
#pragma once

#include "common/simt/cuda/cuda.hpp"
