// SPDX-License-Identifier: MIT
#include "common/verify/reach.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace attn::verify {
namespace {

std::size_t size(std::int64_t elements) { return static_cast<std::size_t>(elements); }

/// An output of rows of `width` numbers, and the input whose numbers reach the same column of it.
struct Route {
  Expected* to;
  const std::vector<double>* from;
  std::int64_t width;
  bool to_row;  // from the pair's key to its row, or from its row to its key
};

/// Those of the outputs that there are.
std::vector<Route> routes_of(const reference::Inputs& in, std::vector<Expected>& arrays) {
  const std::int64_t d = in.shape.d, d_v = in.extras.d_v == 0 ? d : in.extras.d_v;
  std::vector<Route> routes;
  for (Expected& array : arrays) {
    const std::string_view name = array.name;
    if (name == "o") routes.push_back({&array, &in.v, d_v, true});
    if (name == "dq") routes.push_back({&array, &in.k, d, true});
    if (name == "dk") routes.push_back({&array, &in.q, d, false});
    if (name == "dv") routes.push_back({&array, &in.grad_o, d_v, false});
  }
  return routes;
}

/// Per row of an array whether it has a NaN or an infinity.
std::vector<bool> spoiled_rows(const std::vector<double>& array, std::int64_t width) {
  std::vector<bool> spoiled(array.size() / size(width));
  for (std::size_t e = 0; e < array.size(); ++e) {
    if (!std::isfinite(array[e])) spoiled[e / size(width)] = true;
  }
  return spoiled;
}

/// Per key whether a row that sees `keys` (rising) does not see it, but one so near.
std::vector<bool> hidden_but_near(const std::vector<std::int64_t>& keys, std::int64_t Nk,
                                  std::int64_t reach) {
  std::vector<bool> result(size(Nk), false);
  std::int64_t done = 0;
  for (const std::int64_t j : keys) {
    const std::int64_t end = std::min(j + reach + 1, Nk);
    for (std::int64_t near = std::max(j - reach, done); near < end; ++near) {
      result[size(near)] = true;
    }
    done = end;
  }
  for (const std::int64_t j : keys) result[size(j)] = false;
  return result;
}

}  // namespace

void allow_nan_within(std::int64_t reach, const reference::Inputs& inputs,
                      std::vector<Expected>& arrays) {
  const reference::Visibility visibility(inputs.mask, inputs.extras);
  std::vector<std::int64_t> keys;
  for (const Route& route : routes_of(inputs, arrays)) {
    const std::vector<bool> spoiled = spoiled_rows(*route.from, route.width);
    if (std::find(spoiled.begin(), spoiled.end(), true) == spoiled.end()) continue;
    std::vector<bool>& allowed = route.to->or_nan;
    allowed.assign(route.to->values.size(), false);
    const auto pass = [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t c = 0; c < route.width && spoiled[size(from)]; ++c) {
        if (std::isfinite((*route.from)[size(from * route.width + c)])) continue;
        allowed[size(to * route.width + c)] = true;
      }
    };
    reference::for_each_head(inputs.shape, inputs.extras, [&](const reference::HeadRows& at) {
      std::vector<bool> seen(size(at.Nk), false);
      for (std::int64_t i = 0; i < at.Nq; ++i) {
        visibility.keys_of(at, i, keys);
        for (const std::int64_t j : keys) seen[size(j)] = true;
      }
      for (std::int64_t i = 0; i < at.Nq; ++i) {
        visibility.keys_of(at, i, keys);
        const std::vector<bool> near = hidden_but_near(keys, at.Nk, reach);
        const std::int64_t row = at.q_row + i;
        for (std::int64_t j = 0; j < at.Nk; ++j) {
          if (!near[size(j)] || !seen[size(j)]) continue;
          const std::int64_t key = at.k_row + j;
          pass(route.to_row ? key : row, route.to_row ? row : key);
        }
      }
    });
  }
}

}  // namespace attn::verify
