// SPDX-License-Identifier: Apache-2.0
//
// What every backend of the fleet's store has to pass. A backend instantiates the suite with a
// harness:
//
//   struct Harness {
//     std::unique_ptr<fleet::Store> open();   // one more client of the same store, which begins
//     empty void compact(fleet::Revision);          // as the backend's operator does void
//     back_up();                         // once void restore();                         // what
//     back_up() saved is the store; clients that are
//   };                                        // open stay as they are
//   INSTANTIATE_TYPED_TEST_SUITE_P(Name, StoreConformance, Harness);
#ifndef PLACEMENT_TESTS_FLEET_STORE_CONFORMANCE_HPP_
#define PLACEMENT_TESTS_FLEET_STORE_CONFORMANCE_HPP_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../support/threads.hpp"
#include "lost_answers.hpp"
#include "placement/fleet/store.hpp"
#include "watch_recorder.hpp"

namespace placement::test {

using fleet::At;
using fleet::Change;
using fleet::Changes;
using fleet::Done;
using fleet::Entry;
using fleet::Fault;
using fleet::fault_of;
using fleet::Outcome;
using fleet::Refused;
using fleet::Revision;
using fleet::Store;
using fleet::Transaction;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

template <typename Harness>
class StoreConformance : public testing::Test {
 protected:
  StoreConformance() : client_(harness_.open()) {}

  Store& store() { return *client_; }
  std::unique_ptr<Store> another() { return harness_.open(); }
  Harness& harness() { return harness_; }

  Done done(const Transaction& transaction) { return done_by(store(), transaction); }
  static Done done_by(Store& store, const Transaction& transaction) {
    const Outcome outcome = store.commit(transaction, absl::Seconds(60));
    if (outcome.done() == nullptr) {
      ADD_FAILURE() << outcome;
      return {};
    }
    return *outcome.done();
  }
  Revision put(std::string key, std::string value) {
    return done(Transaction().put(std::move(key), std::move(value))).revision;
  }
  std::vector<Entry> all(std::string_view prefix = "", At at = At::now()) {
    const auto snapshot = store().load(prefix, at);
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return snapshot.ok() ? snapshot->entries : std::vector<Entry>();
  }
  std::optional<Entry> one(const std::string& key) {
    return done(Transaction().read(key)).reads.at(0);
  }
  Revision now() { return done(Transaction()).revision; }

 private:
  Harness harness_;
  std::unique_ptr<Store> client_;
};

// What a member knows of `table/head`, and the rule by which it sees that a change did not reach
// it.
struct HeadFollower {
  std::uint64_t version = 0;

