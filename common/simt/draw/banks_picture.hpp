// SPDX-License-Identifier: MIT
//
// The parts of a picture of requests.
#pragma once

#include <string>

#include "common/simt/draw/requests.hpp"
#include "common/simt/draw/svg.hpp"

namespace attn::simt::draw {

/// "1 sector", "32 sectors"
std::string plural(std::uint64_t n, std::string_view noun);
/// "forward.cu:32"
std::string place_of(const SeenAccess& seen);
/// "forward.cu:32, load from K"
std::string access_text(const SeenAccess& seen);
/// What its worst request asks for, and what that takes.
std::string cost_text(const SeenAccess& seen);
/// How the worst request stands among the others.
std::string rank_text(const SeenAccess& seen);
/// Title, place and source line, of which so many characters are shown.
void draw_access_head(Svg& svg, const RequestPanel& panel, double x, double y,
                      std::size_t characters);

/// A request to shared memory on the map of its 32 banks; returns the height that it takes.
enum class BankPlace { kAlone, kLeftHalf, kRightHalf };
double draw_banks(Svg& svg, const RequestPanel& panel, double y, BankPlace place);

}  // namespace attn::simt::draw
