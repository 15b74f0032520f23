// SPDX-License-Identifier: Apache-2.0
//
// Measures the contenders in turn, round after round, and prints what is quoted: the table of
// goals, each with the median over the rounds of its ratio, and the least and the greatest.
//
//   placement_table_compare [--short] [--rounds N] [--only SECTION] [--json FILE]
//
// Sections: memory, lookups, flips, transitions, fill, growth.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contenders.hpp"
#include "measure.hpp"
#include "report.hpp"
#include "workload.hpp"

namespace {

using namespace placement::bench;  // a program of its own
using placement::MemoryUse;
using placement::TableMemory;
using placement::TableOptions;

constexpr const char* kOurs = "placement_table";
constexpr const char* kUnsynchronised = "flat_hash_map";
constexpr const char* kSharedMutex = "shared_mutex";
constexpr const char* kSharded = "64 x absl::Mutex";
constexpr const char* kUrcu = "liburcu QSBR";

struct Settings {
  bool is_short = false;
  std::size_t rounds = 7;
  double sample_ns = 20e6;
  std::string only;
  std::string json;

  [[nodiscard]] bool wants(const char* section) const { return only.empty() || only == section; }
};

[[nodiscard]] std::string machine() {
  std::string model = "unknown";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  return model + ", " + std::to_string(std::thread::hardware_concurrency()) + " cores";
}

[[nodiscard]] double load_average() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

// ---- memory ----

// Counts what the table holds, and how long it waits for it.
class CountingMemory final : public TableMemory {
 public:
  void* allocate(std::size_t bytes, MemoryUse use) override {
    const std::uint64_t start = ticks();
    void* const memory = system().allocate(bytes, use);
    allocating_ += ticks() - start;
    bytes_ += bytes;
    return memory;
  }
  void deallocate(void* memory, std::size_t bytes, MemoryUse use) noexcept override {
    bytes_ -= bytes;
    const std::uint64_t start = ticks();
    system().deallocate(memory, bytes, use);
    allocating_ += ticks() - start;
  }
  void populate(void* memory, std::size_t bytes) noexcept override {
    const std::uint64_t start = ticks();
    system().populate(memory, bytes);
    allocating_ += ticks() - start;
  }
  // Inside the critical section.
  bool discard(void* memory, std::size_t bytes) noexcept override {
    const std::uint64_t start = ticks();
    const bool done = system().discard(memory, bytes);
    discarding_ = std::max(discarding_, ticks() - start);
    if (done) discarded_ += bytes;
    return done;
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  // Given back to the system, though the addresses are kept.
  [[nodiscard]] std::size_t discarded() const noexcept { return discarded_; }
  [[nodiscard]] std::uint64_t allocating() const noexcept { return allocating_; }
  // The longest.
  [[nodiscard]] std::uint64_t discarding() const noexcept { return discarding_; }

 private:
  std::size_t bytes_ = 0;  // one thread allocates here
  std::size_t discarded_ = 0;
  std::uint64_t allocating_ = 0;
  std::uint64_t discarding_ = 0;
};

[[nodiscard]] double resident_bytes() {
  double size = 0;
  double resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

struct Bytes {
  double allocated = 0;
  double held = 0;  // of that, what was not given back
  double resident = 0;
};

// In a process of its own, so that nobody's freed memory is used again.
[[nodiscard]] Bytes in_a_child(const std::function<Bytes()>& measure) {
  int ends[2];
  Bytes bytes;
  if (pipe(ends) != 0) return bytes;
  const pid_t child = fork();
  if (child == 0) {
    bytes = measure();
    const bool sent = write(ends[1], &bytes, sizeof(bytes)) == sizeof(bytes);
    _exit(sent ? 0 : 1);
  }
  if (read(ends[0], &bytes, sizeof(bytes)) != sizeof(bytes)) fail("no answer from the child");
  waitpid(child, nullptr, 0);
  close(ends[0]);
  close(ends[1]);
  return bytes;
}

[[nodiscard]] double allocated_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks) + static_cast<double>(info.hblkhd);
}

template <typename Ids>
void measure_memory(Report& report, const std::vector<std::size_t>& sizes) {
  for (const std::size_t partitions : sizes) {
    const auto add = [&](const char* contender, const char* how, const Bytes& bytes) {
      const Subject subject{"memory", how, Ids::kName, partitions, "", 1, contender};
      const auto count = static_cast<double>(partitions);
      report.add(subject, "bytes allocated", bytes.allocated / count);
      report.add(subject, "bytes", bytes.held / count);
      report.add(subject, "resident bytes", bytes.resident / count);
    };
    for (const bool reserves : {false, true}) {
      const char* const how = reserves ? "reserved" : "growing";
      for (const Maker<Ids>& maker : contender_makers<Ids>()) {
        const bool is_ours = std::strcmp(maker.name, kOurs) == 0;
        add(maker.name, how, in_a_child([&] {
              static_cast<void>(places());
              const Bytes before{allocated_bytes(), 0, resident_bytes()};
              CountingMemory memory;
              TableOptions options;
              options.memory = &memory;
              placement::BasicPlacementTable<typename Ids::Id> ours(options);
              const auto peer = maker.make();
              if (is_ours) {
                if (reserves) ours.reserve(partitions);
                for (std::size_t i = 0; i < partitions; ++i) {
                  ours.set(Ids::make(i), places().origin(i));
                }
                return Bytes{static_cast<double>(memory.bytes()),
                             static_cast<double>(memory.bytes() - memory.discarded()),
                             resident_bytes() - before.resident};
              }
              peer->with_thread([&] {
                if (reserves) peer->reserve(partitions);
                peer->set(0, partitions);
              });
              const double allocated = allocated_bytes() - before.allocated;
              return Bytes{allocated, allocated, resident_bytes() - before.resident};
            }));
      }
    }
  }
}

// ---- lookups ----

struct Axis {
  Operation operation;
  std::size_t threads;
};

template <typename Ids>
void measure_axis(Report& report, const Settings& settings,
                  std::span<const std::unique_ptr<AnyContender<Ids>>> contenders,
                  std::span<const Request<Ids>> requests, Load load, std::size_t partitions,
                  std::span<const Axis> axes) {
  struct Sample {
    AnyContender<Ids>* contender;
    Axis axis;
    std::size_t count;
  };
  const bool present = load != Load::Misses;
  std::vector<Sample> samples;
  for (const auto& contender : contenders) {
    for (const Axis axis : axes) {
      if (axis.threads > 1 && !contender->is_for_threads()) continue;
      if (!contender->can(axis.operation)) continue;
      constexpr std::size_t kFew = 1U << 14;
      const double time =
          time_asking(*contender, axis.operation, requests, kFew, present, axis.threads) *
          static_cast<double>(axis.threads);
      const auto count = static_cast<std::size_t>(settings.sample_ns / time);
      samples.push_back({contender.get(), axis, std::clamp<std::size_t>(count, kFew, 1U << 23)});
    }
  }
  for (std::size_t round = 0; round < settings.rounds; ++round) {
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const auto& [contender, axis, count] = samples[(i + round) % samples.size()];
      report.add({"lookup", to_string(axis.operation), Ids::kName, partitions, to_string(load),
                  axis.threads, contender->name()},
                 "ns",
                 time_asking(*contender, axis.operation, requests, count, present, axis.threads));
    }
  }
}