  // False: load anew.
  bool follow(const Changes& changes) {
    for (const Change& change : changes.changes) {
      if (change.key != "table/head") continue;
      if (change.version != version + 1) return false;
      version = change.version;
    }
    return true;
  }
};

// A transaction that changes a partition, as the fleet makes it.
inline Transaction change_partition(const std::string& id, std::string value) {
  Transaction transaction;
  transaction.put("table/p/" + id, std::move(value)).put("table/head", id);
  return transaction;
}

TYPED_TEST_SUITE_P(StoreConformance);

// ---- loads and transactions ----

TYPED_TEST_P(StoreConformance, BeginsEmptyAtARevisionAboveZero) {
  const auto snapshot = this->store().load("");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_THAT(snapshot->entries, IsEmpty());
  EXPECT_GT(snapshot->revision, Revision::zero());
}

TYPED_TEST_P(StoreConformance, CountsRevisionsAndVersions) {
  const Revision first = this->put("a", "1");
  const Revision second = this->put("b", "x");
  const Revision third = this->put("a", "2");
  EXPECT_EQ(second, first.next());
  EXPECT_EQ(third, second.next());
  EXPECT_THAT(this->all(),
              ElementsAre(Entry{"a", "2", first, third, 2}, Entry{"b", "x", second, second, 1}));
}

TYPED_TEST_P(StoreConformance, AKeyThatComesBackBeginsAnew) {
  this->put("a", "1");
  this->put("a", "2");
  this->done(Transaction().erase("a"));
  EXPECT_THAT(this->all(), IsEmpty());
  const Revision again = this->put("a", "3");
  EXPECT_THAT(this->all(), ElementsAre(Entry{"a", "3", again, again, 1}));
}

TYPED_TEST_P(StoreConformance, OneTransactionIsOneRevision) {
  this->put("old", "");
  const Revision revision =
      this->done(Transaction().put("a", "1").put("b", "2").erase("old")).revision;
  EXPECT_THAT(this->all(), ElementsAre(Entry{"a", "1", revision, revision, 1},
                                       Entry{"b", "2", revision, revision, 1}));
}

TYPED_TEST_P(StoreConformance, WhatChangesNothingMakesNoRevision) {
  const Revision before = this->put("a", "1");
  EXPECT_EQ(this->done(Transaction().erase("absent")).revision, before);
  EXPECT_EQ(this->done(Transaction().read("a")).revision, before);
  EXPECT_EQ(this->done(Transaction()).revision, before);
  EXPECT_EQ(this->put("a", "1"), before.next()) << "the same value is a put nevertheless";
}

TYPED_TEST_P(StoreConformance, AModRevisionThatHoldsLetsATransactionHappen) {
  const Revision mod = this->put("a", "1");
  EXPECT_NE(this->store().commit(Transaction().if_mod("a", mod).put("a", "2")).done(), nullptr);
  EXPECT_EQ(this->one("a")->value, "2");
}

TYPED_TEST_P(StoreConformance, ARefusalChangesNothingAndSaysWhatIsThere) {
  const Revision old = this->put("a", "1");
  const Revision mod = this->put("a", "2");
  const Outcome outcome = this->store().commit(
      Transaction().if_mod("a", old).if_absent("b").put("a", "3").put("c", "3").read("a").read(
          "c"));
  const Refused* refused = outcome.refused();
  ASSERT_NE(refused, nullptr) << outcome;
  EXPECT_EQ(refused->revision, mod);
  const Entry a{"a", "2", old, mod, 2};
  EXPECT_THAT(refused->compared, ElementsAre(a, std::nullopt));
  EXPECT_THAT(refused->reads, ElementsAre(a, std::nullopt));
  EXPECT_THAT(this->all(), ElementsAre(a));
  EXPECT_EQ(this->now(), mod);
}

TYPED_TEST_P(StoreConformance, EveryCompareHasToHold) {
  const Revision a = this->put("a", "");
  const Revision b = this->put("b", "");
  EXPECT_NE(
      this->store().commit(Transaction().if_mod("a", a).if_mod("b", a).put("c", "")).refused(),
      nullptr);
  EXPECT_NE(
      this->store().commit(Transaction().if_mod("a", b).if_mod("b", b).put("c", "")).refused(),
      nullptr);
  EXPECT_NE(this->store().commit(Transaction().if_mod("a", a).if_mod("b", b).put("c", "")).done(),
            nullptr);
}

TYPED_TEST_P(StoreConformance, ACreateRevisionOutlivesPutsButNotADelete) {
  const Revision create = this->put("a", "1");
  this->put("a", "2");
  EXPECT_NE(this->store().commit(Transaction().if_create("a", create).put("a", "3")).done(),
            nullptr);
  this->done(Transaction().erase("a"));
  this->put("a", "4");
  EXPECT_NE(this->store().commit(Transaction().if_create("a", create).put("a", "5")).refused(),
            nullptr);
}

TYPED_TEST_P(StoreConformance, ZeroMeansAbsent) {
  const Transaction mod = Transaction().if_absent("a").put("a", "");
  const Transaction create = Transaction().if_create("a", Revision::zero()).put("a", "");
  EXPECT_NE(this->store().commit(mod).done(), nullptr);
  EXPECT_NE(this->store().commit(mod).refused(), nullptr);
  EXPECT_NE(this->store().commit(create).refused(), nullptr);
  this->done(Transaction().erase("a"));
  EXPECT_NE(this->store().commit(create).done(), nullptr);
}

TYPED_TEST_P(StoreConformance, ReadsShowWhatTheTransactionFound) {
  const Revision revision = this->put("a", "before");
  const Done done = this->done(Transaction().put("a", "after").put("b", "").read("a").read("b"));
  EXPECT_THAT(done.reads, ElementsAre(Entry{"a", "before", revision, revision, 1}, std::nullopt));
}

TYPED_TEST_P(StoreConformance, KeysAndValuesAreAnyBytes) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  const std::string zero("\0", 1);
  this->put(bytes, bytes);
  this->put(zero, "");
  this->put("\xff", zero);
  this->put("\xff\xff", "\xff");
  this->put("a\x7f", "");
  this->put("a\x80", "");
  std::vector<std::pair<std::string, std::string>> found;
  for (const Entry& entry : this->all()) found.emplace_back(entry.key, entry.value);
  using Pair = std::pair<std::string, std::string>;
  EXPECT_THAT(found, ElementsAre(Pair(zero, ""), Pair(bytes, bytes), Pair("a\x7f", ""),
                                 Pair("a\x80", ""), Pair("\xff", zero), Pair("\xff\xff", "\xff")));
  EXPECT_THAT(this->all("\xff"), SizeIs(2));
  EXPECT_THAT(this->all("\xff\xff"), SizeIs(1));
  EXPECT_THAT(this->all("a"), SizeIs(2));
  EXPECT_EQ(this->one(zero)->value, "");
}

