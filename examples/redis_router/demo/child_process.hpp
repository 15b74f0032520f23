// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DEMO_CHILD_PROCESS_HPP_
#define REDIS_ROUTER_DEMO_CHILD_PROCESS_HPP_

#include <absl/time/time.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace redis_router {

// A program that we started, and the only kind of process that we ever signal. It dies with us, and
// is killed and reaped by the destructor.
class ChildProcess {
 public:
  // Its output goes to `output_file`. Throws std::system_error if it cannot be started.
  ChildProcess(std::vector<std::string> command, const std::string& output_file);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;
  // Its exit status (128 + signal if it was killed), once it has ended.
  [[nodiscard]] std::optional<int> poll();
  [[nodiscard]] std::optional<int> wait_for(absl::Duration longest);

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

// What is in a file by now, such as a child's output.
[[nodiscard]] std::string read_file(const std::string& path);

// A TCP port of the loopback interface that is free now, and will likely be for a while.
[[nodiscard]] std::uint16_t free_port();

// A directory of our own that goes away with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DEMO_CHILD_PROCESS_HPP_
