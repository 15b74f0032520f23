// SPDX-License-Identifier: Apache-2.0
//
// A program of two units, one with assertions and one without. The latter moves permits that the
// former cannot see go: so nothing may be concluded from what the former knows.
#undef NDEBUG

#include <memory>
#include <utility>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "mixed_units.hpp"

namespace {

using placement::ClusterId;
using placement::Placement;
using placement::PlacementTable;
using placement::WritePermit;

TEST(MixedUnits, WatchNoPermit) {
  PlacementTable table;
  table.set("a", Placement::dedicated_cluster(ClusterId("here")));
  WritePermit permit = table.acquire_write("a");
  const std::unique_ptr<WritePermit> elsewhere = mixed_units::move_away(permit);
  EXPECT_FALSE(permit);
  EXPECT_EQ(table.writes_in_flight("a"), 1U);
  EXPECT_FALSE(table.wait_until_drained("a", absl::Now() + absl::Milliseconds(1)));
  EXPECT_FALSE(placement::detail::PermitWatch::watches(&permit));
}

TEST(MixedUnits, AgreeOnWhatAPermitIs) {
  EXPECT_EQ(mixed_units::size_of_permit(), sizeof(WritePermit));
}

}  // namespace