TYPED_TEST_P(StoreConformance, APrefixIsOfBytesNotOfPathParts) {
  for (const char* const key : {"a", "a/", "a/b", "a0", "b"}) this->put(key, "");
  EXPECT_THAT(this->all("a"), SizeIs(4));
  EXPECT_THAT(this->all("a/"), SizeIs(2));
  EXPECT_THAT(this->all("c"), IsEmpty());
  EXPECT_THAT(this->all(""), SizeIs(5));
}

TYPED_TEST_P(StoreConformance, TakesTheLargestTransaction) {
  Transaction operations;
  for (std::size_t i = 0; i < Transaction::kMaxOperations; ++i) {
    operations.if_absent("k" + std::to_string(i)).put("k" + std::to_string(i), "v");
  }
  EXPECT_NE(this->store().commit(operations).done(), nullptr);
  EXPECT_THAT(this->all(), SizeIs(Transaction::kMaxOperations));
  EXPECT_NE(this->store().commit(operations).refused(), nullptr);

  const std::string value(Transaction::kMaxBytes - 1, 'x');
  EXPECT_NE(this->store().commit(Transaction().put("b", value)).done(), nullptr);
  EXPECT_EQ(this->one("b")->value, value);
}

TYPED_TEST_P(StoreConformance, WhatIsTooLargeHasNotHappened) {
  Transaction operations;
  for (std::size_t i = 0; i <= Transaction::kMaxOperations; ++i) {
    operations.put("k" + std::to_string(i), "v");
  }
  const std::string value(Transaction::kMaxBytes, 'x');
  for (const Transaction& transaction :
       {operations, Transaction().put("b", value), Transaction().put("a", "1").put("a", "2"),
        Transaction().put("a", "1").erase("a"), Transaction().put("", ""), Transaction().read(""),
        Transaction().if_absent("")}) {
    const Outcome outcome = this->store().commit(transaction);
    ASSERT_NE(outcome.failed(), nullptr) << outcome;
    EXPECT_EQ(fault_of(outcome.failed()->why), Fault::LimitReached);
  }
  EXPECT_THAT(this->all(), IsEmpty());
}

TYPED_TEST_P(StoreConformance, LoadsAnOlderRevisionAsItWas) {
  const Revision first = this->put("a", "1");
  const Revision second = this->done(Transaction().put("a", "2").put("b", "")).revision;
  const Revision third = this->done(Transaction().erase("a")).revision;
  this->put("a", "4");

  const auto snapshot = this->store().load("", At::exactly(first));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->revision, first);
  EXPECT_THAT(snapshot->entries, ElementsAre(Entry{"a", "1", first, first, 1}));
  EXPECT_THAT(this->all("", At::exactly(second)),
              ElementsAre(Entry{"a", "2", first, second, 2}, Entry{"b", "", second, second, 1}));
  EXPECT_THAT(this->all("", At::exactly(third)), ElementsAre(Entry{"b", "", second, second, 1}));
}

TYPED_TEST_P(StoreConformance, LoadsAtLeastARevision) {
  const Revision first = this->put("a", "1");
  const Revision second = this->put("a", "2");
  const auto snapshot = this->store().load("", At::least(first));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->revision, second);
}

TYPED_TEST_P(StoreConformance, ARevisionThatIsNotThereYetIsNeverMadeUp) {
  const Revision next = this->put("a", "1").next();
  for (const At at : {At::least(next), At::exactly(next)}) {
    const auto snapshot = this->store().load("", at, absl::Milliseconds(200));
    ASSERT_FALSE(snapshot.ok());
    EXPECT_THAT(fault_of(snapshot.status()),
                testing::AnyOf(Fault::HistoryLost, Fault::Unavailable));
  }
  EXPECT_TRUE(this->store().load("").ok()) << "to ask for it is no harm";
}

TYPED_TEST_P(StoreConformance, EveryClientSeesWhatIsDone) {
  const auto other = this->another();
  for (int i = 0; i < 20; ++i) {
    Store& writer = i % 2 == 0 ? this->store() : *other;
    Store& reader = i % 2 == 0 ? *other : this->store();
    const Revision revision =
        this->done_by(writer, Transaction().put("a", std::to_string(i))).revision;
    const auto snapshot = reader.load("a");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    EXPECT_EQ(snapshot->revision, revision);
    EXPECT_EQ(snapshot->entries.at(0).value, std::to_string(i));
  }
  const auto mine = this->store().identity();
  const auto theirs = other->identity();
  ASSERT_TRUE(mine.ok() && theirs.ok());
  EXPECT_EQ(*mine, *theirs);
}