// One thread's lookups, quiet and beside a thread that flips partitions of the same load.
template <typename Ids>
void measure_flips(Report& report, const Settings& settings,
                   std::span<const std::unique_ptr<AnyContender<Ids>>> contenders,
                   std::span<const Request<Ids>> requests, Load load, std::size_t partitions) {
  const std::size_t count = settings.is_short ? 100'000 : 400'000;
  for (std::size_t round = 0; round < settings.rounds; ++round) {
    for (const auto& contender : contenders) {
      if (!contender->is_for_threads()) continue;
      for (const bool flips : {false, true}) {
        const Subject subject{flips ? "beside flips" : "quiet",
                              "get",
                              Ids::kName,
                              partitions,
                              to_string(load),
                              1,
                              contender->name()};
        std::unique_ptr<Flipping<Ids>> flipping;
        if (flips) flipping = std::make_unique<Flipping<Ids>>(*contender, requests);
        report.add(subject, "ns",
                   time_asking(*contender, Operation::Get, requests, count, true, 1));
        Histogram histogram;
        contender->with_thread(
            [&] { contender->time_each(requests, round * count, count, histogram); });
        const double tick = nanoseconds_a_tick();
        for (const auto& [name, share] :
             {std::pair("p50 ns", 0.5), std::pair("p90 ns", 0.9), std::pair("p99 ns", 0.99),
              std::pair("p99.9 ns", 0.999), std::pair("p99.99 ns", 0.9999)}) {
          report.add(subject, name, static_cast<double>(histogram.percentile(share)) * tick);
        }
        if (flipping) report.add(subject, "flips", static_cast<double>(flipping->finish()));
      }
    }
  }
}

