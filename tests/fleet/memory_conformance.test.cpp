// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "memory_store.hpp"
#include "store_conformance.hpp"

namespace placement::test {
namespace {

struct MemoryHarness {
  [[nodiscard]] std::unique_ptr<fleet::Store> open() const {
    return std::make_unique<MemoryStore>(server);
  }
  void compact(fleet::Revision revision) const { server->compact(revision); }
  void back_up() { backup = server->revision(); }
  void restore() const { server->roll_back(backup); }

  std::shared_ptr<MemoryServer> server = std::make_shared<MemoryServer>();
  fleet::Revision backup;
};

// A client, and a watch of all that it is told.
class MemoryStoreFaults : public testing::Test {
 protected:
  MemoryStoreFaults() : client_(server_), other_(server_) {}

  fleet::Revision change(const std::string& value) {
    const Outcome outcome = other_.commit(change_partition("p", value));
    EXPECT_NE(outcome.done(), nullptr);
    return outcome.done()->revision;
  }
  void watch() { watch_ = client_.watch("", server_->revision().next(), recorder_.handler()); }

  std::shared_ptr<MemoryServer> server_ = std::make_shared<MemoryServer>();
  MemoryStore client_;
  MemoryStore other_;
  WatchRecorder recorder_;
  fleet::Watch watch_;
};

}  // namespace

INSTANTIATE_TYPED_TEST_SUITE_P(Memory, StoreConformance, MemoryHarness);

namespace {

TEST_F(MemoryStoreFaults, WhatIsRepeatedBreaksTheContractAndIsNoticed) {
  client_.repeat_changes(true);
  watch();
  ASSERT_TRUE(recorder_.wait_for(change("1")));
  client_.repeat_changes(false);
  ASSERT_TRUE(recorder_.wait_for(change("2")));
  EXPECT_THAT(recorder_.complaints(), ElementsAre("a revision that was told already"));
}

TEST_F(MemoryStoreFaults, WhatIsLostIsSeenByAJumpOfHeadsVersion) {
  watch();
  HeadFollower follower;
  ASSERT_TRUE(recorder_.wait_for(change("1")));
  client_.lose_changes(server_->revision().next());
  change("2");
  ASSERT_TRUE(recorder_.wait_for(change("3")));
  const auto changes = recorder_.changes();
  ASSERT_THAT(changes, SizeIs(2));
  EXPECT_TRUE(follower.follow(changes[0]));
  EXPECT_FALSE(follower.follow(changes[1]));
}

TEST_F(MemoryStoreFaults, WhatIsHeldBackComesLater) {
  watch();
  client_.hold_changes(true);
  const fleet::Revision revision = change("1");
  EXPECT_TRUE(client_.load("").ok()) << "only watches are slow";
  EXPECT_THAT(recorder_.changes(), IsEmpty());
  client_.hold_changes(false);
  ASSERT_TRUE(recorder_.wait_for(revision));
  EXPECT_THAT(recorder_.changes(), SizeIs(1));
}

TEST_F(MemoryStoreFaults, AClientThatIsCutOffComesBack) {
  watch();
  client_.cut_off(true);
  const Outcome outcome = client_.commit(Transaction().put("a", ""));
  ASSERT_NE(outcome.failed(), nullptr);
  EXPECT_EQ(fault_of(outcome.failed()->why), Fault::Unavailable);
  EXPECT_EQ(fault_of(client_.load("").status()), Fault::Unavailable);
  const fleet::Revision revision = change("1");
  client_.cut_off(false);
  ASSERT_TRUE(recorder_.wait_for(revision));
  EXPECT_THAT(recorder_.complaints(), IsEmpty());
}

TEST_F(MemoryStoreFaults, AHistoryThatWentBackAndOvertookUnseenIsKnownByItsHeadOnly) {
  watch();
  change("1");
  const fleet::Revision backup = server_->revision();
  const fleet::Revision known = change("2");
  ASSERT_TRUE(recorder_.wait_for(known));
  const auto head = client_.load("table/head");
  ASSERT_TRUE(head.ok());
  client_.cut_off(true);
  server_->roll_back(backup);
  MemoryStore restarted(server_);
  for (const char* const value : {"x", "y", "z"}) {
    ASSERT_NE(restarted.commit(Transaction().put("other", value)).done(), nullptr);
  }
  client_.cut_off(false);
  EXPECT_TRUE(client_.load("").ok()) << "the revision says nothing";
  ASSERT_TRUE(recorder_.wait_for(server_->revision()));
  EXPECT_FALSE(recorder_.lost());
  const auto now = client_.load("table/head", At::exactly(known));
  ASSERT_TRUE(now.ok());
  EXPECT_NE(now->entries[0].mod, head->entries[0].mod);
}

}  // namespace
}  // namespace placement::test