TYPED_TEST_P(StoreConformance, TransactionsOfManyThreadsAreOneAfterTheOther) {
  constexpr int kThreads = 4;
  constexpr int kEach = 25;
  const Revision before = this->put("sum", "0");
  std::mutex mutex;
  std::vector<Revision> revisions;
  std::vector<std::unique_ptr<Store>> clients;
  std::vector<std::function<void()>> bodies;
  std::atomic<int> refusals = 0;
  for (int i = 0; i < kThreads; ++i) clients.push_back(i % 2 == 0 ? this->another() : nullptr);
  for (int i = 0; i < kThreads; ++i) {
    Store* const store = clients[static_cast<std::size_t>(i)]
                             ? clients[static_cast<std::size_t>(i)].get()
                             : &this->store();
    bodies.emplace_back([&, store] {
      for (int done = 0; done < kEach;) {
        const auto snapshot = store->load("sum", At::now(), absl::Seconds(60));
        ASSERT_TRUE(snapshot.ok()) << snapshot.status();
        const Entry& sum = snapshot->entries.at(0);
        const Outcome outcome =
            store->commit(Transaction()
                              .if_mod("sum", sum.mod)
                              .put("sum", std::to_string(std::stoi(sum.value) + 1)),
                          absl::Seconds(60));
        if (outcome.done() != nullptr) {
          ++done;
          const std::lock_guard lock(mutex);
          revisions.push_back(outcome.done()->revision);
        } else {
          ASSERT_NE(outcome.refused(), nullptr) << outcome;
          refusals.fetch_add(1, std::memory_order_relaxed);
        }
      }
    });
  }
  run_together(bodies);
  EXPECT_EQ(this->one("sum")->value, std::to_string(kThreads * kEach));
  std::sort(revisions.begin(), revisions.end());
  ASSERT_THAT(revisions, SizeIs(kThreads * kEach));
  for (std::size_t i = 0; i < revisions.size(); ++i) {
    EXPECT_EQ(revisions[i].value(), before.value() + 1 + i);
  }
}

TYPED_TEST_P(StoreConformance, ALargeLoadIsOfOneRevision) {
  constexpr int kKeys = 20'000;
  constexpr int kAtOnce = static_cast<int>(Transaction::kMaxOperations);
  for (int i = 0; i < kKeys; i += kAtOnce) {
    Transaction transaction;
    for (int j = i; j < i + kAtOnce; ++j) transaction.put("k" + std::to_string(j), "0");
    this->done(transaction);
  }
  // One thread changes a first and a last key together, the other must never see them differ.
  const auto other = this->another();
  std::latch both(2);
  std::atomic<bool> stop = false;
  std::vector<std::function<void()>> bodies;
  bodies.emplace_back([&] {
    for (int i = 1; !stop.load(std::memory_order_relaxed); ++i) {
      this->done_by(*other,
                    Transaction().put("k0", std::to_string(i)).put("k9999", std::to_string(i)));
      if (i == 1) both.count_down();
    }
  });
  bodies.emplace_back([&] {
    both.arrive_and_wait();
    for (int i = 0; i < 5; ++i) {
      const auto snapshot = this->store().load("k", At::now(), absl::Seconds(60));
      ASSERT_TRUE(snapshot.ok()) << snapshot.status();
      EXPECT_THAT(snapshot->entries, SizeIs(kKeys));
      EXPECT_EQ(snapshot->entries.front().value, snapshot->entries.back().value);
      EXPECT_LE(snapshot->entries.front().mod, snapshot->revision);
    }
    stop.store(true, std::memory_order_relaxed);
  });
  run_together(bodies);
}

// ---- compaction ----

TYPED_TEST_P(StoreConformance, CompactionKeepsTheStateAtItsRevision) {
  const Revision first = this->put("a", "1");
  const Revision second = this->put("a", "2");
  this->put("gone", "");
  const Revision deleted = this->done(Transaction().erase("gone")).revision;
  const Revision last = this->put("a", "3");
  this->harness().compact(deleted);

  const auto older = this->store().load("", At::exactly(second));
  ASSERT_FALSE(older.ok());
  EXPECT_EQ(fault_of(older.status()), Fault::Compacted);
  EXPECT_THAT(this->all("", At::exactly(deleted)), ElementsAre(Entry{"a", "2", first, second, 2}));
  EXPECT_THAT(this->all("", At::exactly(last)), ElementsAre(Entry{"a", "3", first, last, 3}));
  EXPECT_THAT(this->all(), ElementsAre(Entry{"a", "3", first, last, 3}));
  EXPECT_NE(this->store().commit(Transaction().if_absent("gone").if_mod("a", last)).done(),
            nullptr);
}

TYPED_TEST_P(StoreConformance, AWatchFromBeforeACompactionIsTold) {
  this->put("a", "1");
  const Revision second = this->put("a", "2");
  const Revision third = this->put("a", "3");
  this->harness().compact(second);
  WatchRecorder too_old;
  const fleet::Watch first = this->store().watch("", second, too_old.handler());
  ASSERT_TRUE(too_old.wait_for_end());
  ASSERT_TRUE(too_old.compacted());
  EXPECT_EQ(too_old.compacted()->revision, second);
  EXPECT_THAT(too_old.changes(), IsEmpty());

  WatchRecorder just_right;
  const fleet::Watch other = this->store().watch("", third, just_right.handler());
  ASSERT_TRUE(just_right.wait_for(third));
  EXPECT_FALSE(just_right.compacted());
  EXPECT_THAT(just_right.changes(), SizeIs(1));
}