// ---- transitions ----

template <typename Ids>
void measure_transitions(Report& report, const Settings& settings,
                         std::span<const std::unique_ptr<AnyContender<Ids>>> contenders,
                         std::size_t partitions) {
  constexpr std::size_t kCount = 1000;
  struct alignas(128) Lock {
    placement::detail::Mutex mutex;
  };
  std::vector<Lock> locks(64);
  std::vector<Request<Ids>> requests(kCount);
  for (std::size_t round = 0; round < 3 * settings.rounds; ++round) {
    for (std::size_t i = 0; i < kCount; ++i) {
      const std::size_t partition = (round * kCount + i) * 2654435761 % partitions;
      requests[i].assign(Ids::make(partition));
      requests[i].partition = static_cast<std::uint32_t>(partition);
    }
    const auto add = [&](const char* contender, const char* operation,
                         SteadyClock::time_point start) {
      report.add({"transition", operation, Ids::kName, partitions, "uniform", 1, contender}, "ns",
                 nanoseconds_since(start) / kCount);
    };
    auto start = SteadyClock::now();
    for (const Request<Ids>& request : requests) {
      const placement::detail::MutexLock lock(
          locks[Random::mix(request.partition) % locks.size()].mutex);
    }
    add("absl::Mutex", "lock + unlock", start);
    for (const auto& contender : contenders) {
      contender->with_thread([&] {
        // The first time, what the partitions need is in no cache.
        for (const std::string when : {", cold", ""}) {
          const auto run = [&](Transition transition, const char* name) {
            start = SteadyClock::now();
            contender->transit(transition, requests);
            add(contender->name(), (name + when).c_str(), start);
          };
          const auto migration = SteadyClock::now();
          run(Transition::BeginMigration, "begin_migration");
          run(Transition::EnterCutover, "enter_cutover");
          run(Transition::CompleteMigration, "complete_migration");
          add(contender->name(), ("whole migration" + when).c_str(), migration);
          contender->transit(Transition::BeginMigration, requests);
          run(Transition::AbortMigration, "abort_migration");
        }
      });
    }
  }
}

