// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <placement/placement_table.hpp>

#include "two_units.hpp"

namespace {

using placement::ClusterId;
using placement::Placement;
using placement::WriteAdmission;

TEST(TwoUnits, OneUnitResolvesWhatTheOtherRegistered) {
  const placement::Epoch epoch = two_units::register_tenant("acme", "a");
  const auto found = two_units::shared_table().get("acme");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->placement, Placement::dedicated_cluster(ClusterId("a")));
  EXPECT_EQ(found->epoch, epoch);
  EXPECT_EQ(two_units::shared_table().admit_write("acme", epoch), WriteAdmission::Admit);
}

// The text is stored once in the whole program, whichever unit interned it first.
TEST(TwoUnits, ShareOneInternPool) {
  const ClusterId here("shared-name");
  const ClusterId there = two_units::intern_cluster("shared-name");
  EXPECT_EQ(here, there);
  EXPECT_EQ(here.view().data(), there.view().data());
}

}  // namespace