// ---- watches ----

TYPED_TEST_P(StoreConformance, AWatchTellsWholeRevisionsInOrder) {
  const Revision before = this->now();
  WatchRecorder recorder;
  const fleet::Watch watch = this->store().watch("", before.next(), recorder.handler());
  const auto other = this->another();
  const Revision first = this->done(Transaction().put("a", "1").put("b", "1")).revision;
  const Revision second = this->done_by(*other, Transaction().put("a", "2").erase("b")).revision;
  ASSERT_TRUE(recorder.wait_for(second));
  const auto changes = recorder.changes();
  ASSERT_THAT(changes, SizeIs(2));
  EXPECT_EQ(changes[0].revision, first);
  EXPECT_THAT(changes[0].changes,
              UnorderedElementsAre(Change{"a", "1", first, 1}, Change{"b", "1", first, 1}));
  EXPECT_EQ(changes[1].revision, second);
  EXPECT_THAT(changes[1].changes,
              UnorderedElementsAre(Change{"a", "2", first, 2},
                                   Change{"b", std::nullopt, Revision::zero(), 0}));
  EXPECT_THAT(recorder.complaints(), IsEmpty());
}

TYPED_TEST_P(StoreConformance, AWatchContinuesASnapshotWithoutAGap) {
  const auto other = this->another();
  constexpr int kPuts = 100;
  std::vector<std::function<void()>> bodies;
  bodies.emplace_back([&] {
    for (int i = 0; i < kPuts; ++i) {
      this->done_by(*other, Transaction().put("k" + std::to_string(i), ""));
    }
  });
  WatchRecorder recorder;
  fleet::Watch watch;
  std::size_t loaded = 0;
  bodies.emplace_back([&] {
    const auto snapshot = this->store().load("k");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    loaded = snapshot->entries.size();
    watch = this->store().watch("k", snapshot->revision.next(), recorder.handler());
  });
  run_together(bodies);
  ASSERT_TRUE(recorder.wait_for(this->now()));
  EXPECT_EQ(loaded + recorder.changes().size(), kPuts);
  EXPECT_THAT(recorder.complaints(), IsEmpty());
}

TYPED_TEST_P(StoreConformance, AWatchTellsItsPrefixOnly) {
  const Revision before = this->now();
  WatchRecorder recorder;
  const fleet::Watch watch = this->store().watch("a/", before.next(), recorder.handler());
  this->put("a", "");
  const Revision both = this->done(Transaction().put("a/1", "").put("b/1", "")).revision;
  this->put("b/2", "");
  const Revision last = this->put("a/2", "");
  ASSERT_TRUE(recorder.wait_for(last));
  const auto changes = recorder.changes();
  ASSERT_THAT(changes, SizeIs(2));
  EXPECT_EQ(changes[0].revision, both);
  EXPECT_THAT(changes[0].changes, ElementsAre(Change{"a/1", "", both, 1}));
}

TYPED_TEST_P(StoreConformance, AWatchIsToldWhatHappenedBeforeIt) {
  const Revision first = this->put("a", "1");
  this->done(Transaction().erase("a"));
  const Revision last = this->put("a", "2");
  WatchRecorder recorder;
  const fleet::Watch watch = this->store().watch("", first, recorder.handler());
  ASSERT_TRUE(recorder.wait_for(last));
  const auto changes = recorder.changes();
  ASSERT_THAT(changes, SizeIs(3));
  EXPECT_THAT(changes[2].changes, ElementsAre(Change{"a", "2", last, 1}));
}

TYPED_TEST_P(StoreConformance, AWatchThatHasNothingToTellSaysHowFarItIs) {
  WatchRecorder recorder;
  const fleet::Watch watch = this->store().watch("a", this->now().next(), recorder.handler());
  const Revision other = this->put("b", "");
  ASSERT_TRUE(recorder.wait_for(other)) << "by a Progress: no change has this prefix";
  EXPECT_THAT(recorder.changes(), IsEmpty());
  ASSERT_TRUE(recorder.wait_for_more()) << "the store is heard from again and again";
}

