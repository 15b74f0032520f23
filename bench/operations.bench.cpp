// SPDX-License-Identifier: Apache-2.0
//
// Every operation of every contender, as a Google Benchmark:
//
//   BM_Get/placement_table/36-byte/100000/zipf/quiet/real_time/threads:2
//
// Times are of one operation on one thread. To compare contenders use placement_table_compare,
// which takes them in turn.
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "measure.hpp"

namespace {

using namespace placement::bench;  // a program of its own

constexpr std::size_t kSizes[] = {1'000, 100'000, 1'000'000};

// A contender and the requests to it.
template <typename Ids>
struct Scene {
  Scene(const Maker<Ids>& maker, std::size_t partitions, Load load)
      : requests(make_requests<Ids>(load, partitions)), contender(maker.make()) {
    contender->with_thread([&] { contender->set(0, partitions); });
  }

  // The threads of one run share it; the last to let go destroys it.
  static std::shared_ptr<Scene> of(const Maker<Ids>& maker, std::size_t partitions, Load load) {
    static std::mutex mutex;
    static std::weak_ptr<Scene> shared;
    const std::scoped_lock lock(mutex);
    std::shared_ptr<Scene> scene = shared.lock();
    if (scene == nullptr) shared = scene = std::make_shared<Scene>(maker, partitions, load);
    return scene;
  }

  std::vector<Request<Ids>> requests;
  std::unique_ptr<AnyContender<Ids>> contender;
};

template <typename Ids>
void ask_in_batches(benchmark::State& state, const Maker<Ids>& maker, Operation operation,
                    std::size_t partitions, Load load, bool beside_flips) {
  constexpr std::size_t kBatch = 1024;
  const auto scene = Scene<Ids>::of(maker, partitions, load);
  const std::span<const Request<Ids>> requests(scene->requests);
  std::optional<Flipping<Ids>> flipping;
  if (beside_flips && state.thread_index() == 0) flipping.emplace(*scene->contender, requests);
  scene->contender->with_thread([&] {
    std::size_t at = static_cast<std::size_t>(state.thread_index()) * requests.size() / 2;
    while (state.KeepRunningBatch(kBatch)) {
      scene->contender->ask(operation, requests, at, kBatch, load != Load::Misses);
      at += kBatch;
    }
  });
  if (flipping) {
    state.counters["flips"] =
        benchmark::Counter(static_cast<double>(flipping->finish()), benchmark::Counter::kIsRate);
  }
}

template <typename Ids>
void transit(benchmark::State& state, const Maker<Ids>& maker, Transition timed,
             std::size_t partitions) {
  Scene<Ids> scene(maker, partitions, Load::Uniform);
  std::vector<Request<Ids>> each(std::min<std::size_t>(partitions, 1024));
  for (std::size_t i = 0; i < each.size(); ++i) {
    each[i].assign(Ids::make(i));
    each[i].partition = static_cast<std::uint32_t>(i);
  }
  const bool aborts = timed == Transition::AbortMigration;
  scene.contender->with_thread([&] {
    const auto run = [&](Transition transition) {
      const auto start = SteadyClock::now();
      scene.contender->transit(transition, each);
      return transition == timed ? nanoseconds_since(start) * 1e-9 : 0;
    };
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(each.size()))) {
      state.SetIterationTime(
          run(Transition::BeginMigration) + run(Transition::EnterCutover) +
          run(aborts ? Transition::AbortMigration : Transition::CompleteMigration));
    }
  });
}

template <typename Ids>
void migrate(benchmark::State& state, const Maker<Ids>& maker, std::size_t partitions, Load load) {
  const auto scene = Scene<Ids>::of(maker, partitions, load);
  scene->contender->with_thread([&] {
    std::size_t at = 0;
    for (auto _ : state) {
      const std::span<const Request<Ids>> one(&scene->requests[at++ & (scene->requests.size() - 1)],
                                              1);
      scene->contender->transit(Transition::BeginMigration, one);
      scene->contender->transit(Transition::EnterCutover, one);
      scene->contender->transit(Transition::CompleteMigration, one);
    }
  });
}

template <typename Ids>
void fill(benchmark::State& state, const Maker<Ids>& maker, std::size_t partitions, bool reserves) {
  std::vector<typename Ids::Id> ids(partitions);
  for (std::size_t i = 0; i < partitions; ++i) ids[i] = Ids::make(i);
  for (auto _ : state) {
    const auto contender = maker.make();
    const auto start = SteadyClock::now();
    contender->with_thread([&] {
      if (reserves) contender->reserve(partitions);
      contender->set(std::span<const typename Ids::Id>(ids));
    });
    state.SetIterationTime(nanoseconds_since(start) * 1e-9);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(partitions) *
                          static_cast<std::int64_t>(state.iterations()));
}

template <typename Ids>
void register_contender(const Maker<Ids>& maker) {
  const auto name = [&](const char* what, std::size_t partitions, const std::string& how) {
    return std::string(what) + "/" + maker.name + "/" + Ids::kName + "/" +
           std::to_string(partitions) + "/" + how;
  };
  for (const std::size_t partitions : kSizes) {
    for (const Load load : {Load::Zipf, Load::Uniform, Load::OneHot, Load::Misses}) {
      for (const bool flips : {false, true}) {
        if (flips && (!maker.is_for_threads || load == Load::Misses)) continue;
        for (const auto& [what, operation] :
             {std::pair("BM_Get", Operation::Get),
              std::pair("BM_DependentGet", Operation::DependentGet),
              std::pair("BM_AdmitWrite", Operation::AdmitWrite),
              std::pair("BM_GetAdmitWrite", Operation::GetAndAdmitWrite),
              std::pair("BM_AcquireRelease", Operation::AcquireAndRelease),
              std::pair("BM_GetMany", Operation::GetMany)}) {
          if (!maker.can(operation)) continue;
          // Beside flips an epoch goes stale, and a cutover refuses.
          if (flips && operation != Operation::Get && operation != Operation::DependentGet)
            continue;
          auto* const one = benchmark::RegisterBenchmark(
              name(what, partitions, std::string(to_string(load)) + (flips ? "/flips" : "/quiet"))
                  .c_str(),
              ask_in_batches<Ids>, maker, operation, partitions, load, flips);
          one->UseRealTime()->Threads(1);
          if (maker.is_for_threads && !flips) one->Threads(2);
        }
      }
      if (load == Load::Misses) continue;
      benchmark::RegisterBenchmark(name("BM_Migration", partitions, to_string(load)).c_str(),
                                   migrate<Ids>, maker, partitions, load);
    }
    for (const auto& [what, transition] :
         {std::pair("BM_BeginMigration", Transition::BeginMigration),
          std::pair("BM_EnterCutover", Transition::EnterCutover),
          std::pair("BM_CompleteMigration", Transition::CompleteMigration),
          std::pair("BM_AbortMigration", Transition::AbortMigration)}) {
      benchmark::RegisterBenchmark(name(what, partitions, "").c_str(), transit<Ids>, maker,
                                   transition, partitions)
          ->UseManualTime();
    }
    for (const bool reserves : {false, true}) {
      benchmark::RegisterBenchmark(
          name("BM_Fill", partitions, reserves ? "reserved" : "growing").c_str(), fill<Ids>, maker,
          partitions, reserves)
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
}

template <typename Ids>
void register_all() {
  for (const Maker<Ids>& maker : contender_makers<Ids>()) register_contender(maker);
}

}  // namespace

int main(int argc, char** argv) {
  register_all<Uuids>();
  register_all<ShortNames>();
  register_all<UuidBytes>();
  register_all<Integers>();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
