// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_LINEARIZABILITY_HPP_
#define PLACEMENT_TESTS_SUPPORT_LINEARIZABILITY_HPP_

#include <algorithm>
#include <atomic>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace placement::test {

// One call with its arguments and its result (both in the operation), and when it was under way:
// in stamps that are all different.
template <typename Operation>
struct Call {
  std::uint64_t called = 0;
  std::uint64_t returned = 0;
  Operation operation{};
  std::size_t thread = 0;

  template <typename Other>
  [[nodiscard]] bool overlaps(const Call<Other>& other) const {
    return called < other.returned && other.called < returned;
  }
};

template <typename Operation>
using History = std::vector<Call<Operation>>;

// Gives the stamps. A call that returned before another was called happens before it, also in the
// memory model: each stamp synchronizes with the next. Calls that overlap are not ordered by it.
class StampClock {
 public:
  std::uint64_t next() { return next_.fetch_add(1, std::memory_order_acq_rel); }

 private:
  std::atomic<std::uint64_t> next_{0};
};

// What an object does when it is used by one thread. step() is the state after the operation, or
// nothing if the operation, in this state, does not have the result that it had.
template <typename M>
concept SequentialModel =
    requires(const typename M::State& state, const typename M::Operation& operation) {
      { M::step(state, operation) } -> std::same_as<std::optional<typename M::State>>;
      { M::hash(state) } -> std::same_as<std::size_t>;
      { state == state } -> std::same_as<bool>;
    };

struct Verdict {
  bool linearizable = false;
  // The calls in an order that explains the results: all of them, or as many as could be.
  std::vector<std::size_t> order;
};

// Is there an order of the calls, in which none comes before one that had returned before it was
// called, and in which the model gives each call the result that it had?
//
// The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's
// memoisation ("Testing for linearizability", 2017), in the shape that porcupine gave it: the
// calls and returns stand in one list in the order of their stamps. A call that is tried next is
// lifted out of the list with its return. If a return is reached, its call had to come before and
// did not: the last one lifted goes back. What was tried, as the set of calls lifted and the state
// that they led to, is not tried again.
template <SequentialModel Model>
class LinearizabilityChecker {
 public:
  using State = typename Model::State;
  using Operation = typename Model::Operation;

  static Verdict check(const History<Operation>& history, const State& initial = State()) {
    return LinearizabilityChecker(history, initial).search();
  }

 private:
  // The list's entries: 2k is the call of number k, 2k + 1 its return, and one more is the head.
  using Entry = std::size_t;

  struct Lifted {
    std::size_t call;
    State before;
  };
  struct Tried {
    std::vector<std::uint64_t> calls;  // a bit for each
    State state;

    friend bool operator==(const Tried&, const Tried&) = default;
  };
  struct TriedHash {
    std::size_t operator()(const Tried& tried) const {
      std::uint64_t hash = Model::hash(tried.state);
      for (const std::uint64_t word : tried.calls) {
        hash = (hash ^ word) * 0x9E3779B97F4A7C15U;
        hash ^= hash >> 29;
      }
      return static_cast<std::size_t>(hash);
    }
  };

  LinearizabilityChecker(const History<Operation>& history, const State& initial)
      : history_(history),
        head_(2 * history.size()),
        next_(head_ + 1),
        previous_(head_ + 1),
        now_{std::vector<std::uint64_t>(history.size() / 64 + 1), initial} {
    std::vector<Entry> entries(head_);
    for (Entry entry = 0; entry < head_; ++entry) entries[entry] = entry;
    std::sort(entries.begin(), entries.end(),
              [this](Entry a, Entry b) { return stamp_of(a) < stamp_of(b); });
    Entry last = head_;
    for (const Entry entry : entries) {
      assert(history[entry / 2].called < history[entry / 2].returned);
      next_[last] = entry;
      previous_[entry] = last;
      last = entry;
    }
    next_[last] = head_;
    previous_[head_] = last;
  }