TYPED_TEST_P(StoreConformance, ManyWatchesAreToldTheSame) {
  const Revision before = this->now();
  const auto other = this->another();
  std::vector<WatchRecorder> recorders(6);
  std::vector<fleet::Watch> watches;
  for (std::size_t i = 0; i < recorders.size(); ++i) {
    Store& store = i % 2 == 0 ? this->store() : *other;
    watches.push_back(store.watch("", before.next(), recorders[i].handler()));
  }
  constexpr int kEach = 50;
  run_together({[&] {
                  for (int i = 0; i < kEach; ++i) this->put("a", std::to_string(i));
                },
                [&] {
                  for (int i = 0; i < kEach; ++i) {
                    this->done_by(*other, Transaction().put("b", std::to_string(i)));
                  }
                }});
  const Revision last = this->now();
  for (WatchRecorder& recorder : recorders) {
    ASSERT_TRUE(recorder.wait_for(last));
    EXPECT_THAT(recorder.complaints(), IsEmpty());
    const auto changes = recorder.changes();
    ASSERT_THAT(changes, SizeIs(2 * kEach));
    for (std::size_t i = 0; i < changes.size(); ++i) {
      EXPECT_EQ(changes[i].revision.value(), before.value() + 1 + i);
    }
  }
}

TYPED_TEST_P(StoreConformance, AWatchThatWasEndedTellsNothing) {
  WatchRecorder recorder;
  fleet::Watch watch = this->store().watch("", this->now().next(), recorder.handler());
  ASSERT_TRUE(recorder.wait_for(this->put("a", "1")));
  watch.stop();
  watch.stop();
  const std::size_t events = recorder.events();
  WatchRecorder witness;
  const fleet::Watch other = this->store().watch("", this->now().next(), witness.handler());
  ASSERT_TRUE(witness.wait_for(this->put("a", "2")));
  EXPECT_EQ(recorder.events(), events);
}

TYPED_TEST_P(StoreConformance, AHandlerMayUseTheStoreAndEndItsOwnWatch) {
  const Revision before = this->now();
  std::latch assigned(1);
  std::latch over(1);
  std::atomic<int> calls = 0;
  fleet::Watch watch;
  watch = this->store().watch("", before.next(), [&](const fleet::WatchEvent& event) {
    assigned.wait();
    const auto* const changes = std::get_if<Changes>(&event);
    if (changes == nullptr || changes->changes[0].key != "a") return;
    calls.fetch_add(1, std::memory_order_relaxed);
    EXPECT_TRUE(this->store().load("").ok());
    EXPECT_NE(this->store().commit(Transaction().put("b", "")).done(), nullptr);
    watch.stop();
    over.count_down();
  });
  assigned.count_down();
  this->put("a", "1");
  over.wait();
  this->put("a", "2");
  WatchRecorder witness;
  const fleet::Watch other = this->store().watch("", this->now().next(), witness.handler());
  ASSERT_TRUE(witness.wait_for(this->put("c", "")));
  EXPECT_EQ(calls.load(std::memory_order_relaxed), 1);
}

TYPED_TEST_P(StoreConformance, AWatchThatIsAheadOfTheStoreHasLostItsHistory) {
  WatchRecorder recorder;
  const Revision beyond = this->now().next().next();
  const fleet::Watch watch = this->store().watch("", beyond, recorder.handler());
  ASSERT_TRUE(recorder.wait_for_end());
  ASSERT_TRUE(recorder.lost());
  EXPECT_EQ(fault_of(recorder.lost()->why), Fault::HistoryLost);
}

// ---- what the fleet's protocol rests on ----

TYPED_TEST_P(StoreConformance, AnUnknownMayCommitAfterItWasLookedFor) {
  LostAnswers client(this->store());
  client.lose_next(LostAnswers::Fate::Late);
  ASSERT_NE(client.commit(Transaction().if_absent("session").put("session", "1")).unknown(),
            nullptr);
  EXPECT_FALSE(this->one("session")) << "which proves nothing:";
  ASSERT_NE(client.arrive().done(), nullptr);
  EXPECT_EQ(this->one("session")->value, "1");
}

TYPED_TEST_P(StoreConformance, AnUnknownIsSettledByWhatMakesItImpossible) {
  const Revision mod = this->put("partition", "cutover");
  LostAnswers client(this->store());
  client.lose_next(LostAnswers::Fate::Late);
  const Transaction flip = Transaction().if_mod("partition", mod).put("partition", "flipped");
  ASSERT_NE(client.commit(flip).unknown(), nullptr);
  // The abort compares the same and changes it: one of the two happens.
  ASSERT_NE(
      client.commit(Transaction().if_mod("partition", mod).put("partition", "aborted")).done(),
      nullptr);
  EXPECT_NE(client.arrive().refused(), nullptr);
  EXPECT_EQ(this->one("partition")->value, "aborted");
}

