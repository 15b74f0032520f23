// SPDX-License-Identifier: Apache-2.0
//
// Other processes for tests: the program child.cpp.
#ifndef PLACEMENT_TESTS_FLEET_CHILD_HPP_
#define PLACEMENT_TESTS_FLEET_CHILD_HPP_

#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace placement::test {

class Child {
 public:
  // Runs it, as the user `nobody` if told.
  explicit Child(const std::vector<std::string>& arguments, bool as_nobody = false)
      : arguments_(arguments) {
    std::vector<std::string> words = {PLACEMENT_TEST_FLEET_CHILD};
    if (as_nobody) words.emplace_back("--nobody");
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);

    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    pid_ = ::fork();
    if (pid_ == 0) {  // only calls that are safe beside other threads
      ::dup2(ends[1], STDOUT_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ends[0];
    if (pid_ < 0) throw std::runtime_error("no process");
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    kill();
    ::close(output_);
  }

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] const std::vector<std::string>& arguments() const noexcept { return arguments_; }

  // The next line that it prints, without its end; what is left when it has ended.
  std::string read_line() {
    while (true) {
      const std::size_t end = buffer_.find('\n');
      if (end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return line;
      }
      if (!read_some()) return std::exchange(buffer_, {});
    }
  }

  std::string read_all() {
    while (read_some()) {
    }
    return std::exchange(buffer_, {});
  }

  void signal(int number) const {
    if (!reaped_) ::kill(pid_, number);
  }

  void kill() {
    if (reaped_) return;
    ::kill(pid_, SIGKILL);
    (void)wait();
  }

  void wait_until_stopped() const {
    int status = 0;
    while (::waitpid(pid_, &status, WUNTRACED) >= 0 && !WIFSTOPPED(status)) {
    }
  }

  // Its exit code, or minus the signal that ended it.
  int wait() {
    if (!reaped_) ::waitpid(pid_, &status_, 0);
    reaped_ = true;
    return WIFSIGNALED(status_) ? -WTERMSIG(status_) : WEXITSTATUS(status_);
  }

 private:
  bool read_some() {
    char bytes[4096];
    const ssize_t size = ::read(output_, bytes, sizeof bytes);
    if (size <= 0) return false;
    buffer_.append(bytes, static_cast<std::size_t>(size));
    return true;
  }

  const std::vector<std::string> arguments_;
  pid_t pid_ = -1;
  int output_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  std::string buffer_;
};

// All that it prints.
inline std::string run_child(const std::vector<std::string>& arguments, bool as_nobody) {
  Child child(arguments, as_nobody);
  std::string output = child.read_all();
  (void)child.wait();
  return output;
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FLEET_CHILD_HPP_