  Verdict search() {
    Verdict verdict;
    std::vector<Lifted> lifted;
    Entry entry = next_[head_];
    while (next_[head_] != head_) {
      const std::size_t call = entry / 2;
      if (entry == 2 * call) {
        std::optional<State> after = Model::step(now_.state, history_[call].operation);
        if (after) {
          std::swap(now_.state, *after);  // which is now the state before
          flip_bit(call);
          if (tried_.insert(now_).second) {
            lifted.push_back({call, std::move(*after)});
            lift(call);
            if (lifted.size() > verdict.order.size()) verdict.order = order_of(lifted);
            entry = next_[head_];
            continue;
          }
          flip_bit(call);
          std::swap(now_.state, *after);
        }
        entry = next_[entry];
        continue;
      }
      if (lifted.empty()) return verdict;
      const std::size_t undone = lifted.back().call;
      now_.state = std::move(lifted.back().before);
      lifted.pop_back();
      flip_bit(undone);
      put_back(undone);
      entry = next_[2 * undone];
    }
    verdict.linearizable = true;
    return verdict;
  }

  [[nodiscard]] std::uint64_t stamp_of(Entry entry) const {
    const Call<Operation>& call = history_[entry / 2];
    return entry % 2 == 0 ? call.called : call.returned;
  }

  void flip_bit(std::size_t call) { now_.calls[call / 64] ^= std::uint64_t{1} << (call % 64); }

  void lift(std::size_t call) {
    for (const Entry entry : {2 * call, 2 * call + 1}) {
      next_[previous_[entry]] = next_[entry];
      previous_[next_[entry]] = previous_[entry];
    }
  }
  void put_back(std::size_t call) {
    for (const Entry entry : {2 * call + 1, 2 * call}) {
      next_[previous_[entry]] = entry;
      previous_[next_[entry]] = entry;
    }
  }

  static std::vector<std::size_t> order_of(const std::vector<Lifted>& lifted) {
    std::vector<std::size_t> order;
    order.reserve(lifted.size());
    for (const Lifted& one : lifted) order.push_back(one.call);
    return order;
  }

  const History<Operation>& history_;
  Entry head_;
  std::vector<Entry> next_;
  std::vector<Entry> previous_;
  Tried now_;
  std::unordered_set<Tried, TriedHash> tried_;
};

template <SequentialModel Model>
Verdict check_linearizable(const History<typename Model::Operation>& history,
                           const typename Model::State& initial = {}) {
  return LinearizabilityChecker<Model>::check(history, initial);
}

template <typename Operation>
std::ostream& operator<<(std::ostream& out, const Call<Operation>& call) {
  return out << '[' << call.called << ", " << call.returned << "] thread " << call.thread << ": "
             << call.operation;
}

// What to look at where no order explains a history: the end of the longest that explains a part
// of it, and the first calls that it has no place for.
template <typename Operation>
std::string describe(const History<Operation>& history, const Verdict& verdict) {
  constexpr std::size_t kMost = 24;
  const std::size_t placed = verdict.order.size();
  std::ostringstream out;
  out << placed << " of " << history.size() << " calls have an order, which ends\n";
  for (std::size_t i = placed - std::min(placed, kMost); i < placed; ++i) {
    out << "  " << history[verdict.order[i]] << '\n';
  }
  std::vector<std::size_t> rest;
  for (std::size_t call = 0; call < history.size(); ++call) {
    if (std::find(verdict.order.begin(), verdict.order.end(), call) == verdict.order.end()) {
      rest.push_back(call);
    }
  }
  std::sort(rest.begin(), rest.end(),
            [&](std::size_t a, std::size_t b) { return history[a].called < history[b].called; });
  out << "and leaves no place for\n";
  for (std::size_t i = 0; i < std::min(rest.size(), kMost); ++i) {
    out << "  " << history[rest[i]] << '\n';
  }
  return out.str();
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_LINEARIZABILITY_HPP_