TYPED_TEST_P(StoreConformance, AnUnknownThatHappenedRefusesWhatWouldSettleIt) {
  const Revision mod = this->put("partition", "cutover");
  LostAnswers client(this->store());
  client.lose_next(LostAnswers::Fate::Arrives);
  ASSERT_NE(
      client.commit(Transaction().if_mod("partition", mod).put("partition", "flipped")).unknown(),
      nullptr);
  const Outcome abort =
      client.commit(Transaction().if_mod("partition", mod).put("partition", "aborted"));
  ASSERT_NE(abort.refused(), nullptr) << abort;
  EXPECT_EQ(abort.refused()->compared.at(0)->value, "flipped");
}

TYPED_TEST_P(StoreConformance, OfTwoHeartbeatsThatPassOneAnotherTheLaterSentMayWin) {
  const Revision mod = this->put("session", "seq 1");
  LostAnswers client(this->store());
  client.lose_next(LostAnswers::Fate::Late);
  ASSERT_NE(client.commit(Transaction().if_mod("session", mod).put("session", "seq 2")).unknown(),
            nullptr);
  ASSERT_NE(client.commit(Transaction().if_mod("session", mod).put("session", "seq 3")).done(),
            nullptr);
  EXPECT_NE(client.arrive().refused(), nullptr) << "the older one changes nothing any more";
  EXPECT_EQ(this->one("session")->value, "seq 3");
}

TYPED_TEST_P(StoreConformance, OfTwoHeartbeatsTheSecondIsToldThatTheFirstArrived) {
  const Revision mod = this->put("session", "seq 1");
  LostAnswers client(this->store());
  client.lose_next(LostAnswers::Fate::Late);
  ASSERT_NE(client.commit(Transaction().if_mod("session", mod).put("session", "seq 2")).unknown(),
            nullptr);
  const Outcome arrived = client.arrive();
  ASSERT_NE(arrived.done(), nullptr);
  const Outcome second = client.commit(
      Transaction().if_mod("session", mod).put("session", "seq 3").read("sessions/fenced/me"));
  ASSERT_NE(second.refused(), nullptr) << second;
  const auto& found = second.refused()->compared.at(0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->value, "seq 2");
  EXPECT_EQ(found->mod, arrived.done()->revision);
  EXPECT_FALSE(second.refused()->reads.at(0));
  EXPECT_NE(
      client.commit(Transaction().if_mod("session", found->mod).put("session", "seq 3")).done(),
      nullptr);
}

TYPED_TEST_P(StoreConformance, ASessionThatJustRenewedIsNotFencedByItsOldValue) {
  const Revision watched = this->put("session", "seq 1");
  this->put("session", "seq 2");
  const Transaction fence =
      Transaction().if_mod("session", watched).erase("session").put("fenced", "seq 1");
  EXPECT_NE(this->store().commit(fence).refused(), nullptr);
  EXPECT_TRUE(this->one("session"));
}

TYPED_TEST_P(StoreConformance, HeadsVersionCountsEveryChangeOfThePartitions) {
  const Revision before = this->now();
  for (int i = 0; i < 10; ++i) this->done(change_partition("p", std::to_string(i)));
  WatchRecorder recorder;
  const fleet::Watch watch = this->store().watch("table/", before.next(), recorder.handler());
  ASSERT_TRUE(recorder.wait_for(this->now()));
  HeadFollower follower;
  for (const Changes& changes : recorder.changes()) EXPECT_TRUE(follower.follow(changes));
  EXPECT_EQ(follower.version, 10U);
}

TYPED_TEST_P(StoreConformance, AJumpOfHeadsVersionShowsWhatDidNotArrive) {
  this->done(change_partition("p", "1"));
  HeadFollower follower{1};
  this->done(change_partition("q", "1"));
  const Revision compacted = this->done(change_partition("p", "2")).revision;
  this->done(change_partition("p", "3"));
  this->harness().compact(compacted);
  // Whoever goes on after the compaction as if nothing had been missed is found out.
  WatchRecorder recorder;
  const fleet::Watch watch = this->store().watch("table/", compacted.next(), recorder.handler());
  ASSERT_TRUE(recorder.wait_for(this->now()));
  ASSERT_THAT(recorder.changes(), SizeIs(1));
  EXPECT_FALSE(follower.follow(recorder.changes()[0]));
  const auto loaded = this->all("table/", At::exactly(compacted));
  ASSERT_THAT(loaded, SizeIs(3));
  EXPECT_EQ(loaded[0].key, "table/head");
  HeadFollower anew{loaded[0].version};
  EXPECT_TRUE(anew.follow(recorder.changes()[0]));
}