template <typename Ids>
void measure_lookups(Report& report, const Settings& settings, std::size_t partitions,
                     bool is_main) {
  std::cerr << "  " << Ids::kName << " ids, " << partitions << " partitions\n";
  const auto contenders = make_contenders<Ids>();
  const std::span<const std::unique_ptr<AnyContender<Ids>>> all(contenders);
  for (const auto& contender : contenders) {
    contender->with_thread([&] {
      contender->reserve(partitions);
      contender->set(0, partitions);
    });
  }
  std::vector<Axis> axes = {{Operation::Get, 1}, {Operation::Get, 2}};
  if (is_main || !settings.is_short) {
    axes.insert(axes.end(), {{Operation::AdmitWrite, 1},
                             {Operation::AdmitWrite, 2},
                             {Operation::GetAndAdmitWrite, 1},
                             {Operation::DependentGet, 1},
                             {Operation::AcquireAndRelease, 1},
                             {Operation::AcquireAndRelease, 2},
                             {Operation::GetMany, 1},
                             {Operation::GetMany, 2}});
  }
  if (settings.wants("lookups")) {
    for (const Load load : {Load::Zipf, Load::Uniform, Load::OneHot, Load::Misses}) {
      if (settings.is_short && !is_main && load != Load::Zipf) continue;
      const auto requests = make_requests<Ids>(load, partitions);
      std::vector<Axis> some = axes;
      if (load == Load::Misses) {
        std::erase_if(some,
                      [](Axis axis) { return axis.operation == Operation::AcquireAndRelease; });
      }
      // A reference for each partition that is asked for, so for few.
      if (is_main && (load == Load::OneHot || (partitions == 1'000 && load != Load::Misses))) {
        some.push_back({Operation::GetByRef, 1});
      }
      measure_axis<Ids>(report, settings, all, requests, load, partitions, some);
    }
  }
  // What follows flips partitions: their epochs are not what they were.
  if (settings.wants("transitions") && is_main) {
    measure_transitions<Ids>(report, settings, all, partitions);
  }
  if (settings.wants("flips") && is_main) {
    for (const Load load : {Load::Zipf, Load::Uniform, Load::OneHot}) {
      if (settings.is_short && load == Load::Uniform) continue;
      const auto requests = make_requests<Ids>(load, partitions);
      measure_flips<Ids>(report, settings, all, requests, load, partitions);
    }
  }
}

// ---- fill ----

template <typename Ids>
void measure_fill(Report& report, const Settings& settings, std::size_t partitions) {
  std::vector<typename Ids::Id> ids(partitions);
  for (std::size_t i = 0; i < partitions; ++i) ids[i] = Ids::make(i);
  for (std::size_t round = 0; round < (settings.is_short ? 3 : settings.rounds); ++round) {
    for (const Maker<Ids>& maker : contender_makers<Ids>()) {
      if (settings.is_short && maker.name != std::string(kOurs) &&
          maker.name != std::string(kSharedMutex) && maker.name != std::string(kUnsynchronised)) {
        continue;
      }
      for (const bool reserves : {false, true}) {
        const auto contender = maker.make();
        contender->with_thread([&] {
          const auto start = SteadyClock::now();
          if (reserves) contender->reserve(partitions);
          contender->set(std::span<const typename Ids::Id>(ids));
          report.add({"fill", reserves ? "reserved" : "growing", Ids::kName, partitions, "", 1,
                      maker.name},
                     "ns", nanoseconds_since(start) / static_cast<double>(partitions));
        });
      }
    }
  }
}

// ---- growth ----

struct Longest {
  double wall = 0;
  double run = 0;
  void add(double wall_ns, double run_ns) {
    wall = std::max(wall, wall_ns);
    run = std::max(run, run_ns);
  }
};

template <typename Ids>
void measure_growth(Report& report, const Settings& settings, std::size_t partitions) {
  using Table = placement::BasicPlacementTable<typename Ids::Id>;
  constexpr std::size_t kFirst = 1000;
  const double tick = nanoseconds_a_tick();
  std::vector<typename Ids::Id> ids(partitions);
  for (std::size_t i = 0; i < partitions; ++i) ids[i] = Ids::make(i);
  const auto requests = make_requests<Ids>(Load::Uniform, kFirst);
  const auto add = [&](const char* what, const char* operation, const Longest& longest) {
    const Subject subject{what, operation, Ids::kName, partitions, "", 1, kOurs};
    report.add(subject, "ns", longest.wall);
    report.add(subject, "ns run", longest.run);
  };
  for (std::size_t round = 0; round < (settings.is_short ? 3 : settings.rounds); ++round) {
    CountingMemory memory;
    TableOptions options;
    options.memory = &memory;
    {
      Table table(options);
      Longest whole;
      Longest inside;  // without the allocations, which are outside the critical section
      for (std::size_t i = 0; i < partitions; ++i) {
        const std::uint64_t allocating = memory.allocating();
        const double run = thread_time();
        const std::uint64_t start = ticks();
        table.set(ids[i], places().origin(i));
        const double wall = static_cast<double>(ticks() - start) * tick;
        const double ran = thread_time() - run;
        const double allocated = static_cast<double>(memory.allocating() - allocating) * tick;
        whole.add(wall, ran);
        inside.add(wall - allocated, ran - allocated);
      }
      add("growth", "longest set", whole);
      add("growth", "longest set without allocation", inside);
      const double discarding = static_cast<double>(memory.discarding()) * tick;
      add("growth", "longest discard", {discarding, discarding});
    }
    for (const bool grows : {false, true}) {
      Table table;
      for (std::size_t i = 0; i < kFirst; ++i) table.set(ids[i], places().origin(i));
      std::atomic<bool> done{false};
      std::jthread writer;
      if (grows) {
        writer = std::jthread([&] {
          for (std::size_t i = kFirst; i < partitions; ++i) table.set(ids[i], places().origin(i));
          done.store(true, std::memory_order_relaxed);  // the join orders the rest
        });
      }
      Longest longest;
      const auto begin = SteadyClock::now();
      for (std::size_t i = 0;
           grows ? !done.load(std::memory_order_relaxed) : nanoseconds_since(begin) < 1e9; ++i) {
        const Request<Ids>& request = requests[i % requests.size()];
        const double run = thread_time();
        const std::uint64_t start = ticks();
        const auto answer = table.get(request.id());
        const std::uint64_t end = ticks();
        const double ran = thread_time() - run;
        if (!answer || answer->placement != places().origin(request.partition)) fail(kOurs);
        longest.add(static_cast<double>(end - start) * tick, ran);
      }
      add(grows ? "growth" : "quiet", "longest lookup", longest);
    }
  }
}

// ---- the table of goals ----

[[nodiscard]] std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
  return text;
}
[[nodiscard]] std::string spread(const Figure& figure) {
  return number(figure.median) + " (" + number(figure.low) + " to " + number(figure.high) + ")";
}
[[nodiscard]] std::string size_name(std::size_t partitions) {
  return partitions == 1'000 ? "1,000" : partitions == 100'000 ? "100,000" : "1,000,000";
}
[[nodiscard]] std::string axis_name(const Subject& s) {
  return s.operation + ", " + s.ids + ", " + size_name(s.partitions) + ", " + s.load + ", " +
         std::to_string(s.threads) + (s.threads == 1 ? " thread" : " threads");
}

class Goals {
 public:
  explicit Goals(const Report& report) : report_(report) {}

  void print(std::ostream& out) const {
    out << "| what | goal | measured |\n| --- | --- | --- |\n";
    against_the_limit(out);
    two_threads(out);
    for (const char* peer : {kSharedMutex, kSharded, "tbb", "libcuckoo", kUrcu}) {
      against(out, peer);
    }
    one_hot(out);
    beside_flips(out);
    permits(out);
    many(out);
    refs(out);
    transitions(out);
    fill(out);
    memory(out);
    growth(out);
  }

 private:
  static Subject with(Subject subject, const char* contender, std::size_t threads = 0) {
    subject.contender = contender;
    if (threads != 0) subject.threads = threads;
    return subject;
  }
  static void row(std::ostream& out, const std::string& what, const std::string& goal,
                  const std::string& measured) {
    out << "| " << what << " | " << goal << " | " << measured << " |\n";
  }

  // Our time, divided by the peer's: over every axis that was measured.
  struct Ranked {
    Figure figure;
    Subject subject;
  };
  template <typename Ratio, typename Wanted>
  [[nodiscard]] std::vector<Ranked> ranked(Ratio ratio, Wanted wanted) const {
    std::vector<Ranked> all;
    for (const Measured& one : report_.all()) {
      if (one.subject.what != "lookup" || one.subject.contender != kOurs || one.unit != "ns") {
        continue;
      }
      if (!wanted(one.subject)) continue;
      const Figure figure = ratio(one.subject);
      if (figure.median > 0) all.push_back({figure, one.subject});
    }
    std::sort(all.begin(), all.end(),
              [](const Ranked& a, const Ranked& b) { return a.figure.median < b.figure.median; });
    return all;
  }
  static std::string least_and_median(const std::vector<Ranked>& all) {
    if (all.empty()) return "not measured";
    return "least " + spread(all.front().figure) + " at " + axis_name(all.front().subject) +
           "; median of " + std::to_string(all.size()) + " axes " +
           number(all[all.size() / 2].figure.median);
  }

  void against_the_limit(std::ostream& out) const {
    for (const std::size_t partitions : {1'000UL, 100'000UL, 1'000'000UL}) {
      for (const char* operation : {"get", "admit_write"}) {
        std::string measured;
        for (const char* ids : {Uuids::kName, ShortNames::kName, Integers::kName}) {
          for (const char* load : {"zipf", "uniform", "one-hot", "misses"}) {
            const Subject ours{"lookup", operation, ids, partitions, load, 1, kOurs};
            if (!report_.has(ours, "ns")) continue;
            measured += (measured.empty() ? "" : "; ") + std::string(ids) + " " + load + " " +
                        spread(report_.ratio(ours, with(ours, kUnsynchronised), "ns"));
          }
        }
        if (measured.empty()) continue;
        row(out, "`" + std::string(operation) + "` / `flat_hash_map`, " + size_name(partitions),
            partitions == 1'000 ? "<= 1.25" : "<= 1.0", measured);
      }
    }
  }
  void two_threads(std::ostream& out) const {
    const auto scaling = [&](const Subject& s) {
      return report_.ratio(with(s, kOurs, 1), s, "ns");
    };
    row(out, "two threads / one", ">= 1.9", least_and_median(ranked(scaling, [](const Subject& s) {
          return s.threads == 2 && s.operation != "acquire_write + release";
        })));
  }
  void against(std::ostream& out, const char* peer) const {
    const auto faster = [&](const Subject& s) { return report_.ratio(with(s, peer), s, "ns"); };
    row(out, "against `" + std::string(peer) + "`", peer == kUrcu ? ">= 1.5" : ">= 2",
        least_and_median(ranked(faster, [](const Subject&) { return true; })));
  }
  void one_hot(std::ostream& out) const {
    std::string measured;
    for (const char* peer : {kSharedMutex, kSharded, "tbb", "libcuckoo"}) {
      const auto faster = [&](const Subject& s) { return report_.ratio(with(s, peer), s, "ns"); };
      const auto all = ranked(faster, [](const Subject& s) {
        return s.threads == 2 && s.load == "one-hot" && s.operation == "get";
      });
      if (all.empty()) continue;
      measured += (measured.empty() ? "" : "; ") + std::string(peer) + " least " +
                  spread(all.front().figure);
    }
    row(out, "one hot partition, two threads, against the locking ones", ">= 10", measured);
  }
  void beside_flips(std::ostream& out) const {
    for (const Measured& one : report_.all()) {
      const Subject& s = one.subject;
      if (s.what != "beside flips" || s.contender != kOurs || one.unit != "p50 ns") continue;
      Subject quiet = s;
      quiet.what = "quiet";
      std::string measured = "median " + spread(report_.ratio(s, quiet, "p50 ns")) + ", mean " +
                             spread(report_.ratio(s, quiet, "ns")) + "; p99.9 in ns";
      for (const Measured& other : report_.all()) {
        if (other.unit == "p99.9 ns" && other.subject == with(s, other.subject.contender.c_str())) {
          measured +=
              ", " + other.subject.contender + " " + number(Figure::of(other.samples).median);
        }
      }
      row(out, "beside flips / quiet, " + size_name(s.partitions) + ", " + s.load, "<= 1.3",
          measured);
    }
  }
  void permits(std::ostream& out) const {
    for (const std::size_t partitions : {1'000UL, 100'000UL, 1'000'000UL}) {
      const Subject acquire{
          "lookup", "acquire_write + release", Uuids::kName, partitions, "zipf", 1, kOurs};
      Subject get = acquire;
      get.operation = "get";
      if (!report_.has(acquire, "ns")) continue;
      Subject hot_acquire = acquire;
      Subject hot_get = get;
      hot_acquire.load = hot_get.load = "one-hot";
      row(out, "`acquire_write` + release / `get`, " + size_name(partitions), "<= 3",
          "zipf " + spread(report_.ratio(acquire, get, "ns")) + "; one-hot " +
              spread(report_.ratio(hot_acquire, hot_get, "ns")));
    }
  }
  void many(std::ostream& out) const {
    std::string measured;
    for (const char* load : {"uniform", "zipf"}) {
      const Subject one{"lookup", "get", Uuids::kName, 1'000'000, load, 1, kOurs};
      Subject in_batches = one;
      in_batches.operation = "get_many";
      if (!report_.has(in_batches, "ns")) continue;
      measured += (measured.empty() ? "" : "; ") + std::string(load) + " " +
                  spread(report_.ratio(one, in_batches, "ns"));
    }
    row(out, "`get` / `get_many`, 1,000,000", ">= 2", measured);
  }
  void refs(std::ostream& out) const {
    std::string measured;
    for (const std::size_t partitions : {1'000UL, 100'000UL, 1'000'000UL}) {
      for (const char* load : {"zipf", "uniform", "one-hot"}) {
        const Subject by_id{"lookup", "get", Uuids::kName, partitions, load, 1, kOurs};
        Subject by_ref = by_id;
        by_ref.operation = "get by ref";
        if (!report_.has(by_ref, "ns")) continue;
        measured += (measured.empty() ? "" : "; ") + size_name(partitions) + " " + load + " " +
                    spread(report_.ratio(by_ref, by_id, "ns"));
      }
    }
    row(out, "`PartitionRef::get` / `get`", "<= 0.25", measured);
  }
  void transitions(std::ostream& out) const {
    for (const std::size_t partitions : {1'000UL, 100'000UL, 1'000'000UL}) {
      const Subject lock{"transition", "lock + unlock", Uuids::kName, partitions, "uniform", 1,
                         "absl::Mutex"};
      if (!report_.has(lock, "ns")) continue;
      for (const bool cold : {false, true}) {
        std::string measured;
        for (const char* operation :
             {"begin_migration", "enter_cutover", "complete_migration", "abort_migration"}) {
          Subject ours = with(lock, kOurs);
          ours.operation = operation + std::string(cold ? ", cold" : "");
          measured += (measured.empty() ? "`" : "; `") + std::string(operation) + "` " +
                      spread(report_.ratio(ours, lock, "ns"));
        }
        row(out,
            "a transition / lock + unlock, " + size_name(partitions) +
                (cold ? ", partitions in no cache" : ""),
            cold ? "" : "<= 2", measured);
      }
    }
  }
  void fill(std::ostream& out) const {
    for (const char* how : {"reserved", "growing"}) {
      const Subject ours{"fill", how, Uuids::kName, 1'000'000, "", 1, kOurs};
      if (!report_.has(ours, "ns")) continue;
      row(out, "bulk `set` of 1,000,000, " + std::string(how) + ", against `shared_mutex`",
          how == std::string("reserved") ? ">= 3" : "",
          spread(report_.ratio(with(ours, kSharedMutex), ours, "ns")) + "; `flat_hash_map` " +
              spread(report_.ratio(with(ours, kUnsynchronised), ours, "ns")));
    }
  }
  void memory(std::ostream& out) const {
    for (const char* how : {"growing", "reserved"}) {
      const Subject ours{"memory", how, Uuids::kName, 1'000'000, "", 1, kOurs};
      if (!report_.has(ours, "bytes")) continue;
      const Subject theirs = with(ours, kUnsynchronised);
      const auto both = [&](const char* unit) {
        return number(report_.ratio(ours, theirs, unit).median) + " (" +
               number(report_.figure(ours, unit).median) + " / " +
               number(report_.figure(theirs, unit).median) + " " + unit + ")";
      };
      row(out, "memory / `flat_hash_map`, 1,000,000, 36-byte, " + std::string(how), "<= 1.25",
          both("bytes") + "; " + both("resident bytes") + "; " + both("bytes allocated"));
    }
  }
  void growth(std::ostream& out) const {
    const auto both = [&](const char* what, const char* operation) {
      const Subject ours{what, operation, Uuids::kName, 1'000'000, "", 1, kOurs};
      return spread(report_.figure(ours, "ns run")) + " ns run, " +
             spread(report_.figure(ours, "ns")) + " ns wall";
    };
    const Subject ours{"growth", "longest lookup", Uuids::kName, 1'000'000, "", 1, kOurs};
    if (!report_.has(ours, "ns")) return;
    row(out, "longest `set` without its allocation, filling 1,000,000", "<= 20 us",
        both("growth", "longest set without allocation") + "; with allocation " +
            both("growth", "longest set") + "; the longest discard, in whichever `set`, " +
            spread(report_.figure(
                {"growth", "longest discard", Uuids::kName, 1'000'000, "", 1, kOurs}, "ns")) +
            " ns");
    row(out, "longest lookup under growth", "<= 50 us",
        both("growth", "longest lookup") + "; without growth " + both("quiet", "longest lookup"));
  }

  const Report& report_;
};

int run(const Settings& settings) {
  Report report;
  const double load_before = load_average();
  const std::vector<std::size_t> sizes = {1'000, 100'000, 1'000'000};
  if (settings.wants("memory")) {
    std::cerr << "memory\n";
    measure_memory<Uuids>(report, settings.is_short ? std::vector<std::size_t>{1'000'000} : sizes);
    if (!settings.is_short) {
      measure_memory<ShortNames>(report, {1'000'000});
      measure_memory<Integers>(report, {1'000'000});
    }
  }
  if (settings.wants("lookups") || settings.wants("flips") || settings.wants("transitions")) {
    std::cerr << "lookups\n";
    for (const std::size_t partitions : sizes) {
      measure_lookups<Uuids>(report, settings, partitions, true);
      if (settings.is_short && partitions == 1'000'000) continue;
      if (!settings.wants("lookups")) continue;
      measure_lookups<ShortNames>(report, settings, partitions, false);
      measure_lookups<Integers>(report, settings, partitions, false);
    }
  }
  if (settings.wants("fill")) {
    std::cerr << "fill\n";
    measure_fill<Uuids>(report, settings, 1'000'000);
  }
  if (settings.wants("growth")) {
    std::cerr << "growth\n";
    measure_growth<Uuids>(report, settings, 1'000'000);
  }
  const std::string where = machine() + ", load average " + number(load_before) + " before and " +
                            number(load_average()) + " after, " + std::to_string(settings.rounds) +
                            " rounds" + (settings.is_short ? ", short form" : "");
  std::cout << '\n' << where << "\n\n";
  Goals(report).print(std::cout);
  if (!settings.json.empty()) {
    std::ofstream file(settings.json);
    report.write_json(file, where);
    if (!file.flush()) {
      std::cerr << "compare: cannot write " << settings.json << '\n';
      return 1;
    }
    std::cout << "\nwritten: " << settings.json << '\n';
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--short") {
      settings.is_short = true;
      settings.sample_ns = 4e6;
    } else if (argument == "--rounds" && has_value) {
      settings.rounds = std::max<std::size_t>(1, std::stoul(argv[++i]));
    } else if (argument == "--only" && has_value) {
      settings.only = argv[++i];
    } else if (argument == "--json" && has_value) {
      settings.json = argv[++i];
    } else {
      std::cerr << "usage: placement_table_compare [--short] [--rounds N] [--only SECTION] "
                   "[--json FILE]\n";
      return 2;
    }
  }
  return run(settings);
}
