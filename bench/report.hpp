// SPDX-License-Identifier: Apache-2.0
//
// What was measured: kept by what it is of, written as JSON, one record a line, so that a line
// tool reads it too.
#ifndef PLACEMENT_BENCH_REPORT_HPP_
#define PLACEMENT_BENCH_REPORT_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace placement::bench {

// What one figure is of.
struct Subject {
  std::string what;       // "lookup", "beside flips", "latency", ...
  std::string operation;  // "get", ...
  std::string ids;
  std::size_t partitions = 0;
  std::string load;
  std::size_t threads = 1;
  std::string contender;

  friend bool operator==(const Subject&, const Subject&) = default;
};

// The median of the rounds, and the least and the greatest.
struct Figure {
  double median = 0;
  double low = 0;
  double high = 0;

  static Figure of(std::vector<double> samples) {
    if (samples.empty()) return {};
    std::sort(samples.begin(), samples.end());
    const std::size_t middle = samples.size() / 2;
    const double median =
        samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
    return {median, samples.front(), samples.back()};
  }
};

struct Measured {
  Subject subject;
  std::string unit;
  std::vector<double> samples;  // one a round
};

class Report {
 public:
  void add(Subject subject, std::string unit, double sample) {
    for (Measured& one : all_) {
      if (one.subject == subject && one.unit == unit) {
        one.samples.push_back(sample);
        return;
      }
    }
    all_.push_back({std::move(subject), std::move(unit), {sample}});
  }

  [[nodiscard]] const std::vector<Measured>& all() const noexcept { return all_; }

  [[nodiscard]] std::vector<double> samples(const Subject& subject, const char* unit) const {
    for (const Measured& one : all_) {
      if (one.subject == subject && one.unit == unit) return one.samples;
    }
    return {};
  }
  [[nodiscard]] Figure figure(const Subject& subject, const char* unit) const {
    return Figure::of(samples(subject, unit));
  }
  [[nodiscard]] bool has(const Subject& subject, const char* unit) const {
    return !samples(subject, unit).empty();
  }

  // Of each round its own ratio: what slowed a whole round down cancels out.
  [[nodiscard]] Figure ratio(const Subject& of, const Subject& to, const char* unit) const {
    std::vector<double> ratios = samples(of, unit);
    const std::vector<double> others = samples(to, unit);
    ratios.resize(std::min(ratios.size(), others.size()));
    for (std::size_t i = 0; i < ratios.size(); ++i) ratios[i] /= others[i];
    return Figure::of(std::move(ratios));
  }

  void write_json(std::ostream& out, const std::string& machine) const {
    out << "{\"machine\":\"" << machine << "\",\n\"results\":[\n";
    for (std::size_t i = 0; i < all_.size(); ++i) {
      const Measured& one = all_[i];
      const Subject& s = one.subject;
      const Figure figure = Figure::of(one.samples);
      out << "{\"what\":\"" << s.what << "\",\"operation\":\"" << s.operation << "\",\"ids\":\""
          << s.ids << "\",\"partitions\":" << s.partitions << ",\"load\":\"" << s.load
          << "\",\"threads\":" << s.threads << ",\"contender\":\"" << s.contender
          << "\",\"unit\":\"" << one.unit << "\",\"median\":" << figure.median
          << ",\"low\":" << figure.low << ",\"high\":" << figure.high
          << ",\"rounds\":" << one.samples.size() << (i + 1 < all_.size() ? "},\n" : "}\n");
    }
    out << "]}\n";
  }

 private:
  std::vector<Measured> all_;
};

}  // namespace placement::bench

#endif  // PLACEMENT_BENCH_REPORT_HPP_
