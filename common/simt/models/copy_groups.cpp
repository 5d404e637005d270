// SPDX-License-Identifier: MIT
#include "common/simt/models/copy_groups.hpp"

#include <algorithm>
#include <cstring>

#include "common/simt/machine/options.hpp"
#include "common/simt/machine/wait.hpp"

namespace attn::simt {
namespace {

constexpr int kLanes = 32;

void carry_out(const CopyGroups::Copy& copy) {
  if (copy.valid > 0) std::memcpy(copy.to, copy.from, copy.valid);
  std::memset(copy.to + copy.valid, 0, copy.bytes - std::size_t{copy.valid});
}

}  // namespace

void CopyGroups::begin_block(int threads) {
  threads_.resize(static_cast<std::size_t>(threads));
  for (Thread& thread : threads_) {
    thread.open.clear();
    thread.committed = 0;
    thread.under_way.clear();
  }
  latest_.assign(static_cast<std::size_t>((threads + kLanes - 1) / kLanes), kNone);
  free_.clear();
  for (std::size_t batch = 0; batch < batches_.size(); ++batch) free_.push_back(batch);
}

void CopyGroups::start(int rank, const Copy& copy) {
  if (options().completion == Completion::kEager) return carry_out(copy);
  std::memset(copy.to, 0xFF, copy.bytes);  // a NaN, whatever the element
  threads_[static_cast<std::size_t>(rank)].open.push_back(copy);
}

std::size_t CopyGroups::new_batch() {
  if (free_.empty()) {
    batches_.emplace_back();
    return batches_.size() - 1;
  }
  const std::size_t batch = free_.back();
  free_.pop_back();
  batches_[batch].copies.clear();
  batches_[batch].parts.clear();
  batches_[batch].lanes = 0;
  return batch;
}

void CopyGroups::commit(int rank, AsyncWork& work) {
  Thread& thread = threads_[static_cast<std::size_t>(rank)];
  const std::uint32_t group = ++thread.committed;
  if (thread.open.empty()) return;  // nothing to wait for
  const unsigned lane = 1u << rank % kLanes;
  std::size_t& latest = latest_[static_cast<std::size_t>(rank / kLanes)];
  if (latest == kNone || (batches_[latest].lanes & lane) != 0) {
    latest = new_batch();
    work.start([this, batch = latest] { complete(batch); });
  }
  Batch& batch = batches_[latest];
  batch.copies.insert(batch.copies.end(), thread.open.begin(), thread.open.end());
  batch.parts.push_back({rank, group});
  batch.lanes |= lane;
  thread.under_way.push_back(group);
  thread.open.clear();
}

void CopyGroups::complete(std::size_t batch) {
  for (const Copy& copy : batches_[batch].copies) carry_out(copy);
  for (const auto& [rank, group] : batches_[batch].parts) {
    std::erase(threads_[static_cast<std::size_t>(rank)].under_way, group);
  }
  std::replace(latest_.begin(), latest_.end(), batch, kNone);
  free_.push_back(batch);
}

bool CopyGroups::arrived(int rank, int pending) const {
  const Thread& thread = of(rank);
  const auto needed = std::int64_t{thread.committed} - pending;  // the last of those
  return std::all_of(thread.under_way.begin(), thread.under_way.end(),
                     [needed](std::uint32_t group) { return group > needed; });
}

}  // namespace attn::simt