TYPED_TEST_P(StoreConformance, ARestoredStoreIsNotBelievedByWhoKnewMore) {
  this->put("a", "1");
  this->harness().back_up();
  const Revision known = this->put("a", "2");
  WatchRecorder watched;
  const fleet::Watch watch = this->store().watch("", known, watched.handler());
  ASSERT_TRUE(watched.wait_for(known));
  this->harness().restore();

  const auto snapshot = this->store().load("");
  ASSERT_FALSE(snapshot.ok());
  EXPECT_EQ(fault_of(snapshot.status()), Fault::HistoryLost);
  const Outcome outcome = this->store().commit(Transaction().put("a", "3"));
  ASSERT_NE(outcome.failed(), nullptr) << outcome;
  EXPECT_EQ(fault_of(outcome.failed()->why), Fault::HistoryLost);
  ASSERT_TRUE(watched.wait_for_end());
  EXPECT_TRUE(watched.lost());

  // A process that starts knows only what its file says.
  const auto restarted = this->another();
  const auto at_least = restarted->load("", At::least(known), absl::Milliseconds(200));
  ASSERT_FALSE(at_least.ok());
  WatchRecorder resumed;
  const fleet::Watch again = restarted->watch("", known.next(), resumed.handler());
  ASSERT_TRUE(resumed.wait_for_end());
  EXPECT_TRUE(resumed.lost());
  const auto believed = restarted->load("");
  ASSERT_TRUE(believed.ok()) << believed.status();
  EXPECT_EQ(believed->entries.at(0).value, "1");
}

TYPED_TEST_P(StoreConformance, ARestoredStoreThatHasOvertakenIsKnownByItsHead) {
  const Revision history = this->put("history", "first");
  this->done(change_partition("p", "1"));
  this->harness().back_up();
  const Revision known = this->done(change_partition("p", "lost")).revision;
  const auto head = this->one("table/head");
  this->harness().restore();

  const auto restarted = this->another();
  this->done_by(*restarted, Transaction().put("x", ""));
  this->done_by(*restarted, change_partition("p", "2"));
  const Revision last = this->done_by(*restarted, change_partition("p", "3")).revision;
  ASSERT_GT(last, known);

  // By its revision alone it could be the same. At the revision that was known it is not.
  const auto there = restarted->load("table/head", At::exactly(known));
  ASSERT_TRUE(there.ok()) << there.status();
  ASSERT_THAT(there->entries, SizeIs(1));
  EXPECT_NE(there->entries[0].mod, head->mod);

  // A new history stops whoever compares the old one.
  this->done_by(*restarted, Transaction().if_mod("history", history).put("history", "second"));
  const Outcome old = restarted->commit(Transaction().if_mod("history", history).put("p", ""));
  ASSERT_NE(old.refused(), nullptr) << old;
  EXPECT_EQ(old.refused()->compared.at(0)->value, "second");
}

REGISTER_TYPED_TEST_SUITE_P(
    StoreConformance, BeginsEmptyAtARevisionAboveZero, CountsRevisionsAndVersions,
    AKeyThatComesBackBeginsAnew, OneTransactionIsOneRevision, WhatChangesNothingMakesNoRevision,
    AModRevisionThatHoldsLetsATransactionHappen, ARefusalChangesNothingAndSaysWhatIsThere,
    EveryCompareHasToHold, ACreateRevisionOutlivesPutsButNotADelete, ZeroMeansAbsent,
    ReadsShowWhatTheTransactionFound, KeysAndValuesAreAnyBytes, APrefixIsOfBytesNotOfPathParts,
    TakesTheLargestTransaction, WhatIsTooLargeHasNotHappened, LoadsAnOlderRevisionAsItWas,
    LoadsAtLeastARevision, ARevisionThatIsNotThereYetIsNeverMadeUp, EveryClientSeesWhatIsDone,
    TransactionsOfManyThreadsAreOneAfterTheOther, ALargeLoadIsOfOneRevision,
    CompactionKeepsTheStateAtItsRevision, AWatchFromBeforeACompactionIsTold,
    AWatchTellsWholeRevisionsInOrder, AWatchContinuesASnapshotWithoutAGap, AWatchTellsItsPrefixOnly,
    AWatchIsToldWhatHappenedBeforeIt, AWatchThatHasNothingToTellSaysHowFarItIs,
    ManyWatchesAreToldTheSame, AWatchThatWasEndedTellsNothing,
    AHandlerMayUseTheStoreAndEndItsOwnWatch, AWatchThatIsAheadOfTheStoreHasLostItsHistory,
    AnUnknownMayCommitAfterItWasLookedFor, AnUnknownIsSettledByWhatMakesItImpossible,
    AnUnknownThatHappenedRefusesWhatWouldSettleIt,
    OfTwoHeartbeatsThatPassOneAnotherTheLaterSentMayWin,
    OfTwoHeartbeatsTheSecondIsToldThatTheFirstArrived,
    ASessionThatJustRenewedIsNotFencedByItsOldValue, HeadsVersionCountsEveryChangeOfThePartitions,
    AJumpOfHeadsVersionShowsWhatDidNotArrive, ARestoredStoreIsNotBelievedByWhoKnewMore,
    ARestoredStoreThatHasOvertakenIsKnownByItsHead);

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FLEET_STORE_CONFORMANCE_HPP_
